import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { RpcError, toRpcError } from "@dstack/prpc";
import type { Handler } from "@dstack/prpc";
import type { AdminContext, Operator } from "./admin-context.js";

/** Longer names are nobody's. */
const MAX_ABOUT_CHARS = 128;

/**
 * A handler whose calls stand in the audit log, before and after. What cannot be logged is not done.
 * @param about the instance or node that a request is about
 */
export function audited<I extends DescMessage, O extends DescMessage>(
  { audit, log }: AdminContext,
  method: string,
  about: (request: MessageShape<I>) => string,
  handler: Handler<I, O, Operator>,
): Handler<I, O, Operator> {
  return async (request, call) => {
    if (call.peer === undefined) throw new RpcError("unauthenticated", "a bearer token is needed");
    const entry = {
      who: call.peer.name,
      from: call.remoteAddress,
      request: call.requestId,
      method,
      about: about(request).slice(0, MAX_ABOUT_CHARS),
    };
    try {
      await audit.append({ ...entry, outcome: "asked" });
    } catch (err) {
      throw new RpcError("unavailable", "the audit log cannot be written, so nothing is changed", {
        cause: err,
      });
    }
    const note = async (outcome: "done" | "refused" | "failed", message?: string): Promise<void> => {
      try {
        await audit.append({ ...entry, outcome, ...(message === undefined ? {} : { message }) });
      } catch (err) {
        log.error({ err, ...entry, outcome }, "cannot write the audit log");
      }
    };
    try {
      const answer = await handler(request, call);
      await note("done");
      return answer;
    } catch (err) {
      const { code, message } = toRpcError(err);
      await note(code === "internal" || code === "unavailable" ? "failed" : "refused", message);
      throw err;
    }
  };
}
