import { parseSockets } from "@dstack/app-compose/sockets";
import type { SocketScope } from "@dstack/app-compose/sockets";
import { InputError, errorMessage, hex, readRegularFile, sha256 } from "@dstack/core";
import { z } from "zod";

/** As long as the largest request that can carry one to teepod. */
const MAX_COMPOSE_BYTES = 10 * 2 ** 20;

/** What of the app-compose document matters here. What is public must be said; the default is private (G8). */
const AppComposeSchema = z.looseObject({
  name: z.string().default(""),
  /** Container logs and the list of containers. */
  public_logs: z.boolean().default(false),
  /** System information and metrics. */
  public_sysinfo: z.boolean().default(false),
  /** The compose document itself and the event log. */
  public_tcbinfo: z.boolean().default(false),
  /** Sockets for some of the containers, each with what it is for (G7). */
  sockets: z.unknown().optional(),
});

export interface AppCompose {
  readonly name: string;
  readonly publicLogs: boolean;
  readonly publicSysinfo: boolean;
  readonly publicTcbinfo: boolean;
  /** Beside the classic sockets, by name. */
  readonly sockets: ReadonlyMap<string, readonly SocketScope[]>;
  /** The document as it was hashed. */
  readonly text: string;
  /** SHA-256 of the exact bytes, 64 lower-case hex digits. */
  readonly hash: string;
}

/**
 * @throws {InputError} not JSON in UTF-8, or a known key of another type
 */
export function parseAppCompose(bytes: Uint8Array): AppCompose {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch (err) {
    throw new InputError("app-compose is not JSON in UTF-8", { cause: err });
  }
  const parsed = AppComposeSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new InputError(
      `app-compose: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? errorMessage(parsed.error)}`,
    );
  }
  const { name, public_logs, public_sysinfo, public_tcbinfo, sockets } = parsed.data;
  return {
    name,
    publicLogs: public_logs,
    publicSysinfo: public_sysinfo,
    publicTcbinfo: public_tcbinfo,
    sockets: parseSockets(sockets),
    text,
    hash: hex(sha256(bytes)),
  };
}

/** Reads the app-compose document. @throws {InputError} see {@link parseAppCompose}; or a system error */
export async function loadAppCompose(path: string): Promise<AppCompose> {
  return parseAppCompose(await readRegularFile(path, MAX_COMPOSE_BYTES));
}
