import { implement } from "@dstack/prpc";
import type { ServiceImpl } from "@dstack/prpc";
import { tproxy } from "@dstack/proto";
import { requireAttested } from "@dstack/ra-rpc";
import type { VerifiedPeer } from "@dstack/ra-tls";
import type { TproxyContext } from "../context.js";
import { requireStatusAccess } from "../status-access.js";
import type { StatusAccess } from "../status-access.js";
import { acmeInfo } from "./acme-info.js";
import { getChallenge } from "./get-challenge.js";
import { list } from "./list.js";
import { registerCvm } from "./register-cvm.js";

const SMALL_BODY_BYTES = 4096;
/** Quote and event log as an RA-TLS certificate carries them, at most 64 KiB, of which JSON makes twice as much. */
const EVIDENCE_BODY_BYTES = 128 * 1024;
const ATTESTED_METHODS: ReadonlySet<string> = new Set([
  tproxy.Tproxy.method.registerCvm.name,
  tproxy.Tproxy.method.getChallenge.name,
]);

/** Registration wants to know who calls, the list where from. They are refused before the request's body is read. */
export function tproxyService(context: TproxyContext, statusFrom: StatusAccess): ServiceImpl<VerifiedPeer> {
  return implement<typeof tproxy.Tproxy, VerifiedPeer>(
    tproxy.Tproxy,
    {
      registerCvm: registerCvm(context),
      getChallenge: getChallenge(context),
      list: list(context),
      acmeInfo: acmeInfo(context),
    },
    {
      guard: (method, call) => {
        if (ATTESTED_METHODS.has(method)) requireAttested(call);
        if (method === tproxy.Tproxy.method.list.name) requireStatusAccess(statusFrom, call.remoteAddress);
      },
      bodyLimits: {
        ...Object.fromEntries(tproxy.Tproxy.methods.map(({ name }) => [name, SMALL_BODY_BYTES])),
        [tproxy.Tproxy.method.registerCvm.name]: EVIDENCE_BODY_BYTES,
      },
    },
  );
}
