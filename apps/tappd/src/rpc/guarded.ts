import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import type { Handler } from "@dstack/prpc";

/** A handler behind a check of its request, which throws what the caller is told. */
export const guarded =
  <I extends DescMessage, O extends DescMessage>(
    check: (request: MessageShape<I>) => void,
    handler: Handler<I, O>,
  ): Handler<I, O> =>
  async (request, call) => {
    check(request);
    return handler(request, call);
  };
