import { isAppCompose, toAppComposeText } from "@dstack/app-compose";
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
  const { docker_compose_file: compose, allowed_envs: envs } = fields;
  return {
    compose: typeof compose === "string" ? compose : "",
    flags: {
      publicLogs: fields["public_logs"] === true,
      publicSysinfo: fields["public_sysinfo"] === true,
      publicTcbinfo: fields["public_tcbinfo"] === true,
    },
    allowedEnvs: Array.isArray(envs) ? envs.map(String) : [],
  };
}

/**
 * The document an upgrade sends: the old one with another compose file in it, so that whatever else it says stays; or
 * an app-compose document byte for byte.
 * @throws {Error} one sentence on what is wrong with the compose file
 */
export function upgradedDocument(
  old: string,
  compose: string,
  flags: Flags,
  allowedEnvs: readonly string[],
): AppDocument {
  const fields = JSON.parse(old) as Fields;
  const options = { name: String(fields["name"]), ...flags, allowedEnvs };
  const { text, notices } = toAppComposeText(compose, options);
  if (isAppCompose(compose)) return { ...describeDocument(text), notices };
  const { allowed_envs: _, ...others } = fields;
  // Fields stay where they were, and a flag that was never there is only added to be set: else the document would be
  // another one although nothing was changed.
  const made = {
    ...(allowedEnvs.length > 0 ? { ...fields, allowed_envs: allowedEnvs } : others),
    docker_compose_file: compose,
    ...(("public_logs" in fields || flags.publicLogs) && { public_logs: flags.publicLogs }),
    ...(("public_sysinfo" in fields || flags.publicSysinfo) && { public_sysinfo: flags.publicSysinfo }),
    ...(("public_tcbinfo" in fields || flags.publicTcbinfo) && { public_tcbinfo: flags.publicTcbinfo }),
  };
  // Written as it was when only its spaces would change.
  const unchanged = readable(JSON.stringify(made)) === readable(JSON.stringify(JSON.parse(old)));
  return { ...describeDocument(unchanged ? old : JSON.stringify(made)), notices };
}

/** A document as lines for people: its fields, then the compose file. */
export function readable(text: string): string {
  const { docker_compose_file: compose, ...fields } = JSON.parse(text) as Fields;
  return `${JSON.stringify(fields, undefined, 2)}\n\ndocker_compose_file:\n${String(compose)}`;
}
