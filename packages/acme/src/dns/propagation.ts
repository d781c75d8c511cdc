import { sleep } from "@dstack/core";
import { DnsError } from "../errors.js";
import type { Log } from "../log.js";
import type { ServerAnswer } from "./authority.js";

const FIRST_WAIT_MS = 250;
const MAX_WAIT_MS = 16_000;

/**
 * Waits until every authoritative server shows what was written: 250 ms, then twice as long each time up to 16 s.
 * @param what for the log and the error, such as `challenge`
 * @param read asks all servers
 * @param isThere whether one server's records are the ones wanted
 * @throws {DnsError} `not_propagated` after `limitMs`
 */
export async function waitUntilVisible<T>(
  what: string,
  domain: string,
  wait: { limitMs: number; signal: AbortSignal; log: Log },
  read: (signal: AbortSignal) => Promise<ServerAnswer<T>[]>,
  isThere: (records: T[]) => boolean,
): Promise<void> {
  const end = Date.now() + wait.limitMs;
  let waitMs = FIRST_WAIT_MS;
  for (let tries = 1; ; tries++) {
    const missing = (await read(wait.signal)).filter(
      (answer) => !("records" in answer) || !isThere(answer.records),
    );
    if (missing.length === 0) return;
    const left = end - Date.now();
    if (left <= 0) throw notVisible(what, domain, wait.limitMs, missing);
    waitMs = Math.min(waitMs, left);
    const shown = waitMs < 1000 ? `${waitMs}ms` : `${waitMs / 1000}s`;
    wait.log.debug(
      { tries, domain, servers: missing.map(({ server }) => server) },
      `${what} not found, waiting ${shown}`,
    );
    await sleep(waitMs, wait.signal);
    waitMs = Math.min(2 * waitMs, MAX_WAIT_MS);
  }
}

function notVisible<T>(what: string, domain: string, limitMs: number, missing: ServerAnswer<T>[]): DnsError {
  const servers = missing.map((answer) =>
    "failure" in answer ? `${answer.server} (${answer.failure})` : answer.server,
  );
  return new DnsError(
    "not_propagated",
    `the ${what} at ${domain} was written, but after ${limitMs / 1000} s these servers do not show it: ${servers.join(", ")}. ` +
      "Check that the zone's NS records point at the provider that was written to, or raise max_dns_wait",
    { domain },
  );
}
