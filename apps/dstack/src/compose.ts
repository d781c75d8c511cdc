import { toAppComposeText } from "@dstack/app-compose";
import type { AppComposeOptions, AppComposeText } from "@dstack/app-compose";
import { appIdOfCompose, hex, sha256, utf8 } from "@dstack/core";
import type { AppId } from "@dstack/core";

/** The exact text that is deployed and measured, and what follows from it. */
export interface AppCompose extends AppComposeText {
  composeHash: string;
  appId: AppId;
}

/**
 * What a developer has as an app-compose document, with its hash.
 * @throws {InputError} neither YAML with services nor an app-compose document
 */
export function toAppCompose(fileText: string, options: AppComposeOptions): AppCompose {
  const made = toAppComposeText(fileText, options);
  return { ...made, composeHash: hex(sha256(made.text)), appId: appIdOfCompose(utf8(made.text)) };
}
