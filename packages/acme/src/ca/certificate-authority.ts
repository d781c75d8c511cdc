import { rootCertificates } from "node:tls";
import { errorMessage } from "@dstack/core";
import { Client, type Order } from "acme-client";
import { Agent } from "undici";
import { z } from "zod";
import { CaError } from "../errors.js";
import { httpRequest, parseRetryAfter } from "../http.js";
import { type RenewalWindow, ariCertId } from "./renewal-info.js";
import { callCa } from "./transport.js";

export interface CaOptions {
  /** Names the CA in logs and files: lower-case letters, digits, hyphens. */
  name: string;
  /** URL of the ACME directory. */
  directory: string;
  /** Its names in CAA records; taken from its directory (`caaIdentities`) unless given. */
  caaNames?: readonly string[] | undefined;
  /** Root certificates beside the system's, PEM. */
  rootsPem?: string | undefined;
  /** External account binding (RFC 8555 §7.3.4); `hmacKey` in base64url. */
  eab?: { kid: string; hmacKey: string } | undefined;
}

/** One name's proof: put `value` as TXT at `recordName`, then call `answer`. */
export interface DnsChallenge {
  domain: string;
  recordName: string;
  value: string;
  answer(signal: AbortSignal): Promise<void>;
}

export type OrderStatus = "pending" | "ready" | "processing" | "valid" | "invalid";
/** An order at the CA. Its URL is enough to find it again after a crash. */
export interface AcmeOrder {
  url: string;
  status: OrderStatus;
}

/** What we need of a CA, so that nothing else knows the ACME library. All methods throw {@link CaError}. */
export interface CertificateAuthority {
  readonly name: string;
  readonly directory: string;
  readonly accountUri: string;
  /** How far our clock is ahead of the CA's, ms, by its last answer. */
  readonly clockAheadMs: number;
  createOrder(
    names: readonly string[],
    replaces: string | undefined,
    signal: AbortSignal,
  ): Promise<AcmeOrder>;
  getOrder(url: string, signal: AbortSignal): Promise<AcmeOrder>;
  /** Of names not proven yet. */
  pendingChallenges(order: AcmeOrder, signal: AbortSignal): Promise<DnsChallenge[]>;
  /** Why validation failed, in the CA's words. */
  failureReasons(order: AcmeOrder, signal: AbortSignal): Promise<string[]>;
  finalize(order: AcmeOrder, csrPem: string, signal: AbortSignal): Promise<void>;
  /** The chain of a valid order, PEM, leaf first. */
  download(order: AcmeOrder, signal: AbortSignal): Promise<string>;
  /** RFC 9773; undefined where the CA does not offer it. */
  renewalInfo(certPem: string, signal: AbortSignal): Promise<RenewalWindow | undefined>;
}

const Directory = z.object({
  renewalInfo: z.string().optional(),
  meta: z.object({ caaIdentities: z.array(z.string()).optional() }).optional(),
});
const RenewalInfo = z.object({ suggestedWindow: z.object({ start: z.string(), end: z.string() }) });

/** A CA reached through acme-client. */
export class AcmeCa implements CertificateAuthority {
  readonly #client: Client;
  readonly #dispatcher: Agent | undefined;
  clockAheadMs = 0;

  constructor(
    private readonly options: CaOptions,
    account: { keyPem: string; uri?: string | undefined },
  ) {
    this.#client = new Client({
      directoryUrl: options.directory,
      accountKey: account.keyPem,
      ...(account.uri === undefined ? {} : { accountUrl: account.uri }),
      ...(options.eab === undefined ? {} : { externalAccountBinding: options.eab }),
    });
    if (options.rootsPem !== undefined) {
      this.#dispatcher = new Agent({ connect: { ca: [...rootCertificates, options.rootsPem] } });
    }
  }

  get name(): string {
    return this.options.name;
  }
  get directory(): string {
    return this.options.directory;
  }
  get accountUri(): string {
    return this.#client.getAccountUrl();
  }

  /** Registers the account's key; a key that is registered already gets its account back. @returns the account's URI */
  async register(email: string | undefined, signal: AbortSignal): Promise<string> {
    const contact = email === undefined ? {} : { contact: [`mailto:${email}`] };
    await this.#call(signal, async () => {
      try {
        await this.#client.createAccount({ termsOfServiceAgreed: true, ...contact });
      } catch (err) {
        // The library goes on to update an account that exists already; some CAs refuse such an update as empty.
        if (!this.#isRegistered()) throw err;
      }
    });
    return this.accountUri;
  }

  /** The CA's names in CAA records. */
  async caaNames(signal: AbortSignal): Promise<string[]> {
    const names = this.options.caaNames ?? (await this.#directory(signal)).meta?.caaIdentities ?? [];
    if (names.length > 0) return names.map((name) => name.toLowerCase());
    throw new CaError(
      "refused",
      `CA ${this.name} does not say by which name CAA records know it: set "caa" for it in the configuration`,
    );
  }

  async createOrder(
    names: readonly string[],
    replaces: string | undefined,
    signal: AbortSignal,
  ): Promise<AcmeOrder> {
    const identifiers = names.map((value) => ({ type: "dns", value }));
    const order = { identifiers, ...(replaces === undefined ? {} : { replaces }) };
    try {
      return await this.#call(signal, () => this.#client.createOrder(order));
    } catch (err) {
      // RFC 9773 §5: a certificate can be replaced once; and a CA must not be asked twice to replace what it forgot.
      if (replaces === undefined || !(err instanceof CaError) || err.code !== "refused") throw err;
      return this.#call(signal, () => this.#client.createOrder({ identifiers }));
    }
  }

  getOrder(url: string, signal: AbortSignal): Promise<AcmeOrder> {
    return this.#order(url, signal);
  }

  async pendingChallenges(order: AcmeOrder, signal: AbortSignal): Promise<DnsChallenge[]> {
    const full = await this.#order(order.url, signal);
    const authorizations = await this.#call(signal, () => this.#client.getAuthorizations(full));
    const open = authorizations.filter(({ status }) => status === "pending");
    return Promise.all(
      open.map(async ({ identifier, challenges }) => {
        const challenge = challenges.find(({ type }) => type === "dns-01");
        if (challenge === undefined) {
          throw new CaError("refused", `CA ${this.name} does not offer dns-01 for ${identifier.value}`);
        }
        const value = await this.#client.getChallengeKeyAuthorization(challenge);
        const answer = async (wait: AbortSignal): Promise<void> => {
          await this.#call(wait, () => this.#client.completeChallenge(challenge));
        };
        return { domain: identifier.value, recordName: `_acme-challenge.${identifier.value}`, value, answer };
      }),
    );
  }

  async failureReasons(order: AcmeOrder, signal: AbortSignal): Promise<string[]> {
    const full = await this.#order(order.url, signal);
    const authorizations = await this.#call(signal, () => this.#client.getAuthorizations(full));
    return authorizations.flatMap(({ identifier, challenges }) =>
      challenges.flatMap((challenge) => {
        const { error } = challenge as { error?: { detail?: string; type?: string } };
        return error === undefined ? [] : [`${identifier.value}: ${error.detail ?? error.type ?? "failed"}`];
      }),
    );
  }

  async finalize(order: AcmeOrder, csrPem: string, signal: AbortSignal): Promise<void> {
    const full = await this.#order(order.url, signal);
    await this.#call(signal, () => this.#client.finalizeOrder(full, csrPem));
  }

  async download(order: AcmeOrder, signal: AbortSignal): Promise<string> {
    const full = await this.#order(order.url, signal);
    return this.#call(signal, () => this.#client.getCertificate(full));
  }

  async renewalInfo(certPem: string, signal: AbortSignal): Promise<RenewalWindow | undefined> {
    const { renewalInfo } = await this.#directory(signal);
    const id = ariCertId(certPem);
    if (renewalInfo === undefined || id === undefined) return undefined;
    const answer = await this.#get(`${renewalInfo}/${id}`, signal);
    const { suggestedWindow } = RenewalInfo.parse(JSON.parse(answer.text));
    const [start, end] = [new Date(suggestedWindow.start), new Date(suggestedWindow.end)];
    // RFC 9773 §4.2: a window that ends before it begins is no window.
    if (!(start.getTime() < end.getTime())) return undefined;
    return { start, end, askAgainAt: parseRetryAfter(answer.headers["retry-after"], Date.now()) };
  }

  #isRegistered(): boolean {
    try {
      return this.#client.getAccountUrl() !== "";
    } catch {
      return false;
    }
  }

  #order(url: string, signal: AbortSignal): Promise<Order> {
    return this.#call(signal, () => this.#client.getOrder({ url } as Order));
  }

  async #directory(signal: AbortSignal): Promise<z.infer<typeof Directory>> {
    return Directory.parse(JSON.parse((await this.#get(this.directory, signal)).text));
  }

  async #get(url: string, signal: AbortSignal): Promise<{ text: string; headers: Record<string, string> }> {
    const answer = await httpRequest(url, { method: "GET", signal, dispatcher: this.#dispatcher }).catch(
      (err: unknown) => {
        signal.throwIfAborted();
        throw new CaError("unreachable", `CA ${this.name} cannot be reached at ${url}`, {}, { cause: err });
      },
    );
    if (answer.status === 200) return answer;
    throw new CaError("unavailable", `CA ${this.name} answers ${answer.status} at ${url}`);
  }

  #call<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const onDate = (date: number): void => {
      if (!Number.isNaN(date)) this.clockAheadMs = Date.now() - date;
    };
    const { name } = this;
    return callCa({ ca: name, dispatcher: this.#dispatcher, signal, onDate }, work).catch((err: unknown) => {
      signal.throwIfAborted();
      if (err instanceof CaError) throw err;
      // What the library itself found wrong with an answer.
      throw new CaError("unavailable", `CA ${name}: ${errorMessage(err)}`, {}, { cause: err });
    });
  }
}
