import { hex } from "@dstack/core";
import { isNameOf, mentions, wildcardAbove } from "@dstack/ct";
import { z } from "zod";
import { getBytes, getJson } from "../http.js";
import type { MonitorState } from "../state.js";
import { SourceLie } from "./source.js";
import type { Source, Watch } from "./source.js";

/** crt.sh is slow, and its lists are long. */
const LIST_LIMIT_MS = 120_000;
const MAX_LIST_BYTES = 64 * 2 ** 20;
const CERTIFICATE_LIMIT_MS = 60_000;
const MAX_CERTIFICATE_BYTES = 512 * 1024;
const COMMIT_EVERY = 16;

const Row = z.object({
  id: z.int().min(1),
  /** Hex, as OpenSSL prints it. */
  serial_number: z.string(),
  /** One a line. */
  name_value: z.string(),
});
type Row = z.infer<typeof Row>;

/** What crt.sh found in all the logs it follows. It proves nothing; what it does not tell is not noticed here. */
export class CrtSh implements Source {
  readonly name = "crt.sh";

  constructor(
    private readonly url: string,
    private readonly state: MonitorState,
  ) {}

  async scan(watch: Watch, signal: AbortSignal): Promise<void> {
    const rows = await this.#list(signal);
    const failures: unknown[] = [];
    let sinceCommit = 0;
    for (const row of rows) {
      if (this.state.crtShChecked.has(row.id)) continue;
      try {
        await this.#check(row, watch, signal);
        this.state.crtShChecked.add(row.id);
      } catch (err) {
        signal.throwIfAborted();
        // One certificate that cannot be had does not keep the others from being looked at.
        failures.push(err);
      }
      sinceCommit += 1;
      if (sinceCommit % COMMIT_EVERY === 0) await watch.commit();
    }
    await watch.commit();
    const lie = failures.find((failure) => failure instanceof SourceLie);
    if (failures.length > 0) throw lie ?? failures[0];
  }

  async #list(signal: AbortSignal): Promise<Row[]> {
    const { domain } = this.state;
    const above = wildcardAbove(domain);
    const rows = new Map<number, Row>();
    for (const query of [domain, `%.${domain}`, ...(above === undefined ? [] : [above])]) {
      const answer = await getJson(`${this.url}/?q=${encodeURIComponent(query)}&output=json`, {
        maxBytes: MAX_LIST_BYTES,
        limitMs: LIST_LIMIT_MS,
        signal,
      });
      for (const row of z.array(Row).parse(answer)) rows.set(row.id, row);
    }
    return [...rows.values()].toSorted((a, b) => a.id - b.id);
  }

  async #check(row: Row, watch: Watch, signal: AbortSignal): Promise<void> {
    const question = { maxBytes: MAX_CERTIFICATE_BYTES, limitMs: CERTIFICATE_LIMIT_MS, signal };
    const pem = Buffer.from(await getBytes(`${this.url}/?d=${row.id}`, question)).toString("latin1");
    const where = `${this.url}/?id=${row.id}`;
    const body = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/.exec(pem)?.[1];
    if (body === undefined) throw new Error(`${where} is no certificate`);
    const der = new Uint8Array(Buffer.from(body, "base64"));
    const read = watch.certificate({ der, kind: "x509", where });
    const listed = row.name_value.split("\n").some((name) => isNameOf(name.trim(), this.state.domain));
    if (read === undefined ? !listed || mentions(der, this.state.domain) : sameAs(row, listed, read)) return;
    throw new SourceLie("other_certificate", "crt.sh lists a certificate and gives another one", {
      id: row.id,
    });
  }
}

function sameAs(row: Row, listed: boolean, read: { ours: boolean; serial: Uint8Array }): boolean {
  const listedSerial = row.serial_number.toLowerCase().replace(/^0+/, "");
  return (read.ours || !listed) && hex(read.serial).replace(/^0+/, "") === listedSerial;
}
