import { join } from "node:path";
import { readRegularFileIfAny, writeFileAtomic } from "@dstack/core";

/** What the world may know of our accounts. */
export interface PublicAccounts {
  accounts: readonly { ca: string; uri: string }[];
  /** CAA records as they should be, in the form of a zone file. */
  caa: readonly string[];
}

const MAX_FILE_BYTES = 256 * 1024;

/**
 * Writes `acme-account.json` beside the credentials: their public half, for tproxy and its monitors to tell. The first
 * account is the one that orders; left alone when it says so already.
 */
export async function writeAccountFile(workDir: string, { accounts, caa }: PublicAccounts): Promise<void> {
  const [first] = accounts;
  if (first === undefined) return;
  const path = join(workDir, "acme-account.json");
  const text = `${JSON.stringify({ account_uri: first.uri, accounts, caa }, null, 2)}\n`;
  const before = await readRegularFileIfAny(path, MAX_FILE_BYTES).catch(() => undefined);
  if (before !== undefined && Buffer.from(before).toString("utf8") === text) return;
  await writeFileAtomic(path, text, { mode: 0o644 });
}
