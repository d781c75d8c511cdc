import { TimeoutError, sleep, withDeadline } from "@dstack/core";
import { TeepodRefusal, getFromTeepod } from "./http-get.js";
import { CliError, explain } from "./output.js";
import type { TeepodAddress } from "./teepod.js";

/** How long a teepod may be away. systemd has it back within seconds. */
const AWAY_LIMIT_MS = 120_000;
const RETRY_EVERY_MS = 1000;
/** A connection that ended sooner is as good as none, whatever came over it. */
const HELD_MS = 5000;
/** Between two such connections, each of which begins with lines that were there already. */
const MAX_RETRY_MS = 30_000;

/** One connection's part of a console, to be decoded on its own. */
export type LogChunks = AsyncIterable<Uint8Array>;

export interface FollowOptions {
  readonly address: TeepodAddress;
  /** Of the first request; `id` and `ansi` are those of the others too. */
  readonly query: URLSearchParams;
  readonly signal: AbortSignal;
  /** Told when the connection is lost, and when there is another. */
  readonly say: (text: string) => void;
  readonly awayLimitMs?: number;
  readonly retryEveryMs?: number;
  readonly heldMs?: number;
}

/** Since when there has been no connection that held, and how long the next one is waited for. */
interface Loss {
  readonly since: number;
  readonly retryMs: number;
  /** Whether there were connections since then. */
  readonly again: boolean;
}

/**
 * A console as it grows, a connection after the other: a teepod that was restarted is found again. What was written in the
 * seconds around the loss comes twice, in whole lines, rather than not at all.
 * @throws {CliError} the teepod refuses, or for too long it was away or ended what it had begun
 */
export async function* followLogs(options: FollowOptions): AsyncGenerator<LogChunks> {
  const { address, query, signal, say, retryEveryMs = RETRY_EVERY_MS, heldMs = HELD_MS } = options;
  let chunks: LogChunks = await getFromTeepod(address, `/logs?${query.toString()}`, signal);
  let loss: Loss | undefined;
  for (;;) {
    const last = { at: Date.now() };
    const opened = performance.now();
    yield untilLost(chunks, last, signal);
    signal.throwIfAborted();
    const now = performance.now();
    loss =
      loss === undefined || now - opened >= heldMs
        ? { since: now, retryMs: retryEveryMs, again: false }
        : { since: loss.since, retryMs: Math.min(2 * loss.retryMs, MAX_RETRY_MS), again: true };
    say(
      `the connection to the teepod was lost; trying again${loss.again ? `, ${loss.retryMs / 1000} s from now` : ""}`,
    );
    chunks = await again(options, loss, last.at);
    say("the teepod is there again; lines of the last seconds may come twice");
  }
}

/** The chunks, with the time of the last one; ends where the connection does, however it does. */
async function* untilLost(chunks: LogChunks, last: { at: number }, signal: AbortSignal): LogChunks {
  try {
    for await (const chunk of chunks) {
      last.at = Date.now();
      yield chunk;
    }
  } catch {
    signal.throwIfAborted();
  }
}

async function again(options: FollowOptions, loss: Loss, lastAt: number): Promise<LogChunks> {
  const { address, query, signal, awayLimitMs = AWAY_LIMIT_MS } = options;
  let why: unknown = loss.again ? new Error("it ends each connection at once") : undefined;
  const attempt = async (limit: AbortSignal): Promise<LogChunks> => {
    for (;;) {
      await sleep(loss.retryMs, limit);
      // By the teepod's clock, which need not be ours.
      const since = `${Math.ceil((Date.now() - lastAt) / 1000) + 1}s`;
      const rest = new URLSearchParams({ ...Object.fromEntries(query), since });
      rest.delete("lines");
      try {
        // Not the limit's signal: it would end the console too.
        const chunks = await getFromTeepod(address, `/logs?${rest.toString()}`, signal);
        // Nobody waits for it any more: open, it would keep the command from ending.
        if (limit.aborted) chunks.destroy();
        return chunks;
      } catch (err) {
        if (signal.aborted || (err instanceof TeepodRefusal && err.status < 500)) throw err;
        why = err;
      }
    }
  };
  try {
    const leftMs = Math.max(1, awayLimitMs - (performance.now() - loss.since));
    return await withDeadline("finding the teepod again", leftMs, attempt, signal);
  } catch (err) {
    if (!(err instanceof TimeoutError)) throw err;
    throw new CliError(
      `the teepod has been away for ${awayLimitMs / 1000} s${why === undefined ? "" : `: ${explain(why)}`}`,
      1,
      { cause: err },
    );
  }
}
