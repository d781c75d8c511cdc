import { hex, readRegularFileIfAny, sha256, writeFileAtomic } from "@dstack/core";
import { rm } from "node:fs/promises";
import { basename } from "node:path";

const MAX_BYTES = 1024 * 1024;
const MARK = /^(?:#.*\n)*?# sha256 of the lines below, as written: ([0-9a-f]{64})\n/;

/**
 * Writes a configuration of the operator's, with the digest of what was written at its head. A file that is not as it was
 * written was edited, and stays: what would be written then goes beside it, unless it is what was written before.
 * @param options `force`: an edited file is put aside as `.old`, and the new one takes its place
 * @returns a sentence for the operator when the edited file and the new one have to be brought together
 */
export async function writeUnlessEdited(
  path: string,
  text: string,
  { force }: { force: boolean },
): Promise<string | undefined> {
  const name = basename(path);
  const mode = { mode: 0o600 };
  const digest = hex(sha256(text));
  const whole = `${head(name)}# sha256 of the lines below, as written: ${digest}\n${text}`;
  const before = await readText(path);
  const [mark = "", written] = MARK.exec(before ?? "") ?? [];
  const body = before?.slice(mark.length);
  const edited = body !== undefined && body !== text && hex(sha256(body)) !== written;
  if (edited && !force && written !== digest) {
    await writeFileAtomic(`${path}.new`, whole, mode);
    return `${name} was edited and stays; what it would be now is in ${name}.new. See diff ${name} ${name}.new, and take over what it needs, its first lines too`;
  }
  if (edited && force) await writeFileAtomic(`${path}.old`, before ?? "", mode);
  if (!edited || force) await writeFileAtomic(path, whole, mode);
  await rm(`${path}.new`, { force: true });
  return edited && force ? `${name} was edited and is now ${name}.old` : undefined;
}

const head = (name: string): string =>
  `# Written by scripts/build.sh. Once edited it is left alone: what build.sh would write is then in ${name}.new.\n`;

async function readText(path: string): Promise<string | undefined> {
  const bytes = await readRegularFileIfAny(path, MAX_BYTES);
  return bytes === undefined ? undefined : new TextDecoder().decode(bytes);
}
