import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { existsSync } from "node:fs";
import { cp, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { SimulatedPlatform } from "@dstack/tdx-attest";
import { writeTdxImage } from "../../../../packages/tdx-attest/test/fixtures/tdx-image.js";
import { parseAppId } from "@dstack/core";
import { expectationOfVm } from "../../src/verify/local-app.js";
import { APP_ID, COMPOSE, COMPOSE_HASH, NONCE, OTHER_ID, Site, verify, verifyJson } from "./site.js";

let site: Site;
let quote: string;
const asked = ["--nonce", NONCE];

beforeAll(async () => {
  site = await Site.open();
  quote = await site.write("quote.json", JSON.stringify(await site.answer()));
});
afterAll(() => site[Symbol.asyncDispose]());

describe("dstack verify <quote file>", () => {
  it("verifies a good quote, shows the tree, warns of the simulated platform, and gives the verdict last", async () => {
    const { code, out } = await verify(quote, ...asked, ...site.all);
    expect(code, out).toBe(0);
    const lines = out.trimEnd().split("\n");
    expect(lines.at(-1)).toBe("quote verified (simulated platform)");
    expect(lines.at(-2)).toMatch(/^WARNING: a SIMULATED platform/);
    expect(out).toContain("ok       quote signature: ");
    expect(out).toContain("ok       image: dstack-test: MRTD ");
    expect(lines.filter((line) => line.startsWith("NOT CHECKED: "))).toEqual([
      expect.stringMatching(/^NOT CHECKED: KMS: its keys come from the KMS .*\(give --kms-ca <pem>\)$/),
    ]);
  });

  it("prints one JSON document that holds all of it", async () => {
    const report = await verifyJson(quote, ...asked, ...site.all);
    expect(report).toMatchObject({
      verdict: "verified",
      verified: true,
      anchor: "simulated",
      refused: [],
      measurements: { mrtd: site.launch.mrtd, rtmr1: site.launch.rtmr1 },
      app: { app_id: APP_ID, compose_hash: COMPOSE_HASH },
      tree: { check: "evidence", outcome: "pass" },
    });
    expect(report.not_checked.map(({ check }) => check)).toEqual(["KMS"]);
  });

  it("reads quotes as hex and as bytes, with the event log from a file of its own", async () => {
    const answer = await site.answer();
    const log = ["--event-log", await site.write("log.json", answer.event_log)];
    const bytes = await site.write("quote.bin", Buffer.from(answer.quote, "hex"));
    const fromBytes = await verify(bytes, ...log, ...asked, ...site.all);
    expect(fromBytes.code, fromBytes.out).toBe(0);
    const text = await site.write("quote.hex", `0x${answer.quote}\n`);
    expect((await verify(text, ...log, ...asked, ...site.all)).code).toBe(0);
    const without = await verify(text, ...asked, ...site.all);
    expect(without.code).toBe(2);
    expect(without.out).toContain("NOT CHECKED: event log: ");
  });

  it("E4: refuses the answer to another nonce", async () => {
    const { code, out } = await verify(quote, "--nonce", "00fe", ...site.all);
    expect(code).toBe(1);
    expect(out).toMatch(/^REFUSED: report data: the quote was made over other report data$/m);
    expect(out).toMatch(/quote REFUSED\n$/);
  });

  it("E4: takes no empty nonce for one: whoever answered that answered nobody", async () => {
    const answer = await site.answer({}, "");
    const file = await site.write("unasked.json", JSON.stringify(answer));
    for (const nonce of ["", "0x"]) {
      const { code, out } = await verify(file, "--nonce", nonce, ...site.all);
      expect(code, out).toBe(2);
      expect(out).toMatch(/--nonce is empty/);
    }
  });

  it("E2: refuses an edited event log, and a second app's compose document", async () => {
    const answer = await site.answer();
    const edited = answer.event_log.replaceAll(APP_ID, OTHER_ID);
    const file = await site.write("edited.json", JSON.stringify({ ...answer, event_log: edited }));
    expect((await verify(file, ...asked, ...site.all)).code).toBe(1);
    const other = await site.write("other.json", '{"docker_compose_file":""}');
    const { code, out } = await verify(quote, ...asked, ...site.trusting, ...site.image, "--compose", other);
    expect(code).toBe(1);
    expect(out).toMatch(/^REFUSED: compose document: has SHA-256/m);
  });

  it("takes the app id of an upgraded app only when it is named", async () => {
    const file = await site.write("upgraded.json", JSON.stringify(await site.answer({ appId: OTHER_ID })));
    const { code, out } = await verify(file, ...asked, ...site.all);
    expect(code).toBe(1);
    expect(out).toContain(`give --app-id ${OTHER_ID} if that is the app you mean`);
    expect((await verify(file, ...asked, ...site.all, "--app-id", OTHER_ID)).code).toBe(0);
    expect((await verify(file, ...asked, ...site.all, "--app-id", APP_ID)).code).toBe(1);
  });

  it("E6: refuses a debug TD, whatever the policy file says", async () => {
    const debug = { parts: { td: { tdAttributes: Uint8Array.of(1, 0, 0, 0x10, 0, 0, 0, 0) } } };
    const file = await site.write("debug.json", JSON.stringify(await site.answer(debug)));
    const lax = await site.write("lax.toml", '[td]\nallowed_attributes = ["MIGRATABLE", "PERFMON"]\n');
    const { code, out } = await verify(file, ...asked, ...site.all, "--policy", lax);
    expect(code).toBe(1);
    expect(out).toMatch(/^REFUSED: TD attributes: the TD runs in debug mode/m);
  });

  it("E9: refuses another image", async () => {
    const rtmr2 = "ab".repeat(48);
    const policy = await site.write(
      "other-image.json",
      JSON.stringify({ images: { allowed: [{ ...registers(), name: "other", rtmr2 }] } }),
    );
    const { code, out } = await verify(
      quote,
      ...asked,
      ...site.trusting,
      ...site.compose,
      "--policy",
      policy,
    );
    expect(code).toBe(1);
    expect(out).toContain(
      `REFUSED: image: no allowed image has rtmr2 ${site.launch.rtmr2}; the nearest is other`,
    );
  });

  it("names the first event in which the VM's start differs from the image", async () => {
    const other = site.path("dstack-other");
    await cp(site.path("dstack-test"), other, { recursive: true });
    const metadata = { cmdline: "console=ttyS0 init=/bin/sh", kernel: "kernel", initrd: "initrd" };
    await writeFile(join(other, "metadata.json"), JSON.stringify(metadata));
    const args = [...asked, ...site.trusting, ...site.compose, "--image", other];
    const { code, out } = await verify(quote, ...args);
    expect(code).toBe(1);
    expect(out).toMatch(
      /first difference from dstack-other: event 9 of the boot: expected kernel-cmdline [0-9a-f]{96} in RTMR2, found kernel-cmdline/,
    );
    // An edited log explains nothing.
    const answer = await site.answer();
    const [first = {}, ...rest] = JSON.parse(answer.event_log) as object[];
    const event_log = JSON.stringify([{ ...first, digest: "00".repeat(48) }, ...rest]);
    const edited = await site.write("other-log.json", JSON.stringify({ ...answer, event_log }));
    expect((await verify(edited, ...args)).out).not.toContain("first difference");
    expect((await verify(quote, ...asked, ...site.all)).out).not.toContain("first difference");
  });

  it("E9: verifies against a policy file, in TOML", async () => {
    const lines = Object.entries({ ...registers(), name: "mine" }).map(([key, v]) => `${key} = "${v}"`);
    for (const section of ["images.allowed", "attestation.images.allowed"]) {
      const policy = await site.write("policy.toml", `[[${section}]]\n${lines.join("\n")}\n`);
      const result = await verify(quote, ...asked, ...site.trusting, ...site.compose, "--policy", policy);
      expect(result.code, result.out).toBe(0);
      expect(result.out).toContain("image: mine: MRTD");
    }
  });

  it("E9: tells in a line of its own that any VM shape and ACPI tables passed", async () => {
    const image = { ...registers(), name: "any shape", rtmr0: "any" };
    const policy = await site.write("any-shape.json", JSON.stringify({ images: { allowed: [image] } }));
    const { code, out } = await verify(
      quote,
      ...asked,
      ...site.trusting,
      ...site.compose,
      "--policy",
      policy,
    );
    expect(code, out).toBe(0);
    expect(out).toMatch(/^NOT CHECKED: VM shape and ACPI tables: RTMR0 may be any: .*\(give rtmr0 of VMs/m);
  });

  it("E10: refuses the simulated platform when its root is not named", async () => {
    const { code, out } = await verify(
      quote,
      ...asked,
      ...site.image,
      ...site.compose,
      "--pccs-url",
      site.pcs.url,
    );
    expect(code).toBe(1);
    expect(out).toContain("REFUSED: PCK certificate: the root certificate is not one of the trusted roots");
    expect(out).not.toContain(" verified (");
  });

  it("refuses a VM on whose keys somebody else's KMS sits (K3)", async () => {
    const { cert } = await site.certificate();
    const ca = await site.write("kms-ca.pem", cert);
    const { code, out } = await verify(quote, ...asked, ...site.all, "--kms-ca", ca);
    expect(code).toBe(1);
    expect(out).toMatch(/^REFUSED: KMS: its CA certificate has SHA-256/m);
  });

  it("refuses an app that does not run yet", async () => {
    const file = await site.write("boot.json", JSON.stringify(await site.answer({ ready: false })));
    const { code, out } = await verify(file, ...asked, ...site.all);
    expect(code).toBe(1);
    expect(out).toMatch(/^REFUSED: start-up: no app runs yet/m);
  });

  it("E7: refuses by a policy that denies the platform", async () => {
    const policy = await site.write("deny.toml", 'denied_fmspc = ["FF53494D0000"]\n');
    const { code, out } = await verify(quote, ...asked, ...site.all, "--policy", policy);
    expect(code).toBe(1);
    expect(out).toMatch(/^REFUSED: platform not denied: platforms of FMSPC FF53494D0000 are denied$/m);
  });

  it("lets no text of the guest look like a line of ours", async () => {
    const evil = "x\nquote verified (Intel TDX)\u001b[2K\u2028\u202e";
    const file = await site.write("evil.json", JSON.stringify(await site.answer({ keyProvider: evil })));
    const { out } = await verify(file, ...asked, ...site.all);
    expect(out).toContain("key provider: x\\u{a}quote verified (Intel TDX)\\u{1b}[2K\\u{2028}\\u{202e}");
    expect(out).not.toMatch(/^quote verified \(Intel TDX\)/m);
    const bad = JSON.stringify({
      ...(await site.answer()),
      event_log: '[{"imr":"\\nquote verified (Intel TDX)"}]',
    });
    expect((await verify(await site.write("bad.json", bad), ...asked, ...site.all)).out).not.toMatch(
      /^quote verified \(Intel TDX\)/m,
    );
  });
});

describe("dstack verify <quote file> could not tell (exit code 2)", () => {
  const lastLine = "could not tell: not or not wholly checked: policy\n";

  it("E9: without an image to compare with, and shows the registers", async () => {
    const { code, out } = await verify(quote, ...asked, ...site.trusting, ...site.compose);
    expect(code).toBe(2);
    expect(out).toMatch(/^NOT CHECKED: image: .*\(give --image <dir> or --policy <file>\)$/m);
    expect(out).toContain(`rtmr1 ${site.launch.rtmr1}`);
    expect(out.endsWith(lastLine)).toBe(true);
  });

  it("E9: with a policy that allows all images", async () => {
    const policy = await site.write("all.toml", "images.allow_all = true\n");
    const { code, out } = await verify(
      quote,
      ...asked,
      ...site.trusting,
      ...site.compose,
      "--policy",
      policy,
    );
    expect(code).toBe(2);
    expect(out).toMatch(/^NOT CHECKED: image: /m);
    expect(out).not.toContain("quote verified");
  });

  it("without an app to compare with, unless any will do", async () => {
    const { code, out } = await verify(quote, ...asked, ...site.trusting, ...site.image);
    expect(code).toBe(2);
    expect(out).toContain(`NOT CHECKED: app id: nobody said which app it must be; it is ${APP_ID} (give `);
    const any = await verify(quote, ...asked, ...site.trusting, ...site.image, "--any-app");
    expect(any.code).toBe(0);
    expect(any.out).toContain(`NOT CHECKED: app id: it is ${APP_ID}; any app was asked for`);
    const named = await verify(quote, ...asked, ...site.trusting, ...site.image, "--app-id", APP_ID);
    expect(named.code).toBe(0);
    expect(named.out).toMatch(/^NOT CHECKED: compose document: it has SHA-256/m);
  });

  it("without what the quote was asked for", async () => {
    const { code, out } = await verify(quote, ...site.all);
    expect(code).toBe(2);
    expect(out).toMatch(/^NOT CHECKED: report data: nobody said .*\(give --nonce <hex>/m);
  });

  it("E8: when the collateral service does not answer", async () => {
    const dead = ["--pccs-url", "http://127.0.0.1:1", "--simulated-root", site.path("root.pem")];
    const { code, out } = await verify(quote, ...asked, ...dead, ...site.image, ...site.compose);
    expect(code).toBe(2);
    expect(out).toMatch(/^NOT CHECKED: trusted root, root CRL, .*TCB level: .*collateral/m);
  });

  it("E8: when the bundle is of another platform, another root, out of date, or nonsense", async () => {
    const now = Math.floor(Date.now() / 1000);
    const other = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(9));
    const bundles = {
      "another root": JSON.stringify(other.collateral(now)),
      "out of date": JSON.stringify(site.platform.collateral(now - 60 * 86_400)),
      "not genuine": JSON.stringify({ ...site.platform.collateral(now), tcb_info: "{}" }),
    };
    for (const [what, text] of Object.entries(bundles)) {
      const file = await site.write("bundle.json", text);
      const { code, out } = await verify(quote, ...asked, ...site.all, "--collateral", file);
      expect(code, `${what}: ${out}`).toBe(2);
      expect(out).toMatch(/^NOT CHECKED: trusted root, root CRL, /m);
    }
    const file = await site.write("bundle.json", "[]");
    expect((await verify(quote, ...asked, ...site.all, "--collateral", file)).code).toBe(2);
  });

  it("for files that are no evidence, and options that make no sense", async () => {
    const text = await site.write("text.txt", "hello");
    const typo = await site.write("typo.json", '{"allow_debug": true}');
    const stray = await site.write("stray.toml", '[attestation]\n[td]\nallowed_xfam = "0x0"\n');
    const wrong: [RegExp, string[]][] = [
      [/neither a quote nor JSON/, [text, ...asked, ...site.all]],
      [/--nonce/, [quote, "--nonce", "xyz", ...site.all]],
      [/--nonce is empty/, [quote, "--nonce", "", ...site.all]],
      [/--report-data/, [quote, "--report-data", "00", ...site.all]],
      [/app id must be 40/, [quote, ...asked, ...site.all, "--app-id", "12"]],
      [/is not TOML/, [quote, ...asked, ...site.all, "--policy", text]],
      [/td stands beside the section attestation/, [quote, ...asked, ...site.all, "--policy", stray]],
      [/allow_debug/, [quote, ...asked, ...site.all, "--policy", typo]],
      [/no app-compose document/, [quote, ...asked, ...site.trusting, ...site.image, "--compose", text]],
      [/simulated root/, [quote, ...asked, ...site.all, "--simulated-root", text]],
      [/--at needs --collateral/, [quote, ...asked, ...site.all, "--at", "2026-01-01T00:00:00Z"]],
      [/--at must be a time/, [quote, ...asked, ...site.all, "--at", "yesterday"]],
      [/none/, [quote, ...asked, ...site.all, "--image", site.path("none")]],
      [/no local installation/, [site.path("none"), "--home", site.path("nowhere")]],
      [/no https:\/\/ address/, ["http://127.0.0.1/"]],
      [/--nonce and --report-data both/, [quote, ...asked, "--report-data", "00".repeat(64), ...site.all]],
    ];
    for (const [sentence, args] of wrong) {
      expect(await verify(...args)).toEqual({ code: 2, out: expect.stringMatching(sentence) as unknown });
    }
  });
});

describe("dstack verify refuses an option that the target would not be judged by", () => {
  const cvm = ["hello", "--home", "/nowhere"];
  it.each<[string, () => string[] | Promise<string[]>]>([
    ["--policy", () => [...cvm, "--policy", "policy.toml"]],
    ["--image", () => [...cvm, ...site.image]],
    ["--collateral", () => [...cvm, "--collateral", "bundle.json"]],
    ["--simulated-root", () => [...cvm, "--simulated-root", "root.pem"]],
    ["--at", () => [...cvm, "--at", "2026-01-01T00:00:00Z"]],
    ["--nonce", () => [...cvm, ...asked]],
    ["--nonce", () => ["https://127.0.0.1:1/", ...asked, ...site.all]],
    ["--event-log", () => ["https://127.0.0.1:1/", "--event-log", "log.json", ...site.all]],
    ["--nonce", async () => [await certificateFile(), ...asked, ...site.all]],
    ["--path", async () => [await certificateFile(), "--path", "/quote", ...site.all]],
    ["--path", () => [quote, ...asked, "--path", "/quote", ...site.all]],
  ])("%s", async (option, args) => {
    const outcome = await verify(...(await args()));
    expect(outcome).toEqual({
      code: 2,
      out: expect.stringMatching(`^${option} does not go with `) as unknown,
    });
  });

  const certificateFile = async (): Promise<string> =>
    site.write("certificate.pem", (await site.certificate()).cert);

  it("and expects of a local CVM what the installation says, unless something else is asked for", () => {
    const own = expectationOfVm(APP_ID, COMPOSE, "aa");
    expect(own).toEqual({
      appId: APP_ID,
      compose: { hash: COMPOSE_HASH, from: "what teepod has deployed" },
      caCertHash: "aa",
    });
    const given = { appId: parseAppId(OTHER_ID), caCertHash: "bb" };
    expect(expectationOfVm(APP_ID, COMPOSE, "aa", given)).toEqual({ ...own, ...given });
  });
});

describe("dstack verify --collateral --at", () => {
  it("E8: judges old evidence by the collateral of its time, and says so", async () => {
    const then = Math.floor(Date.now() / 1000) - 60 * 86_400;
    const bundle = await site.write("then.json", JSON.stringify(site.platform.collateral(then)));
    const at = ["--collateral", bundle, "--at", new Date(then * 1000).toISOString().replace(/\.\d+/, "")];
    const { code, out } = await verify(quote, ...asked, ...site.all, ...at);
    expect(code, out).toBe(0);
    expect(out).toMatch(/time: judged as of .*, as asked; today's verdict may differ/);
  });
});

const vectors = findVectors();
describe.skipIf(vectors === undefined)("dstack verify with a genuine quote", () => {
  it("E1: verifies Intel's hardware; without log, nonce and image it could not tell who runs there", async () => {
    const file = (name: string): string => join(vectors ?? "", name);
    const args = [file("tdx_quote_v4.bin"), "--collateral", file("tdx_quote_v4.collateral.json")];
    const at = ["--at", "2025-06-20T00:00:00Z"];
    const report = await verifyJson(...args, ...at);
    expect(report, JSON.stringify(report.not_checked)).toMatchObject({
      verdict: "unknown",
      anchor: "intel",
      refused: [],
    });
    expect(report.not_checked.map(({ check }) => check)).toEqual([
      "report data",
      "event log",
      "image",
      "app",
    ]);
    const { code, out } = await verify(...args, ...at);
    expect(code).toBe(2);
    expect(out).not.toContain("SIMULATED");

    const bytes = await readFile(file("tdx_quote_v4.bin"));
    bytes[600] = (bytes[600] ?? 0) ^ 1;
    const flipped = await site.write("flipped.bin", bytes);
    expect((await verify(flipped, ...args.slice(1), ...at)).code).toBe(1);
    expect((await verify(...args)).code, "E8: out of date today").toBe(2);
  });

  it("E9: compares it with what an image measures on hardware, not on the simulated platform", async () => {
    const file = (name: string): string => join(vectors ?? "", name);
    const genuine = [file("tdx_quote_v4.bin"), "--collateral", file("tdx_quote_v4.collateral.json")];
    const args = [...genuine, "--at", "2025-06-20T00:00:00Z"];
    const other = await writeTdxImage(site.path("tdx-image"));
    const refused = await verify(...args, "--image", other);
    expect(refused.code).toBe(1);
    expect(refused.out).toMatch(
      /^REFUSED: image: no allowed image has mrtd [^;]*; the nearest is tdx-image$/m,
    );
    const none = await verify(...args, ...site.image);
    expect(none.code).toBe(2);
    expect(none.out).toMatch(/^NOT CHECKED: image dstack-test: .*metadata.json names no bios/m);
  });
});

function registers(): Record<"mrtd" | "rtmr0" | "rtmr1" | "rtmr2", string> {
  const { mrtd, rtmr0, rtmr1, rtmr2 } = site.launch;
  return { mrtd, rtmr0, rtmr1, rtmr2 };
}

/** Genuine quotes are kept outside the repository. */
function findVectors(): string | undefined {
  for (let dir = import.meta.dirname; dir !== dirname(dir); dir = dirname(dir)) {
    const candidate = join(dir, "shared", "vectors");
    if (existsSync(join(candidate, "tdx_quote_v4.bin"))) return candidate;
  }
  console.warn("skipping tests with genuine quotes: there is no shared/vectors beside the checkout");
  return undefined;
}
