import { errorMessage } from "@dstack/core";
import type { EtcdAccess } from "./etcd-client.js";

/**
 * What an operator should look at when etcd does not let us in, or we not it: nothing that time mends.
 * @returns undefined for any other error
 */
export function explainRefusal(err: unknown, { auth, cert, prefix }: EtcdAccess): string | undefined {
  const text = errorMessage(err);
  const user = auth === undefined ? "no username" : `username ${auth.username}`;
  for (const [mark, sentence] of [
    [
      "authentication failed, invalid user ID or password",
      `it does not know ${user} with the password in password_file`,
    ],
    ["user name is empty", "it wants username and password_file"],
    ["permission denied", `with ${user}, it does not let us read and write ${prefix}`],
    [
      /alert (bad certificate|certificate required|unknown ca|certificate unknown|certificate expired)/,
      cert === undefined
        ? "it wants a certificate of ours: cert and key"
        : "it does not take our certificate, cert",
    ],
    [
      /unable to (verify the first|get (local )?issuer) certificate|self.signed certificate/,
      "its certificate is of another CA than ca",
    ],
    ["certificate has expired", "its certificate has expired"],
    ["ERR_TLS_CERT_ALTNAME_INVALID", "its certificate is for another name or address than that of endpoints"],
    ["key values mismatch", "key is not the key of cert"],
    [/no start line|bad base64|PEM routines/, "cert or key is not PEM"],
  ] as const) {
    if (typeof mark === "string" ? text.includes(mark) : mark.test(text)) return sentence;
  }
  return undefined;
}
