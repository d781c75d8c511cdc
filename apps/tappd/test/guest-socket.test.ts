import { X509Certificate } from "node:crypto";
import { hex } from "@dstack/core";
import { OID_APP_ID, pemToDer, readEvidence } from "@dstack/ra-tls";
import type { QuoteProvider } from "@dstack/tdx-attest";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { curl } from "./support/curl.js";
import { bootGuest } from "./support/tappd-fixture.js";
import type { Guest } from "./support/tappd-fixture.js";

let guest: Guest;
let socket: string;
beforeAll(async () => {
  guest = await bootGuest();
  socket = (await guest.start()).sockets.dstack;
});
afterAll(() => guest[Symbol.asyncDispose]());

async function call(
  method: string,
  request: unknown,
  path: string = socket,
): Promise<{ status: number; answer: Record<string, unknown> }> {
  const { status, text } = await curl(
    ...["--unix-socket", path, "-H", "Content-Type: application/json", "-d", JSON.stringify(request)],
    `http://dstack/${method}`,
  );
  return { status, answer: JSON.parse(text) as Record<string, unknown> };
}
const refusal = async (method: string, request: unknown, path?: string): Promise<[number, unknown]> => {
  const { status, answer } = await call(method, request, path);
  return [status, answer["error"]];
};

describe("EmitEvent", () => {
  it.each([
    "system-preparing",
    "rootfs-hash",
    "app-id",
    "compose-hash",
    "upgraded-app-id",
    "ca-cert-hash",
    "instance-id",
    "boot-mr-done",
    "key-provider",
    "system-ready",
    "System-Ready",
    " app_id ",
    "system-anything",
    "dstack-anything",
    "ａｐｐ-id",
  ])("E3: refuses the system's name %j and leaves the register alone", async (event) => {
    const before = hex(await guest.provider.readRtmr(3));
    expect(await refusal("EmitEvent", { event, payload: "00" })).toEqual([
      400,
      "this event name is reserved for the system",
    ]);
    expect(hex(await guest.provider.readRtmr(3))).toBe(before);
  });

  it.each([
    { event: "", payload: "" },
    { event: "a:b", payload: "" },
    { event: "a\nb", payload: "" },
    { event: "n".repeat(129), payload: "" },
    { event: "big", payload: "00".repeat(4097) },
  ])("refuses an event that no log could hold: %#", async (request) => {
    expect((await refusal("EmitEvent", request))[0]).toBe(400);
  });

  it("stops before the log is too long for certificates; quotes and RA-TLS keys still work then", async () => {
    await using other = await bootGuest();
    const { sockets } = await other.start();
    let last: [number, unknown] = [200, undefined];
    for (let count = 0; last[0] === 200 && count < 20; count++) {
      last = await refusal("EmitEvent", { event: "fill", payload: "00".repeat(4096) }, sockets.dstack);
    }
    expect(last).toEqual([400, expect.stringContaining("full")]);
    expect((await call("GetQuote", {}, sockets.dstack)).status).toBe(200);
    expect((await call("GetTlsKey", { usage_ra_tls: true }, sockets.dstack)).status).toBe(200);
  });
});

describe("GetTlsKey", () => {
  const leafOf = async (request: unknown): Promise<{ pem: string; leaf: X509Certificate }> => {
    const { answer } = await call("GetTlsKey", request);
    const [pem] = answer["certificate_chain"] as string[];
    return { pem: pem ?? "", leaf: new X509Certificate(pem ?? "") };
  };

  it("sets the usages, names and validity that were asked for", async () => {
    const { leaf } = await leafOf({
      subject: "s",
      alt_names: ["a.example"],
      usage_server_auth: true,
      not_before: 1_700_000_000,
      not_after: 4_000_000_000,
    });
    expect(leaf.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1"]);
    expect([leaf.subject, leaf.subjectAltName]).toEqual(["CN=s", "DNS:a.example"]);
    expect([Date.parse(leaf.validFrom), Date.parse(leaf.validTo)]).toEqual([
      1_700_000_000_000, 4_000_000_000_000,
    ]);
  });

  it("names the app only when asked to", async () => {
    const oid = Buffer.from("2b0601040183e73d0103", "hex"); // 1.3.6.1.4.1.62397.1.3
    expect(OID_APP_ID).toBe("1.3.6.1.4.1.62397.1.3");
    expect((await leafOf({ with_app_info: true })).leaf.raw.includes(oid)).toBe(true);
    expect((await leafOf({})).leaf.raw.includes(oid)).toBe(false);
    expect(readEvidence(pemToDer((await leafOf({})).pem))).toBeUndefined();
  });

  it("E5: an RA-TLS certificate for a container carries system-ready", async () => {
    const evidence = readEvidence(pemToDer((await leafOf({ usage_ra_tls: true })).pem));
    expect(evidence?.eventLog).toContain('"system-ready"');
  });

  it.each([
    [{ not_before: 20, not_after: 10 }, "not_after must lie after not_before and now"],
    [{ not_after: 10 }, "not_after must lie after not_before and now"],
    [{ not_after: 999_999_999_999 }, "not_after must be a Unix time in seconds"],
    [
      { usage_ra_tls: true, not_before: 1 },
      "not_before cannot be chosen with usage_ra_tls: the evidence is of now",
    ],
    [
      { usage_ra_tls: true, not_after: Math.floor(Date.now() / 1000) + 11 * 86_400 },
      "not_after must lie within 10 days from now with usage_ra_tls",
    ],
  ])("refuses %j", async (request, message) => {
    expect(await refusal("GetTlsKey", request)).toEqual([400, message]);
  });
});

describe("GetKey, Sign, Verify", () => {
  it("refuse an algorithm nobody knows", async () => {
    expect((await refusal("GetKey", { algorithm: "rsa" }))[0]).toBe(400);
    expect((await refusal("Sign", { algorithm: "rsa", data: "00" }))[0]).toBe(400);
    expect((await refusal("Verify", { algorithm: "", data: "00" }))[0]).toBe(400);
  });

  it("refuse a digest, signature or key of another size", async () => {
    expect((await refusal("Sign", { algorithm: "secp256k1_prehashed", data: "00" }))[0]).toBe(400);
    const { answer } = await call("Sign", { algorithm: "secp256k1", data: "00" });
    const { signature, public_key } = answer;
    const ask = { algorithm: "secp256k1", data: "00", signature, public_key };
    expect((await call("Verify", ask)).answer).toEqual({ valid: true });
    expect((await refusal("Verify", { ...ask, signature: "00" }))[0]).toBe(400);
    expect((await refusal("Verify", { ...ask, public_key: `02${"ff".repeat(32)}` }))[0]).toBe(400);
  });

  it("E11: Verify takes no Ed25519 key of small order, with which one signature fits every text", async () => {
    const [zero, one] = ["00".repeat(32), `01${"00".repeat(31)}`];
    for (const public_key of [zero, one]) {
      const ask = { algorithm: "ed25519", data: "aa", signature: `${one}${zero}`, public_key };
      const { answer } = await call("Verify", ask);
      expect(answer["valid"]).not.toBe(true);
    }
  });

  it("say so when the KMS issues no secp256k1 key", async () => {
    await using other = await bootGuest({ noK256: true });
    const { sockets } = await other.start();
    const expected = [503, "this app has no secp256k1 key: its KMS does not issue one"];
    expect(await refusal("GetKey", {}, sockets.dstack)).toEqual(expected);
    expect(await refusal("Sign", { algorithm: "ed25519" }, sockets.dstack)).toEqual(expected);
  });
});

describe("quotes", () => {
  /** A device that answers when the test lets it. */
  class SlowDevice {
    waiting: { reportData: Uint8Array; go: () => void }[] = [];
    armed = false;
    atOnce = 0;
    most = 0;

    wrap(provider: QuoteProvider): QuoteProvider {
      const getQuote = async (reportData: Uint8Array, signal?: AbortSignal): Promise<Uint8Array> => {
        this.most = Math.max(this.most, ++this.atOnce);
        if (this.armed) {
          await new Promise<void>((go, reject) => {
            this.waiting.push({ reportData, go });
            signal?.addEventListener("abort", () => reject(new Error("aborted")));
          }).finally(() => (this.atOnce -= 1));
        } else this.atOnce -= 1;
        return provider.getQuote(reportData);
      };
      return new Proxy(provider, {
        get: (target, name) => {
          if (name === "getQuote") return getQuote;
          const value: unknown = Reflect.get(target, name, target);
          return typeof value === "function" ? (value.bind(target) as unknown) : value;
        },
      });
    }
  }

  it("go to the device one at a time", async () => {
    const device = new SlowDevice();
    await using other = await bootGuest({ wrapProvider: (provider) => device.wrap(provider) });
    const { sockets } = await other.start();
    device.armed = true;
    const answers = ["01", "02", "03"].map((report_data) =>
      call("GetQuote", { report_data }, sockets.dstack),
    );
    for (const _ of answers) {
      await expect.poll(() => device.waiting.length).toBe(1);
      device.waiting.shift()?.go();
    }
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(device.most).toBe(1);
  });

  it("end within their time limit, and the next caller gets its turn", async () => {
    const device = new SlowDevice();
    await using other = await bootGuest({
      core: { quote_timeout_ms: 300 },
      wrapProvider: (provider) => device.wrap(provider),
    });
    const { sockets } = await other.start();
    device.armed = true;
    expect(await refusal("GetQuote", {}, sockets.dstack)).toEqual([
      503,
      "getting a quote took longer than 300 ms",
    ]);
    device.armed = false;
    expect((await call("GetQuote", {}, sockets.dstack)).status).toBe(200);
  });

  it("are not needed for Info as long as no event was added", async () => {
    const device = new SlowDevice();
    await using other = await bootGuest({ wrapProvider: (provider) => device.wrap(provider) });
    const { sockets } = await other.start();
    device.armed = true; // a quote now would never come
    expect((await call("Info", {}, sockets.dstack)).status).toBe(200);
  });
});
