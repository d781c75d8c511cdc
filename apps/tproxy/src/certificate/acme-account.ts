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

/** @returns undefined without an ACME account: the certificate then comes from elsewhere */
export async function readAcmeAccount(path: string): Promise<AcmeAccount | undefined> {
  const bytes = await readRegularFileIfAny(path, MAX_FILE_BYTES);
  if (bytes === undefined) return undefined;
  return AccountFile.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
}
