import type { Handler } from "@dstack/prpc";
import type { tproxy } from "@dstack/proto";
import { readAcmeAccounts } from "../certificate/acme-account.js";
import type { TproxyContext } from "../context.js";

type AcmeInfo = (typeof tproxy.Tproxy)["method"]["acmeInfo"];

/** `Tproxy.AcmeInfo`: what a certificate transparency monitor compares issued certificates with. */
export const acmeInfo =
  (context: TproxyContext): Handler<AcmeInfo["input"], AcmeInfo["output"]> =>
  async () => ({
    accountUri: (await readAcmeAccounts(context.acmeAccountFiles))?.account_uri ?? "",
    histKeys: context.keyHistory.list(),
  });
