import { nameOfAppCompose, toAppComposeText, upgradeAppComposeText } from "@dstack/app-compose";
import type { AppComposeOptions, AppComposeText, UpgradeChange } from "@dstack/app-compose";
import { appIdOfCompose, hex, sha256, utf8 } from "@dstack/core";
import type { AppId } from "@dstack/core";
import { basename, dirname, resolve } from "node:path";
import { readTextFile } from "./read-file.js";

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
  return identified(toAppComposeText(fileText, options));
}

/**
 * The document a compose file becomes in the place of one that a CVM has, with its hash.
 * @throws {InputError} neither YAML with services nor an app-compose document, or the CVM has none
 */
export function toUpgradedCompose(before: string, fileText: string, change: UpgradeChange): AppCompose {
  return identified(upgradeAppComposeText(before, fileText, change));
}

function identified(made: AppComposeText): AppCompose {
  return { ...made, composeHash: hex(sha256(made.text)), appId: appIdOfCompose(utf8(made.text)) };
}

/** What the command line says of a document beside its file. */
export interface DocumentOptions {
  name?: string;
  publicLogs?: boolean;
  publicSysinfo?: boolean;
  publicTcbinfo?: boolean;
}

/** The document of a file, as it is deployed. @throws {InputError} no file, or neither YAML with services nor a document */
export async function readAppCompose(
  file: string,
  options: DocumentOptions,
  allowedEnvs: readonly string[],
): Promise<AppCompose & { name: string }> {
  const text = await readTextFile(file);
  const name = options.name ?? nameOfAppCompose(text) ?? basename(dirname(resolve(file)));
  const publicLogs = options.publicLogs === true;
  const publicSysinfo = options.publicSysinfo === true;
  const publicTcbinfo = options.publicTcbinfo === true;
  return { name, ...toAppCompose(text, { name, publicLogs, publicSysinfo, publicTcbinfo, allowedEnvs }) };
}

/** Its hash and app id, for people. */
export function describeIdentity(compose: AppCompose): string {
  return `compose hash ${compose.composeHash}\napp id       ${compose.appId}`;
}
