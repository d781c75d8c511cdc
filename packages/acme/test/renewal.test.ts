import { execa } from "execa";
import { X509Certificate } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ariCertId } from "../src/ca/renewal-info.js";
import { isDueForRenewal } from "../src/renewal.js";

const DAY = 86_400_000;
const ninety = { notBefore: 0, notAfter: 90 * DAY, renewBeforeMs: 10 * DAY, seed: "certificate" };

describe("isDueForRenewal", () => {
  it("says until when it may wait for others: a third of the time between due and expired is left then", () => {
    expect(isDueForRenewal({ ...ninety, now: DAY }).latest).toBe(90 * DAY - (10 * DAY) / 3);
    const window = { start: new Date(30 * DAY), end: new Date(31 * DAY) };
    expect(isDueForRenewal({ ...ninety, now: DAY, window }).latest).toBe(90 * DAY - (10 * DAY) / 3);
  });

  it("is due with so many days left, to the millisecond", () => {
    expect(isDueForRenewal({ ...ninety, now: 80 * DAY - 1 })).toMatchObject({ due: false, at: 80 * DAY });
    expect(isDueForRenewal({ ...ninety, now: 80 * DAY })).toMatchObject({
      due: true,
      because: "expires soon",
    });
    expect(isDueForRenewal({ ...ninety, now: 91 * DAY })).toMatchObject({ due: true, because: "expired" });
  });

  it("does not renew a short-lived certificate as soon as it is there", () => {
    const six = { ...ninety, notAfter: 6 * DAY };
    expect(isDueForRenewal({ ...six, now: DAY })).toMatchObject({ due: false, at: 4 * DAY });
  });

  it("renews in the window the CA asks for, each certificate at a time of its own", () => {
    const window = { start: new Date(20 * DAY), end: new Date(30 * DAY) };
    const at = (seed: string): number => isDueForRenewal({ ...ninety, now: DAY, seed, window }).at;
    expect(at("a")).toBe(at("a"));
    expect(at("a")).not.toBe(at("b"));
    expect(isDueForRenewal({ ...ninety, now: 30 * DAY, window })).toMatchObject({
      due: true,
      because: "the CA asks for it",
    });
  });

  it("a CA's window, whatever it is, cannot delay a renewal", () => {
    const time = fc.integer({ min: 0, max: 400 * DAY }).map((ms) => new Date(ms));
    fc.assert(
      fc.property(time, time, fc.string(), (start, end, seed) => {
        const { due } = isDueForRenewal({ ...ninety, now: 80 * DAY, seed, window: { start, end } });
        expect(due).toBe(true);
      }),
    );
  });
});

describe("ariCertId (RFC 9773 §4.1)", () => {
  it("is key id and serial number, a serial with its leading zero", async () => {
    const make = [
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      "-keyout",
      "/dev/null",
    ];
    const given = [
      "-subj",
      "/CN=x",
      "-set_serial",
      "0x8765432100",
      "-addext",
      "authorityKeyIdentifier=keyid:always",
    ];
    const { stdout: pem } = await execa("openssl", [...make, ...given]);
    const [keyId, serial] = (ariCertId(pem) ?? "").split(".");
    expect(Buffer.from(serial ?? "", "base64url").toString("hex")).toBe("008765432100");
    expect(new X509Certificate(pem).raw.toString("hex")).toContain(
      `8014${Buffer.from(keyId ?? "", "base64url").toString("hex")}`,
    );
  });

  it("is nothing for a certificate that does not name its issuer's key", async () => {
    const make = [
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      "-keyout",
      "/dev/null",
    ];
    const { stdout } = await execa("openssl", [
      ...make,
      "-subj",
      "/CN=x",
      "-addext",
      "authorityKeyIdentifier=none",
    ]);
    expect(ariCertId(stdout)).toBeUndefined();
  });
});
