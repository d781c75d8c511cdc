import { fromHex, hex, readRegularFileIfAny, writeFileAtomic } from "@dstack/core";
import { z } from "zod";

/** 10,000 renewals with a new key each. */
const MAX_FILE_BYTES = 4 * 2 ** 20;

const HistoryFile = z.strictObject({ version: z.literal(1), keys: z.array(z.string().regex(/^[0-9a-f]+$/)) });

/**
 * The public key of every certificate this tproxy ever served, kept over restarts: what a certificate transparency
 * monitor compares with. Never shortened.
 */
export class KeyHistory {
  readonly #keys: string[];

  private constructor(
    readonly path: string,
    keys: readonly string[],
  ) {
    this.#keys = [...keys];
  }

  /** @throws when the file is there and is no history: a monitor must not be told of fewer keys than there were */
  static async open(path: string): Promise<KeyHistory> {
    const bytes = await readRegularFileIfAny(path, MAX_FILE_BYTES);
    if (bytes === undefined) return new KeyHistory(path, []);
    return new KeyHistory(path, HistoryFile.parse(JSON.parse(Buffer.from(bytes).toString("utf8"))).keys);
  }

  /** DER SubjectPublicKeyInfo, oldest first. */
  list(): Uint8Array[] {
    return this.#keys.map((key) => fromHex(key));
  }

  /** On disk when it returns, and before the certificate is served. */
  async add(spkiDer: Uint8Array): Promise<void> {
    const key = hex(spkiDer);
    if (this.#keys.includes(key)) return;
    const keys = [...this.#keys, key];
    await writeFileAtomic(this.path, `${JSON.stringify({ version: 1, keys }, null, 2)}\n`, { mode: 0o600 });
    this.#keys.push(key);
  }
}
