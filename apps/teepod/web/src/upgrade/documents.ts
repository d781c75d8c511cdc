import { allowedEnvs, upgradeAppComposeText } from "@dstack/app-compose";
import type { Flags } from "../compose/flags.js";
import { describeDocument } from "../compose/document.js";
import type { AppDocument } from "../compose/document.js";

type Fields = Record<string, unknown>;

/** The compose file inside a document, and what else the form may change of it. */
export function openDocument(text: string): {
  compose: string;
  flags: Flags;
  allowedEnvs: readonly string[];
} {
  const fields = JSON.parse(text) as Fields;
  const { docker_compose_file: compose } = fields;
  return {
    compose: typeof compose === "string" ? compose : "",
    flags: {
      publicLogs: fields["public_logs"] === true,
      publicSysinfo: fields["public_sysinfo"] === true,
      publicTcbinfo: fields["public_tcbinfo"] === true,
    },
    allowedEnvs: allowedEnvs(text),
  };
}

/**
 * The document an upgrade sends, by the rule that the command line has too.
 * @throws {Error} one sentence on what is wrong with the compose file
 */
export function upgradedDocument(
  old: string,
  compose: string,
  flags: Flags,
  names: readonly string[],
): AppDocument {
  const { text, notices } = upgradeAppComposeText(old, compose, { flags, allowedEnvs: names });
  return { ...describeDocument(text), notices };
}
