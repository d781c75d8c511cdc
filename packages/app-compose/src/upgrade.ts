import { InputError } from "@dstack/core/errors";
import { isAppCompose, requireSize, toAppComposeText } from "./app-compose.js";
import type { AppComposeText } from "./app-compose.js";

type Fields = Record<string, unknown>;

/** What an upgrade changes of a document beside its compose file. */
export interface UpgradeChange {
  /** Variables it allows from now on: all of them, old and new. */
  readonly allowedEnvs: readonly string[];
  /** What it shows to anyone (G8); of what is not named, as before. */
  readonly flags?: {
    readonly publicLogs?: boolean;
    readonly publicSysinfo?: boolean;
    readonly publicTcbinfo?: boolean;
  };
}

/** The fields of an app-compose document. @throws {InputError} it is none */
export function fieldsOfAppCompose(text: string): Fields {
  if (!isAppCompose(text)) throw new InputError("what the VM has is not an app-compose document");
  return JSON.parse(text) as Fields;
}

/**
 * The document an upgrade sends: the old one with another compose file in it, so that whatever else it says stays
 * (`sockets`, `public_ports`, its name, fields of another release); or an app-compose document byte for byte.
 * @param old the app-compose document that the VM has
 * @throws {InputError} neither YAML with services nor an app-compose document, or the old one is none
 */
export function upgradeAppComposeText(old: string, fileText: string, change: UpgradeChange): AppComposeText {
  const fields = fieldsOfAppCompose(old);
  const { allowedEnvs } = change;
  const flags = {
    publicLogs: change.flags?.publicLogs ?? fields["public_logs"] === true,
    publicSysinfo: change.flags?.publicSysinfo ?? fields["public_sysinfo"] === true,
    publicTcbinfo: change.flags?.publicTcbinfo ?? fields["public_tcbinfo"] === true,
  };
  const made = toAppComposeText(fileText, { name: String(fields["name"]), ...flags, allowedEnvs });
  if (isAppCompose(fileText)) return made;
  const { allowed_envs: _, ...others } = fields;
  // Fields stay where they were, and a flag that was never there is only added to be set: else the document would be
  // another one although nothing was changed.
  const upgraded = {
    ...(allowedEnvs.length > 0 ? { ...fields, allowed_envs: allowedEnvs } : others),
    docker_compose_file: fileText,
    ...(("public_logs" in fields || flags.publicLogs) && { public_logs: flags.publicLogs }),
    ...(("public_sysinfo" in fields || flags.publicSysinfo) && { public_sysinfo: flags.publicSysinfo }),
    ...(("public_tcbinfo" in fields || flags.publicTcbinfo) && { public_tcbinfo: flags.publicTcbinfo }),
  };
  const text = JSON.stringify(upgraded);
  requireSize("the app-compose document", text);
  // Written as it was when only its spaces would change.
  const unchanged = readable(text) === readable(old);
  return { ...made, text: unchanged ? old : text };
}

/**
 * Of variables that are kept as they are nobody outside of the CVM knows the names, and a CVM that is given one which
 * its document does not allow does not start (K7). A document that allows none is given none.
 * @throws {InputError} the new document leaves out names and allows others, whose values have to be given anew
 */
export function requireKeptNames(old: string, made: string): void {
  const kept = allowedEnvs(made);
  const dropped = allowedEnvs(old).filter((name) => !kept.includes(name));
  if (dropped.length === 0 || kept.length === 0) return;
  throw new InputError(
    `the new document leaves out ${dropped.join(", ")}, and the VM's secrets, which nobody can read, may still set ` +
      `${dropped.length === 1 ? "it" : "them"}: the app would not start. Give the values of those it keeps anew ` +
      `(${kept.join(", ")})`,
  );
}

/** Names of variables that an app-compose document allows; `[]` when it says nothing of them, or is none. */
export function allowedEnvs(document: string): readonly string[] {
  try {
    const names = (JSON.parse(document) as Fields | null)?.["allowed_envs"];
    return Array.isArray(names) ? names.map(String) : [];
  } catch {
    return [];
  }
}

/** A document as lines for people: its fields, then the compose file. */
export function readable(text: string): string {
  const { docker_compose_file: compose, ...fields } = JSON.parse(text) as Fields;
  return `${JSON.stringify(fields, undefined, 2)}\n\ndocker_compose_file:\n${String(compose)}`;
}
