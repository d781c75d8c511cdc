import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { RpcError, toRpcError } from "@dstack/prpc";
import type { Handler } from "@dstack/prpc";
import type { TeepodContext } from "../context.js";
import { requireOperator } from "../http/caller.js";
import type { Caller } from "../http/caller.js";

/** Methods that change something; the others only look. */
const CHANGES: ReadonlySet<string> = new Set([
  "CreateVm",
  "StartVm",
  "StopVm",
  "ShutdownVm",
  "RemoveVm",
  "UpgradeApp",
  "ResizeVm",
]);

/** Before the body is read: may this caller use this method? (T3) */
export function guardMethod(method: string, caller: Caller | undefined): void {
  if (caller === undefined) throw new RpcError("unauthenticated", "a bearer token is needed");
  if (CHANGES.has(method)) requireOperator(caller);
}

/**
 * A handler whose calls stand in the audit log, before and after. What cannot be logged is not done.
 * @param about the VM a request is about
 * @param made what came of it, for the line that says it is done
 */
export function audited<I extends DescMessage, O extends DescMessage>(
  context: TeepodContext,
  method: string,
  about: (request: MessageShape<I>) => string,
  handler: Handler<I, O, Caller>,
  made?: (answer: MessageInitShape<O>) => string | undefined,
): Handler<I, O, Caller> {
  return async (request, call) => {
    const caller = requireOperator(call.peer);
    const entry = {
      who: caller.name,
      role: caller.role,
      from: call.remoteAddress,
      request: call.requestId,
      method,
      vm: about(request).slice(0, 128),
    };
    try {
      await context.audit.append({ ...entry, outcome: "asked" });
    } catch (err) {
      throw new RpcError("unavailable", "the audit log cannot be written, so nothing is changed", {
        cause: err,
      });
    }
    try {
      const answer = await handler(request, call);
      const result = made?.(answer);
      await context.audit.append({ ...entry, outcome: "done", ...(result !== undefined && { result }) });
      return answer;
    } catch (err) {
      const { code, message } = toRpcError(err);
      const outcome = code === "internal" || code === "unavailable" ? "failed" : "refused";
      await context.audit
        .append({ ...entry, outcome, message: message.slice(0, 1024) })
        .catch((cause: unknown) => {
          context.log.error({ err: cause }, "cannot write the audit log");
        });
      throw err;
    }
  };
}
