import { createApp, listenHttp, silentLogger } from "@dstack/daemon";
import { RpcError, implement, mountPrpc } from "@dstack/prpc";
import { tappd } from "@dstack/proto";
import { guestEvidence } from "./site.js";
import type { GuestShape } from "./site.js";

export interface TappdSocket extends AsyncDisposable {
  readonly path: string;
  /** Answers with an error while it is set. */
  broken: boolean;
  /** Quotes asked for so far. */
  asked: number;
}

/** tappd's socket inside a guest of the tests' platform, as far as quotes go. */
export async function startTappdSocket(path: string, shape: GuestShape = {}): Promise<TappdSocket> {
  const { provider, eventLog } = await guestEvidence(shape);
  const refuse = (): never => {
    throw new RpcError("unavailable", "not part of this test");
  };
  const service = implement<typeof tappd.Tappd, undefined>(tappd.Tappd, {
    deriveKey: refuse,
    tdxQuote: refuse,
    info: refuse,
    rawQuote: async ({ reportData }) => {
      socket.asked += 1;
      if (socket.broken) refuse();
      return { quote: await provider.getQuote(reportData), eventLog };
    },
  });
  const app = createApp({ log: silentLogger() });
  mountPrpc(app, [service]);
  const listener = await listenHttp({ app, address: { path, mode: 0o600 } });
  const socket: TappdSocket = {
    path,
    broken: false,
    asked: 0,
    [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose](),
  };
  return socket;
}
