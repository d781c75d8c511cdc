import { join } from "node:path";
import { readRegularFileIfAny } from "@dstack/core";
import type { Handler } from "@dstack/prpc";
import type { tproxy } from "@dstack/proto";
import { z } from "zod";
import type { TproxyContext } from "../context.js";

type AcmeInfo = (typeof tproxy.Tproxy)["method"]["acmeInfo"];

/** Written into the state directory by the program that renews the certificate, where there is one. */
const ACCOUNT_FILE = "acme-account.json";
const MAX_ACCOUNT_FILE_BYTES = 4_096;
const AccountFile = z.object({ account_uri: z.url() });

/** `Tproxy.AcmeInfo`: what a certificate transparency monitor compares issued certificates with. */
export const acmeInfo =
  (context: TproxyContext): Handler<AcmeInfo["input"], AcmeInfo["output"]> =>
  async () => ({
    accountUri: await accountUri(context.stateDir),
    histKeys: context.keyHistory.list(),
  });

/** Empty without an ACME account: the certificate then comes from elsewhere. */
async function accountUri(stateDir: string): Promise<string> {
  const bytes = await readRegularFileIfAny(join(stateDir, ACCOUNT_FILE), MAX_ACCOUNT_FILE_BYTES);
  if (bytes === undefined) return "";
  return AccountFile.parse(JSON.parse(Buffer.from(bytes).toString("utf8"))).account_uri;
}
