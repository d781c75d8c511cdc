import {
  InputError,
  Serial,
  errorMessage,
  fromHex,
  hex,
  readRegularFileIfAny,
  writeFileAtomic,
} from "@dstack/core";
import { CompactTree } from "@dstack/ct";
import type { CompactTreeState } from "@dstack/ct";
import { z } from "zod";
import { Alert } from "./alerts.js";

const MAX_FILE_BYTES = 64 * 2 ** 20;

const digest = z.string().regex(/^[0-9a-f]{64}$/);
const size = z.int().min(0);
const time = z.iso.datetime();

const StateFile = z.strictObject({
  version: z.literal(1),
  domain: z.string(),
  /** Keys of tproxy by the SHA-256 of their SPKI, with the guest that proved them; without, they are tproxy's word. */
  keys: z.record(
    digest,
    z.strictObject({
      verified_at: time,
      guest: z.strictObject({ compose_hash: digest, ca_cert_hash: digest }).optional(),
    }),
  ),
  /** By log id: the newest head it signed, and how far entries were read and found to be what it signed. */
  logs: z.record(
    digest,
    z.strictObject({
      head: z.strictObject({ size, root: digest, timestamp: z.int() }),
      scanned: z.strictObject({ size, nodes: z.array(digest) }),
    }),
  ),
  /** Ids of crt.sh whose certificates were read. */
  crt_sh_checked: z.array(z.int()),
  /** When each source was last checked to its end; before that, when it was first tried. */
  checked_at: z.record(z.string(), time),
  alerts: z.array(Alert),
});
type StateFile = z.infer<typeof StateFile>;

/** Of the guest whose quote proved a key; 64 hex digits each. */
export interface KeyGuest {
  readonly composeHash: string;
  /** SHA-256 of the root CA certificate of the KMS that it was started with. */
  readonly caCertHash: string;
}

/** Where a monitor stands with one log. */
export interface LogPosition {
  readonly head: { readonly size: number; readonly root: Uint8Array; readonly timestamp: number };
  readonly scanned: CompactTreeState;
}

/**
 * What a monitor remembers. It is replaced as a whole, so that a crash leaves the state of one moment: places only
 * together with what was found before them. Places never go back.
 */
export class MonitorState {
  readonly keys = new Map<string, { verifiedAt: string; guest?: KeyGuest }>();
  readonly crtShChecked: Set<number>;
  /** Whether there was a file. */
  readonly existed: boolean;
  readonly checkedAt: Map<string, string>;
  readonly #logs = new Map<string, LogPosition>();
  readonly #serial = new Serial();
  /** What {@link save} writes; set by the one who has them. */
  alerts: () => readonly Alert[];

  private constructor(
    readonly path: string,
    readonly domain: string,
    file: StateFile | undefined,
  ) {
    this.existed = file !== undefined;
    for (const [key, { verified_at, guest }] of Object.entries(file?.keys ?? {})) {
      this.keys.set(key, {
        verifiedAt: verified_at,
        ...(guest === undefined
          ? {}
          : { guest: { composeHash: guest.compose_hash, caCertHash: guest.ca_cert_hash } }),
      });
    }
    for (const [id, { head, scanned }] of Object.entries(file?.logs ?? {})) {
      this.#logs.set(id, {
        head: { ...head, root: fromHex(head.root) },
        scanned: CompactTree.from({
          size: scanned.size,
          nodes: scanned.nodes.map((node) => fromHex(node)),
        }),
      });
    }
    this.crtShChecked = new Set(file?.crt_sh_checked);
    this.checkedAt = new Map(Object.entries(file?.checked_at ?? {}));
    const alerts = file?.alerts ?? [];
    this.alerts = () => alerts;
  }

  /**
   * @throws {InputError} the file is damaged or another domain's: beginning anew would skip what was logged meanwhile
   */
  static async open(path: string, domain: string): Promise<MonitorState> {
    const bytes = await readRegularFileIfAny(path, MAX_FILE_BYTES);
    if (bytes === undefined) return new MonitorState(path, domain, undefined);
    let state: MonitorState;
    try {
      const file = StateFile.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
      state = new MonitorState(path, file.domain, file);
    } catch (err) {
      const why = err instanceof z.ZodError ? (err.issues[0]?.message ?? "") : errorMessage(err);
      throw new InputError(
        `${path} is damaged (${why}): restore it, or move it away to begin anew; certificates logged in between may then be missed`,
        { cause: err },
      );
    }
    if (state.domain !== domain) {
      throw new InputError(`${path} is the state for ${state.domain}, not for ${domain}`);
    }
    return state;
  }

  log(id: string): LogPosition | undefined {
    return this.#logs.get(id);
  }

  /** @throws {RangeError} a place before the one there is */
  setLog(id: string, next: LogPosition): void {
    const before = this.#logs.get(id);
    if (
      before !== undefined &&
      (next.head.size < before.head.size || next.scanned.size < before.scanned.size)
    ) {
      throw new RangeError("a monitor does not go back in a log");
    }
    this.#logs.set(id, next);
  }

  /** On disk when it returns. */
  save(): Promise<void> {
    return this.#serial.run(() =>
      writeFileAtomic(this.path, `${JSON.stringify(this.#file())}\n`, { mode: 0o600 }),
    );
  }

  #file(): StateFile {
    const keys = [...this.keys].map(([key, { verifiedAt, guest }]) => [
      key,
      {
        verified_at: verifiedAt,
        ...(guest === undefined
          ? {}
          : { guest: { compose_hash: guest.composeHash, ca_cert_hash: guest.caCertHash } }),
      },
    ]);
    const logs = [...this.#logs].map(([id, { head, scanned }]) => [
      id,
      {
        head: { size: head.size, root: hex(head.root), timestamp: head.timestamp },
        scanned: { size: scanned.size, nodes: scanned.nodes.map(hex) },
      },
    ]);
    return {
      version: 1,
      domain: this.domain,
      keys: Object.fromEntries(keys) as StateFile["keys"],
      logs: Object.fromEntries(logs) as StateFile["logs"],
      crt_sh_checked: [...this.crtShChecked],
      checked_at: Object.fromEntries(this.checkedAt),
      alerts: [...this.alerts()],
    };
  }
}
