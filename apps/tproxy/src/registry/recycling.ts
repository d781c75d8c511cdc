import { sleep } from "@dstack/core";
import type { TproxyContext } from "../context.js";
import type { Handshakes } from "../routing/route-table.js";
import type { Instance } from "./instance.js";

const RECYCLE_EVERY_MS = 60_000;
/** Seconds after a start in which nobody is forgotten: guests that were cut off by it are heard again by then. */
const GRACE_S = 600;

/** Which instances have not been seen, by any node, for so long that they lose their registration. */
export function isGone(
  instance: Instance,
  seenAt: number,
  handshakes: Handshakes,
  times: { readonly now: number; readonly startedAt: number; readonly afterSeconds: number },
): boolean {
  if (times.now - times.startedAt < GRACE_S) return false;
  const seen = Math.max(handshakes.get(instance.publicKey) ?? 0, instance.registeredAt, seenAt);
  return times.now - seen > times.afterSeconds;
}

/** Notes who was heard and forgets who was not, until the signal aborts. */
export async function recycleLoop(
  context: TproxyContext,
  afterSeconds: number,
  now: () => number,
  signal: AbortSignal,
): Promise<void> {
  const startedAt = now();
  while (!signal.aborted) {
    await sleep(RECYCLE_EVERY_MS, signal).catch(() => {});
    // A node that cannot hear the others does not know whom they have seen.
    if (signal.aborted || context.store.trouble !== undefined) continue;
    try {
      await context.registry.noteSeen(context.tunnel.handshakes, afterSeconds / 10);
      await recycle(context, { now: now(), startedAt, afterSeconds });
    } catch (err) {
      context.log.error({ err }, "recycling instances failed");
    }
  }
}

async function recycle(
  { registry, tunnel, metrics, log }: TproxyContext,
  times: { now: number; startedAt: number; afterSeconds: number },
): Promise<void> {
  const gone = await registry.recycle((instance, seenAt) =>
    isGone(instance, seenAt, tunnel.handshakes, times),
  );
  if (gone.length === 0) return;
  metrics.recycled.inc(gone.length);
  log.info(
    { instances: gone.map(({ instanceId, ip }) => ({ instanceId, ip })) },
    "instances not seen for long were forgotten",
  );
}
