import { readRegularFileIfAny } from "@dstack/core";
import { z } from "zod";

const MAX_FILE_BYTES = 64 * 1024;

/** What certbot writes: no secrets, only who may order certificates and how CAA says so. */
const AccountFile = z.object({
  account_uri: z.url(),
  accounts: z.array(z.object({ ca: z.string(), uri: z.url() })).default([]),
  caa: z.array(z.string()).default([]),
});
export type AcmeAccount = z.infer<typeof AccountFile>;

/**
 * @param paths one for each certbot that has a work directory of its own
 * @returns of the first that is there, and all accounts and CAA records; undefined where no certificate has an ACME account
 */
export async function readAcmeAccounts(paths: readonly string[]): Promise<AcmeAccount | undefined> {
  const read = await Promise.all(paths.map(readAcmeAccount));
  const told = read.filter((account) => account !== undefined);
  const [first] = told;
  if (first === undefined) return undefined;
  const accounts = new Map(told.flatMap((account) => account.accounts.map((each) => [each.uri, each])));
  const caa = new Set(told.flatMap((account) => account.caa));
  return { account_uri: first.account_uri, accounts: [...accounts.values()], caa: [...caa] };
}

/** @returns undefined without an ACME account: the certificate then comes from elsewhere */
async function readAcmeAccount(path: string): Promise<AcmeAccount | undefined> {
  const bytes = await readRegularFileIfAny(path, MAX_FILE_BYTES);
  if (bytes === undefined) return undefined;
  return AccountFile.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
}
