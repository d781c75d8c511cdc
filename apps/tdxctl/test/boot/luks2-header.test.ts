import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sha256 } from "@dstack/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HEADER_AREA_BYTES, checkLuks2Header } from "../../src/boot/disk/luks2-header.js";
import { LuksDisk } from "../../src/boot/linux/luks-disk.js";

const signal = new AbortController().signal;
const key = Buffer.alloc(32, 7);
let dir: string;
/** What our own format step writes, by the real cryptsetup. */
let genuine: Uint8Array;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "luks-"));
  const device = join(dir, "disk");
  writeFileSync(device, "");
  truncateSync(device, 64 * 2 ** 20);
  await new LuksDisk({ device, mapping: "none", mountPoint: dir, headerFile: join(dir, "header") }).format(
    key,
    signal,
  );
  genuine = new Uint8Array(readFileSync(device)).subarray(0, 16 * 2 ** 20);
});
afterAll(() => rmSync(dir, { recursive: true }));

interface Json {
  [key: string]: Json;
}

/** Writes metadata into both areas, with checksums that are right. */
function withText(change: (text: string) => string, areas: readonly (0 | 1)[] = [0, 1]): Uint8Array {
  const disk = new Uint8Array(genuine);
  for (const area of areas) {
    const start = area * HEADER_AREA_BYTES;
    const json = disk.subarray(start + 4096, start + HEADER_AREA_BYTES);
    const text = change(Buffer.from(json.subarray(0, json.indexOf(0))).toString());
    json.fill(0);
    json.set(Buffer.from(text));
    seal(disk, area);
  }
  return disk;
}

function withJson(change: (metadata: Json) => void, areas?: readonly (0 | 1)[]): Uint8Array {
  return withText((text) => {
    const metadata = JSON.parse(text) as Json;
    change(metadata);
    return JSON.stringify(metadata);
  }, areas);
}

function withBytes(area: 0 | 1, offset: number, bytes: Uint8Array): Uint8Array {
  const disk = new Uint8Array(genuine);
  disk.set(bytes, area * HEADER_AREA_BYTES + offset);
  seal(disk, area);
  return disk;
}

function seal(disk: Uint8Array, area: 0 | 1): void {
  const whole = disk.subarray(area * HEADER_AREA_BYTES, (area + 1) * HEADER_AREA_BYTES);
  whole.fill(0, 448, 512);
  whole.set(sha256(whole), 448);
}

const set =
  (path: string, value: unknown) =>
  (metadata: Json): void => {
    const keys = path.split(".");
    const last = keys.pop() ?? "";
    let at = metadata;
    for (const name of keys) at = at[name] as Json;
    at[last] = value as Json;
  };

describe("checkLuks2Header", () => {
  it("takes what this guest formats, and says where the data begins", () => {
    expect(checkLuks2Header(genuine)).toEqual({ dataOffset: 2 ** 20 });
    expect(checkLuks2Header(withJson(() => {}))).toEqual({ dataOffset: 2 ** 20 });
  });

  it.each([
    ["a null cipher for the data", set("segments.0.encryption", "cipher_null-ecb")],
    ["another cipher for the data", set("segments.0.encryption", "aes-cbc-plain")],
    ["a null cipher for the key slot", set("keyslots.0.area.encryption", "cipher_null-ecb")],
    ["a linear segment", set("segments.0.type", "linear")],
    ["integrity in the segment", set("segments.0.integrity", { type: "hmac(sha256)" })],
    ["a second segment", set("segments.1", { type: "linear", offset: "0", size: "dynamic" })],
    ["a segment of fixed size", set("segments.0.size", "4096")],
    ["a shifted IV", set("segments.0.iv_tweak", "8")],
    ["a segment flag", set("segments.0.flags", ["backup-final"])],
    ["data inside the header", set("segments.0.offset", "32768")],
    ["data far away", set("segments.0.offset", String(2 ** 40))],
    ["an offset that is no number", set("segments.0.offset", "0x100000")],
    ["an offset beyond 2^53", set("segments.0.offset", "99999999999999999999")],
    ["no key slot", set("keyslots", {})],
    ["a second key slot", (m: Json) => set("keyslots.1", m["keyslots"]?.["0"])(m)],
    ["a reencryption key slot", set("keyslots.0.type", "reencrypt")],
    ["a short key", set("keyslots.0.key_size", 16)],
    ["a short key slot key", set("keyslots.0.area.key_size", 16)],
    ["a key slot over the header", set("keyslots.0.area.offset", "0")],
    ["a key slot over the data", set("keyslots.0.area.offset", String(2 ** 20))],
    ["a huge key slot", set("keyslots.0.area.size", String(2 ** 30))],
    ["few anti-forensic stripes", set("keyslots.0.af.stripes", 1)],
    ["one iteration", set("keyslots.0.kdf.iterations", 1)],
    ["endless iterations", set("keyslots.0.kdf.iterations", 4_000_000_000)],
    [
      "a memory-hard function",
      set("keyslots.0.kdf", { type: "argon2id", time: 4, memory: 2 ** 30, cpus: 4, salt: "AA==" }),
    ],
    ["a weak hash", set("digests.0.hash", "sha1")],
    ["a digest of another slot", set("digests.0.keyslots", ["1"])],
    ["no digest", set("digests", {})],
    ["a token", set("tokens.0", { type: "luks2-keyring", keyslots: ["0"], key_description: "x" })],
    ["requirements", set("config.requirements", { mandatory: ["online-reencrypt"] })],
    ["flags", set("config.flags", ["allow-discards", "no-journal"])],
    ["key slots over the data", set("config.keyslots_size", String(2 ** 24))],
    ["another JSON size", set("config.json_size", "4096")],
    ["a top-level key nobody knows", set("extra", {})],
  ] as const)("G2: refuses %s", (_what, change) => {
    expect(() => checkLuks2Header(withJson(change))).toThrow("data disk header: ");
  });

  it("G2: refuses areas that differ, whichever is changed", () => {
    const text = Buffer.from(genuine.subarray(4096, HEADER_AREA_BYTES)).toString();
    const change = set("segments.0.sector_size", text.includes('"sector_size":512') ? 4096 : 512);
    for (const area of [0, 1] as const) {
      const before = withJson(() => {});
      const changed = withJson(change, [area]);
      // The other area keeps the text of JSON.stringify, so that only the value differs.
      const other = area === 0 ? 1 : 0;
      changed.set(
        before.subarray(other * HEADER_AREA_BYTES, (other + 1) * HEADER_AREA_BYTES),
        other * HEADER_AREA_BYTES,
      );
      expect(() => checkLuks2Header(changed)).toThrow("its two areas differ");
    }
  });

  it("G2: refuses a newer second area", () => {
    const newer = Buffer.alloc(8);
    newer.writeBigUInt64BE(99n);
    expect(() => checkLuks2Header(withBytes(1, 16, newer))).toThrow("its two areas differ");
  });

  it("G2: refuses a checksum that is wrong in either area", () => {
    for (const area of [0, 1]) {
      const disk = new Uint8Array(genuine);
      const at = area * HEADER_AREA_BYTES + 30; // in the label
      disk[at] = 0x41;
      expect(() => checkLuks2Header(disk)).toThrow("has a wrong checksum");
    }
  });

  it.each([
    ["no magic", 0, Buffer.from("EVIL")],
    ["LUKS1", 6, Buffer.from([0, 1])],
    ["another area size", 8, Buffer.from([0, 0, 0, 0, 0, 0x40, 0, 0])],
    ["another place", 256, Buffer.from([0, 0, 0, 0, 0, 0, 0x80, 0])],
    ["another checksum", 72, Buffer.from("crc32c\0")],
  ])("G2: refuses %s", (_what, offset, bytes) => {
    expect(() => checkLuks2Header(withBytes(0, offset, bytes))).toThrow("the first area");
    expect(() => checkLuks2Header(withBytes(1, offset, bytes))).toThrow("the second area");
  });

  it("G2: refuses a key that is said twice, and text after the end", () => {
    const twice = (text: string): string =>
      text.replace(
        '"encryption":"aes-xts-plain64"',
        '"encryption":"cipher_null-ecb","encryption":"aes-xts-plain64"',
      );
    expect(() => checkLuks2Header(withText(twice))).toThrow("says encryption twice");
    const escaped = (text: string): string =>
      text.replace('"encryption":"aes', String.raw`"encrypt\u0069on":"cipher_null-ecb","encryption":"aes`);
    expect(() => checkLuks2Header(withText(escaped))).toThrow("says encryption twice");
    expect(() => checkLuks2Header(withText((text) => `${text}\0{"more":1}`))).toThrow(
      "not followed by zeros",
    );
    expect(() => checkLuks2Header(withText(() => "not json"))).toThrow("not JSON");
  });

  it("G2: refuses a blank disk, a short one, and random bytes", () => {
    expect(() => checkLuks2Header(new Uint8Array(2 ** 20))).toThrow("no LUKS2 magic");
    expect(() => checkLuks2Header(new Uint8Array(100))).toThrow("too small");
    expect(() => checkLuks2Header(genuine.subarray(0, 2 ** 19))).toThrow("beyond the end");
  });

  it("G2: refuses what cryptsetup makes with another cipher", () => {
    const device = join(dir, "other");
    writeFileSync(device, "");
    truncateSync(device, 64 * 2 ** 20);
    const cipher = [
      "--cipher",
      "aes-cbc-essiv:sha256",
      "--pbkdf",
      "pbkdf2",
      "--pbkdf-force-iterations",
      "1000",
    ];
    execFileSync(
      "cryptsetup",
      ["luksFormat", "-q", "--type", "luks2", ...cipher, "--key-file", "-", device],
      {
        input: key,
        stdio: ["pipe", "pipe", "pipe"],
        env: { PATH: "/usr/sbin:/usr/bin" },
      },
    );
    expect(() => checkLuks2Header(new Uint8Array(readFileSync(device)).subarray(0, 2 ** 24))).toThrow(
      "data disk header",
    );
  });
});

describe("LuksDisk", () => {
  it("G4: gives the key to cryptsetup on standard input, never in argv, environment or a file", async () => {
    const calls: { argv: string; input: unknown; options: unknown }[] = [];
    const headerFile = join(dir, "kept-header");
    const disk = new LuksDisk(
      { device: "/dev/vdb", mapping: "data", mountPoint: dir, headerFile },
      async (file, args, options) => {
        calls.push({
          argv: [file, ...args].join(" "),
          input: options.input,
          options: { ...options, input: undefined },
        });
        return "";
      },
    );
    await disk.format(key, signal);
    await disk.open(genuine.subarray(0, 2 ** 20), key, signal);
    expect(calls.map((call) => call.input)).toEqual([key, key]);
    for (const form of [key.toString("hex"), key.toString("base64"), key.toString("latin1")]) {
      for (const call of calls) expect(call.argv + JSON.stringify(call.options)).not.toContain(form);
      expect(readFileSync(headerFile).includes(Buffer.from(form, "latin1"))).toBe(false);
    }
    // G2: the disk is opened by the copy, not by the header that stands on it.
    expect(calls[1]?.argv).toContain(`--header ${headerFile}`);
    expect(readFileSync(headerFile).equals(genuine.subarray(0, 2 ** 20))).toBe(true);
  });
});
