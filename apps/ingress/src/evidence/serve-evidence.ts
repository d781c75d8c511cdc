import { freshDomainReportData } from "@dstack/attestation";
import { CountLimit, InputError, fromHex, utf8, withDeadline } from "@dstack/core";
import { type Logger, pageHeaders } from "@dstack/daemon";
import type { GuestAgent } from "../guest-agent.js";
import type { Evidence } from "./evidence.js";
import { STYLE, indexPage } from "./index-page.js";
import { RateLimit } from "./rate-limit.js";

/** An answer that fits in memory. */
export interface Page {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const MAX_NONCE_BYTES = 64;
const QUOTE_LIMIT_MS = 30_000;
/** A quote costs the platform much more than whoever asks for it; all who ask share these. */
const QUOTES_AT_ONCE = 4;
const QUOTE_BURST = 20;
const QUOTE_REFILL_MS = 500;

/** Scripts of other origins may read this: it is public, and checking it in a browser is a use. */
const FILE_HEADERS = {
  "access-control-allow-origin": "*",
  "x-content-type-options": "nosniff",
  "cache-control": "no-store",
};
const text = (status: number, body: string, headers: Record<string, string> = {}): Page => ({
  status,
  headers: { ...FILE_HEADERS, "content-type": "text/plain; charset=utf-8", ...headers },
  body,
});
const json = (value: unknown): Page => ({
  status: 200,
  headers: { ...FILE_HEADERS, "content-type": "application/json" },
  body: `${JSON.stringify(value)}\n`,
});

export interface EvidencePagesParts {
  readonly agent: GuestAgent;
  readonly domains: readonly string[];
  /** Told the status of each reply to a nonce. */
  readonly onQuote: (status: number) => void;
  readonly log: Logger;
}

/** What is served below `/evidences/`. */
export class EvidencePages {
  readonly #quotes = new CountLimit(QUOTES_AT_ONCE);
  readonly #rate = new RateLimit(QUOTE_BURST, QUOTE_REFILL_MS);

  constructor(private readonly parts: EvidencePagesParts) {}

  /** Whether a request target is ours to answer. @param target path with query */
  static owns(target: string): boolean {
    return /^\/evidences(?:[/?]|$)/.test(target);
  }

  /** @param evidence of the certificate in use @param target see {@link owns} */
  async answer(evidence: Evidence, method: string, target: string): Promise<Page> {
    if (method !== "GET" && method !== "HEAD") {
      return text(405, "only GET is served here\n", { allow: "GET, HEAD" });
    }
    const [path = "", query = ""] = target.split("?", 2);
    switch (path) {
      case "/evidences":
        return text(308, "", { location: "/evidences/" });
      case "/evidences/": {
        const headers = { ...pageHeaders(STYLE), "content-type": "text/html; charset=utf-8" };
        return { status: 200, headers, body: indexPage(evidence, this.parts.domains) };
      }
      case "/evidences/acme-account.json":
        return { ...json(undefined), body: evidence.account };
      case "/evidences/cert.pem":
        return text(200, evidence.certificate);
      case "/evidences/sha256sum.txt":
        return text(200, evidence.sums);
      case "/evidences/quote.json": {
        const nonce = new URLSearchParams(query).get("nonce");
        if (nonce === null) return json(evidence.quote);
        const page = await this.#freshQuote(evidence, nonce);
        this.parts.onQuote(page.status);
        return page;
      }
      default:
        return text(404, "there is no such file; see /evidences/\n");
    }
  }

  /** A quote made now, over the evidence and the caller's nonce (C5). */
  async #freshQuote(evidence: Evidence, nonceHex: string): Promise<Page> {
    const nonce = parseNonce(nonceHex);
    if (nonce === undefined) return text(400, `nonce must be 1 to ${MAX_NONCE_BYTES} bytes in hex\n`);
    const busy = (waitMs: number): Page =>
      text(429, "too many quotes are asked for; try again\n", {
        "retry-after": String(Math.max(1, Math.ceil(waitMs / 1000))),
      });
    const leave = this.#quotes.enter("");
    if (leave === undefined) return busy(1000);
    try {
      const waitMs = this.#rate.take(performance.now());
      if (waitMs > 0) return busy(waitMs);
      const reportData = freshDomainReportData(utf8(evidence.sums), nonce);
      const quote = await withDeadline("quoting", QUOTE_LIMIT_MS, (signal) =>
        this.parts.agent.quote(reportData, signal),
      );
      return json({ ...quote, nonce: nonceHex });
    } catch (err) {
      this.parts.log.error({ err }, "no fresh quote");
      return text(503, "the guest agent gives no quote now; try again\n", { "retry-after": "5" });
    } finally {
      leave();
    }
  }
}

function parseNonce(text: string): Uint8Array | undefined {
  if (text === "" || text.length > 2 * MAX_NONCE_BYTES) return undefined;
  try {
    return fromHex(text, "nonce");
  } catch (err) {
    if (err instanceof InputError) return undefined;
    throw err;
  }
}
