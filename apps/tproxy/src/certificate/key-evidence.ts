import { access, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { certificateKeyReportData } from "@dstack/attestation";
import { fromHex, hex, readRegularFileIfAny, sha256, withDeadline, writeFileAtomic } from "@dstack/core";
import { createClient, unixTransport } from "@dstack/prpc";
import { tappd } from "@dstack/proto";
import { z } from "zod";

/** A quote is about 5 KB, an event log 20; both as text. */
const MAX_FILE_BYTES = 512 * 1024;
const QUOTE_LIMIT_MS = 30_000;

const hexText = z.string().regex(/^([0-9a-f]{2})+$/);

/** What a monitor verifies: a quote over SHA-512("zt-cert:" ‖ SPKI), and the event log that explains it. */
const KeyEvidenceFile = z.strictObject({ public_key: hexText, quote: hexText, event_log: z.string() });
export type KeyEvidence = z.infer<typeof KeyEvidenceFile>;

/** Makes a quote of the guest we run in over 64 bytes. */
export type MakeQuote = (reportData: Uint8Array) => Promise<{ quote: Uint8Array; eventLog: string }>;

/** Quotes from tappd, as any container of the guest gets them: who verifies one has to ask which guest it is of. */
export function quotesFromTappd(socketPath: string): MakeQuote {
  return (reportData) =>
    withDeadline("getting a quote from tappd", QUOTE_LIMIT_MS, async (signal) => {
      await using transport = unixTransport(socketPath);
      return await createClient(tappd.Tappd, transport).rawQuote({ reportData }, { signal });
    });
}

/**
 * Evidence that keys of certificates live in this guest, one file a key. It is made while a key is in use and never
 * for one that is only history: such a key may have been used outside a guest.
 */
export class KeyEvidenceStore {
  private constructor(
    readonly dir: string,
    private readonly makeQuote: MakeQuote | undefined,
  ) {}

  /** @param makeQuote undefined on a plain host: there is no evidence then */
  static async open(dir: string, makeQuote: MakeQuote | undefined): Promise<KeyEvidenceStore> {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    return new KeyEvidenceStore(dir, makeQuote);
  }

  get canQuote(): boolean {
    return this.makeQuote !== undefined;
  }

  /**
   * @param digest SHA-256 of the SPKI, 64 hex digits
   * @throws when the file is there and is not what we wrote
   */
  async get(digest: string): Promise<KeyEvidence | undefined> {
    const bytes = await readRegularFileIfAny(this.#path(digest), MAX_FILE_BYTES);
    if (bytes === undefined) return undefined;
    return KeyEvidenceFile.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
  }

  /** Whether there is any, good or not. @param digest as for {@link get} */
  async has(digest: string): Promise<boolean> {
    return access(this.#path(digest)).then(
      () => true,
      () => false,
    );
  }

  /**
   * Makes the evidence of a key unless it is there; on disk when it returns.
   * @returns whether there is evidence: false on a plain host
   * @throws when tappd gives no quote
   */
  async ensure(spkiDer: Uint8Array): Promise<boolean> {
    const digest = hex(sha256(spkiDer));
    if ((await this.get(digest).catch(() => undefined)) !== undefined) return true;
    if (this.makeQuote === undefined) return false;
    const { quote, eventLog } = await this.makeQuote(certificateKeyReportData(spkiDer));
    const evidence: KeyEvidence = { public_key: hex(spkiDer), quote: hex(quote), event_log: eventLog };
    await writeFileAtomic(this.#path(digest), `${JSON.stringify(evidence)}\n`, { mode: 0o600 });
    return true;
  }

  #path(digest: string): string {
    // 32 bytes of hex and nothing else: the digest comes from a URL.
    return join(this.dir, `${hex(fromHex(digest, "key digest", 32))}.json`);
  }
}
