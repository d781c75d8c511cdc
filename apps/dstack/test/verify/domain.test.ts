import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { domainReportData, freshDomainReportData } from "@dstack/attestation";
import { fromHex, hex, sha256, sha512, utf8 } from "@dstack/core";
import { type ChallengeDns, startChallengeDns } from "../../../../packages/acme/test/support/challtestsrv.js";
import {
  APP_ID,
  type Guest,
  type GuestOptions,
  type Listening,
  OTHER_ID,
  type Outcome,
  Site,
  serveHttps,
  verify,
  verifyJson,
} from "./site.js";
import { startZoneServer } from "./zone-server.js";

const DOMAIN = "shop.example.localhost";
const ACCOUNT = "https://ca.test/acct/7";
const OURS = `ca.test;validationmethods=dns-01;accounturi=${ACCOUNT}`;

let site: Site;
let dns: ChallengeDns;

beforeAll(async () => {
  site = await Site.open();
  dns = await startChallengeDns();
});
afterAll(async () => {
  await dns[Symbol.asyncDispose]();
  await site[Symbol.asyncDispose]();
});

interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** What an ordinary CA gives; here self-signed. */
function certificateFor(name: string): Certificate {
  const [cert, key] = [site.path(`${name}.pem`), site.path(`${name}.key`)];
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"];
  const names = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name}`];
  execFileSync("openssl", ["req", "-x509", ...curve, "-keyout", key, "-out", cert, ...names], {
    stdio: "ignore",
  });
  return { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
}

/** The evidence files of an ingress in a guest. */
class Evidence {
  sums: string;
  account = JSON.stringify({ body: {}, uri: ACCOUNT, caa: ["ca.test"] });
  private constructor(
    readonly guest: Guest,
    public certificate: string,
  ) {
    const line = (name: string, text: string): string => `${hex(sha256(utf8(text)))}  ${name}\n`;
    this.sums =
      line("acme-account.json", this.account) +
      line("cert.pem", certificate) +
      "# issued 2026-01-01T00:00:00.000Z\n";
  }

  static async of(certificate: string, options: GuestOptions = {}): Promise<Evidence> {
    return new Evidence(await site.guest(options), certificate);
  }

  async quote(reportData: Uint8Array): Promise<string> {
    const { provider, eventLog } = this.guest;
    return JSON.stringify({ quote: hex(await provider.getQuote(reportData)), event_log: eventLog });
  }

  async answer(path: string): Promise<string | undefined> {
    const { pathname, searchParams } = new URL(path, "https://x");
    const nonce = searchParams.get("nonce");
    switch (pathname) {
      case "/evidences/acme-account.json":
        return this.account;
      case "/evidences/cert.pem":
        return this.certificate;
      case "/evidences/sha256sum.txt":
        return this.sums;
      case "/evidences/quote.json":
        return nonce === null
          ? this.quote(domainReportData(utf8(this.sums)))
          : this.quote(freshDomainReportData(utf8(this.sums), fromHex(nonce)));
      default:
        return undefined;
    }
  }
}

/** Serves with a certificate whatever `answer` says of the evidence. */
const serve = (
  { cert, key }: Certificate,
  answer: (path: string) => Promise<string | undefined>,
): Promise<Listening> => serveHttps({ cert, key }, (request) => answer(request.url ?? ""));

async function verifyAt(
  server: Listening,
  options: { domain?: string; args?: readonly string[] } = {},
): Promise<Outcome> {
  const url = `https://${options.domain ?? DOMAIN}:${server.port}/`;
  return verify(url, "--dns", dns.address, ...site.all, ...(options.args ?? []));
}

const setCaa = (...records: [tag: string, value: string][]): Promise<void> =>
  dns.setRecords(
    DOMAIN,
    records.map(([tag, value]) => ({
      id: "",
      type: "CAA",
      name: DOMAIN,
      content: "",
      ttl: 60,
      data: { flags: 0, tag, value },
    })),
  );
const good = (): Promise<void> => setCaa(["issue", OURS], ["issuewild", OURS]);

describe("dstack verify https://<custom domain>", () => {
  it("follows the chain from the TLS key to the compose document, CAA included", async () => {
    await good();
    const certificate = certificateFor(DOMAIN);
    const evidence = await Evidence.of(certificate.cert);
    await using server = await serve(certificate, (path) => evidence.answer(path));
    const { code, out } = await verifyAt(server);
    expect(code, out).toBe(0);
    for (const line of [
      /^ok +cert\.pem: is for the key of the handshake/m,
      /^ok +checksum of acme-account\.json/m,
      /^ok +CAA records: shop\.example\.localhost lets nobody issue but account https:\/\/ca\.test\/acct\/7/m,
      /answer to our nonce/,
      /issued: 2026-01-01T00:00:00\.000Z/,
      /endpoint verified \(simulated platform\)\n$/,
    ]) {
      expect(out).toMatch(line);
    }
    const report = await verifyJson(`https://${DOMAIN}:${server.port}/`, "--dns", dns.address, ...site.all);
    expect(report).toMatchObject({
      verdict: "verified",
      verified: true,
      app: { app_id: APP_ID },
      refused: [],
    });
  });

  it("tells an alias: who follows it goes by other records", async () => {
    await good();
    await dns.setAlias(DOMAIN, "gateway.example");
    const certificate = certificateFor(DOMAIN);
    const evidence = await Evidence.of(certificate.cert);
    await using server = await serve(certificate, (path) => evidence.answer(path));
    const { out } = await verifyAt(server);
    await dns.setAlias(DOMAIN, undefined);
    expect(out).toMatch(/alias: shop\.example\.localhost is an alias of gateway\.example/);
  });

  it("goes by the records where a delegated domain leads, and refuses those of others there", async () => {
    const certificate = certificateFor(DOMAIN);
    const evidence = await Evidence.of(certificate.cert);
    await using server = await serve(certificate, (path) => evidence.answer(path));
    const aliases = { [DOMAIN]: "shop.delegated.test" };
    for (const [value, code, said] of [
      [OURS, 0, /^ok +CAA records: shop\.delegated\.test lets nobody issue but account/m],
      ["ca.test", 1, /REFUSED: CAA records: at shop\.delegated\.test: another account may order/],
    ] as const) {
      // What stands above the domain does not count: the domain has records of its own, where it leads.
      const caa = { "shop.delegated.test": value, "example.localhost": OURS };
      await using zones = await startZoneServer(aliases, caa);
      const outcome = await verify(`https://${DOMAIN}:${server.port}/`, "--dns", zones.address, ...site.all);
      expect(outcome.code, outcome.out).toBe(code);
      expect(outcome.out).toMatch(said);
    }
  });

  it("could not tell: no evidence, a page in its place, DNS that is silent, nobody said which app", async () => {
    await good();
    const certificate = certificateFor(DOMAIN);
    const evidence = await Evidence.of(certificate.cert);
    await using none = await serve(certificate, async () => undefined);
    const nothing = await verifyAt(none);
    expect(nothing.code, nothing.out).toBe(2);
    expect(nothing.out).toContain("there is no /evidences/");
    await using half = await serve(certificate, async (path) =>
      path.includes("nonce") ? undefined : evidence.answer(path),
    );
    const noAnswer = await verifyAt(half);
    expect(noAnswer.code).toBe(2);
    expect(noAnswer.out).toContain("/evidences/quote.json?nonce=");
    await using server = await serve(certificate, (path) => evidence.answer(path));
    const url = `https://${DOMAIN}:${server.port}/`;
    const silent = await verify(url, "--dns", "127.0.0.1:1", ...site.all);
    expect(silent.code, silent.out).toBe(2);
    expect(silent.out).toContain("NOT CHECKED: CAA records: DNS server 127.0.0.1:1 gave no answer");
    const anyApp = await verify(url, "--dns", dns.address, ...site.trusting, ...site.image);
    expect(anyApp.code, anyApp.out).toBe(2);
    expect((await verify(url, "--dns", "dns.example")).code).toBe(2);
  });
});

describe("refuses", () => {
  /** @param change what an attacker does to good evidence */
  async function refused(
    why: RegExp,
    change: {
      certificate?: Certificate;
      guest?: GuestOptions;
      evidence?: (evidence: Evidence) => void;
      answer?: (evidence: Evidence, path: string) => Promise<string | undefined>;
      domain?: string;
      args?: readonly string[];
    } = {},
  ): Promise<void> {
    const certificate = certificateFor(DOMAIN);
    const evidence = await Evidence.of(certificate.cert, change.guest);
    change.evidence?.(evidence);
    await using server = await serve(change.certificate ?? certificate, (path) =>
      change.answer === undefined ? evidence.answer(path) : change.answer(evidence, path),
    );
    const { code, out } = await verifyAt(server, change);
    expect(out).toMatch(why);
    expect(code, out).toBe(1);
  }
  const isFresh = (path: string): boolean => path.includes("nonce");

  it("somebody else's evidence, passed on by a server with a certificate of its own", async () => {
    await good();
    await refused(/REFUSED: cert\.pem: is not for the key that signed the handshake/, {
      certificate: certificateFor(DOMAIN),
    });
  });

  it("evidence of another domain", async () => {
    await good();
    await refused(/REFUSED: host name: the certificate is for DNS:shop\.example\.localhost, not for other/, {
      domain: "other.localhost",
    });
  });

  it("C5: evidence of an old certificate", async () => {
    await good();
    const now = certificateFor(DOMAIN);
    await refused(/REFUSED: cert\.pem: .*or an old one/, { certificate: now });
  });

  it("C5: old evidence for a certificate still in use: it does not answer a new nonce", async () => {
    await good();
    let kept: Promise<string> | undefined;
    await refused(/REFUSED: report data: the quote was made over other report data/, {
      // What an attacker has who was once shown an answer, or only has the files.
      answer: (evidence, path) =>
        isFresh(path)
          ? (kept ??= evidence.quote(freshDomainReportData(utf8(evidence.sums), new Uint8Array(32))))
          : evidence.answer(path),
    });
    await refused(/REFUSED: report data: /, {
      answer: (evidence, path) => evidence.answer(isFresh(path) ? "/evidences/quote.json" : path),
    });
  });

  it("C5: an answer to our nonce that an app's own quoting of callers' data can give", async () => {
    await good();
    await refused(/REFUSED: report data: /, {
      answer: async (evidence, path) => {
        if (!isFresh(path)) return evidence.answer(path);
        const nonce = fromHex(new URL(path, "https://x").searchParams.get("nonce") ?? "");
        return evidence.quote(sha512("app-data:", sha256(utf8(evidence.sums)), nonce));
      },
    });
  });

  it.each([
    ["cert.pem", (evidence: Evidence) => (evidence.certificate += "\n")],
    ["acme-account.json", (evidence: Evidence) => (evidence.account += "\n")],
  ])("an edited %s", async (name, evidence) => {
    await good();
    await refused(new RegExp(`REFUSED: checksum of ${name}: is another one`), {
      evidence: (e) => void evidence(e),
    });
  });

  it("an edited sha256sum.txt, or one that names a file twice or not", async () => {
    await good();
    const later = (evidence: Evidence): string => `${evidence.sums}# a line that was not quoted\n`;
    await refused(/REFUSED: report data: /, {
      answer: async (evidence, path) =>
        path.endsWith("sha256sum.txt") ? later(evidence) : evidence.answer(path),
    });
    await refused(/REFUSED: checksum of cert\.pem: sha256sum\.txt has more than one line/, {
      evidence: (e) => void (e.sums += `${hex(sha256(utf8("x")))}  cert.pem\n`),
    });
    await refused(/REFUSED: checksum of cert\.pem: sha256sum\.txt has no line/, {
      evidence: (e) => void (e.sums = e.sums.replace("  cert.pem", "  cert.pe")),
    });
  });

  it("an account file that is none", async () => {
    await good();
    await refused(/REFUSED: acme-account\.json: does not say/, { evidence: (e) => void (e.account = "{}") });
    await refused(/REFUSED: acme-account\.json: is not JSON/, { evidence: (e) => void (e.account = "<") });
  });

  it("evidence of another app than the one that the host name asks for", async () => {
    await good();
    const domain = `${OTHER_ID}s.${DOMAIN}`;
    const certificate = certificateFor(domain);
    const evidence = await Evidence.of(certificate.cert);
    await using server = await serve(certificate, (path) => evidence.answer(path));
    const { code, out } = await verifyAt(server, { domain });
    expect(code, out).toBe(1);
    expect(out).toMatch(/^REFUSED: host name: names 1111/m);
  });

  it("a quote that is none, and one of another app", async () => {
    await good();
    await refused(/REFUSED: quote\.json: it is neither/, {
      answer: async (evidence, path) => (path.includes("quote.json") ? "no quote" : evidence.answer(path)),
    });
    await refused(/REFUSED: app id: is 1111/, { guest: { appId: OTHER_ID } });
    await refused(/REFUSED: app id: /, { args: ["--app-id", OTHER_ID] });
  });

  it("the answer to our nonce from another app than quote.json is of", async () => {
    await good();
    const other = await site.guest({ appId: OTHER_ID });
    await refused(/REFUSED: app id: is 1111/, {
      answer: async (evidence, path) => {
        if (!isFresh(path)) return evidence.answer(path);
        const nonce = fromHex(new URL(path, "https://x").searchParams.get("nonce") ?? "");
        const quote = await other.provider.getQuote(freshDomainReportData(utf8(evidence.sums), nonce));
        return JSON.stringify({ quote: hex(quote), event_log: other.eventLog });
      },
    });
  });

  it("a quote whose event log was edited", async () => {
    await good();
    await refused(/REFUSED: /, {
      answer: async (evidence, path) => (await evidence.answer(path))?.replaceAll(APP_ID, OTHER_ID),
    });
  });

  it.each<[string, [string, string][], RegExp]>([
    ["no CAA record", [], /there is none at .* or above: any CA may issue/],
    ["one for wildcards only", [["issuewild", OURS]], /no CAA record limits who may issue/],
    [
      "a second issuer",
      [
        ["issue", OURS],
        ["issue", "other.test"],
      ],
      /another CA may issue: issue "other\.test"/,
    ],
    [
      "a second issuer of wildcards",
      [
        ["issue", OURS],
        ["issuewild", "other.test"],
      ],
      /another CA may issue/,
    ],
    ["any account of the CA", [["issue", "ca.test"]], /another account may order/],
    ["another account", [["issue", OURS.replace("acct/7", "acct/8")]], /another account may order/],
    [
      "two accounts in one",
      [["issue", `${OURS};accounturi=https://ca.test/acct/8`]],
      /another account may order/,
    ],
    [
      "two accounts, ours last",
      [["issue", `ca.test;accounturi=https://ca.test/acct/8;accounturi=${ACCOUNT}`]],
      /another account/,
    ],
  ])("CAA with %s", async (_name, records, why) => {
    await setCaa(...records);
    await refused(new RegExp(`REFUSED: CAA records: .*${why.source}`));
  });
});
