import { readFile } from "node:fs/promises";
import { Authority, Certbot, Cloudflare, type RenewResult } from "@dstack/acme";
import { InputError, Serial, errorMessage, withDeadline } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import { type Evidence, collectEvidence } from "../evidence/evidence.js";
import type { GuestAgent } from "../guest-agent.js";
import type { Settings } from "../settings/settings.js";
import { setDnsRecords } from "./dns-records.js";
import { type PlaceOf, places } from "./places.js";
import { type ServedCertificate, readLiveCertificate } from "./live-certificate.js";

/** For one certificate with all its waits. */
const ATTEMPT_LIMIT_MS = 900_000;
/** For a DNS record to be seen at the zone's servers. */
const DNS_LIMIT_MS = 300_000;
const AGENT_LIMIT_MS = 60_000;

/** A certificate and the evidence that belongs to it: they change together. */
export interface Identity {
  readonly certificate: ServedCertificate;
  readonly evidence: Evidence;
}

export interface KeeperParts {
  readonly settings: Settings;
  readonly agent: GuestAgent;
  readonly log: Logger;
  /** Told each time there is another certificate or newer evidence. */
  readonly onIdentity: (identity: Identity) => void;
}

/** Keeps DNS records, certificate and evidence as they must be. */
export class Keeper {
  readonly #passes = new Serial();

  private constructor(
    private readonly parts: KeeperParts,
    private readonly dns: { readonly cloudflare: Cloudflare; readonly placeOf: PlaceOf },
    private readonly certbot: Certbot,
  ) {}

  /** @throws {InputError} a file that is named cannot be read */
  static async open(parts: KeeperParts): Promise<Keeper> {
    const { settings, log } = parts;
    const cloudflare = new Cloudflare(settings.cloudflare);
    const authority = new Authority({ servers: settings.dnsServers });
    const placeOf = places(authority, settings.delegationZone);
    const certbot = await Certbot.open({
      workDir: settings.stateDir,
      names: [...settings.routes.keys()],
      cas: [
        {
          name: "ca",
          directory: settings.acmeDirectory,
          caaNames: settings.acmeCaaNames,
          rootsPem: await readRoots(settings.acmeCaFile),
        },
      ],
      email: settings.email,
      dns: cloudflare,
      authority,
      maxDnsWaitMs: DNS_LIMIT_MS,
      renewBeforeMs: settings.renewBeforeMs,
      attemptMs: ATTEMPT_LIMIT_MS,
      setCaa: settings.setCaa,
      caaAt: placeOf,
      log,
    });
    return new Keeper(parts, { cloudflare, placeOf }, certbot);
  }

  /** Serves what an earlier run got, if it still can be: neither CA nor DNS need be there for that. */
  async resume(signal: AbortSignal): Promise<void> {
    await this.#passes.run(() => this.#load(signal));
  }

  /** One pass: DNS records, CAA, a new certificate if one is due, evidence. */
  async pass(options: { force: boolean }, signal: AbortSignal): Promise<RenewResult> {
    return this.#passes.run(async () => {
      const { settings, agent } = this.parts;
      const appId = await withDeadline(
        "asking the guest agent for the app id",
        AGENT_LIMIT_MS,
        (limit) => agent.appId(limit),
        signal,
      );
      await setDnsRecords({ ...this.dns, log: this.parts.log }, settings, appId, signal);
      const result = await this.certbot.renew(options, signal);
      if (!(await this.#load(signal))) throw new Error("the certificate there is cannot be served");
      return result;
    });
  }

  async #load(signal: AbortSignal): Promise<boolean> {
    const { settings, agent, onIdentity } = this.parts;
    const now = new Date();
    const certificate = await readLiveCertificate(
      settings.stateDir,
      [...settings.routes.keys()],
      now.getTime(),
    );
    const [account] = await this.certbot.accounts();
    if (certificate === undefined || account === undefined) return false;
    const evidence = await withDeadline(
      "quoting the evidence",
      AGENT_LIMIT_MS,
      (limit) => collectEvidence({ agent, account, email: settings.email }, certificate.chainPem, now, limit),
      signal,
    );
    onIdentity({ certificate, evidence });
    return true;
  }
}

async function readRoots(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  try {
    return await readFile(file, "utf8");
  } catch (err) {
    throw new InputError(`ACME_CA_FILE: ${errorMessage(err)}`, { cause: err });
  }
}
