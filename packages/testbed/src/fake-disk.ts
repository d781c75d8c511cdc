import { createHash } from "node:crypto";
import { mkdir, open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { concatBytes, errorCode, hex, sha256 } from "@dstack/core";
import type { DataDisk } from "@dstack/tdxctl";

const AREA_BYTES = 16 * 1024;
const DATA_OFFSET = 2 ** 20;

/** The metadata `cryptsetup luksFormat` writes with the options of the guest, its digest made to tell keys apart. */
function metadata(key: Uint8Array): string {
  const salt = Buffer.alloc(32, 7).toString("base64");
  const pbkdf2 = { type: "pbkdf2", hash: "sha256", iterations: 1000, salt };
  return JSON.stringify({
    keyslots: {
      "0": {
        type: "luks2",
        key_size: 64,
        af: { type: "luks1", stripes: 4000, hash: "sha256" },
        area: { type: "raw", offset: "32768", size: "258048", encryption: "aes-xts-plain64", key_size: 64 },
        kdf: pbkdf2,
      },
    },
    tokens: {},
    segments: {
      "0": {
        type: "crypt",
        offset: String(DATA_OFFSET),
        size: "dynamic",
        iv_tweak: "0",
        encryption: "aes-xts-plain64",
        sector_size: 512,
      },
    },
    digests: {
      "0": {
        ...pbkdf2,
        keyslots: ["0"],
        segments: ["0"],
        digest: Buffer.from(sha256(key)).toString("base64"),
      },
    },
    config: { json_size: "12288", keyslots_size: "1015808" },
  });
}

/** One header area (LUKS2 On-Disk Format Specification 1.1.1, section 2). */
function area(offset: number, magic: string, json: string): Uint8Array {
  const bytes = Buffer.alloc(AREA_BYTES);
  bytes.write(magic, 0, "latin1");
  bytes.writeUInt16BE(2, 6);
  bytes.writeBigUInt64BE(BigInt(AREA_BYTES), 8);
  bytes.writeBigUInt64BE(1n, 16);
  bytes.write("sha256", 72, "latin1");
  bytes.writeBigUInt64BE(BigInt(offset), 256);
  bytes.write(json, 4096, "utf8");
  createHash("sha256").update(bytes).digest().copy(bytes, 448);
  return new Uint8Array(bytes);
}

/**
 * FAKE. The data disk of an in-process guest: the VM's real disk file carries a header of the real format, the file system is a
 * directory beside it. A wrong key does not open it.
 */
export class FakeDisk implements DataDisk {
  readonly #image: string;
  readonly #files: string;
  #key: string | undefined;

  constructor(vmDir: string) {
    this.#image = join(vmDir, "hda.img");
    this.#files = join(vmDir, "fake-data");
  }

  async size(): Promise<number> {
    const file = await open(this.#image, "r");
    try {
      return (await file.stat()).size;
    } finally {
      await file.close();
    }
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const file = await open(this.#image, "r");
    try {
      const buffer = new Uint8Array(length);
      const { bytesRead } = await file.read(buffer, 0, length, offset);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  }

  async format(key: Uint8Array): Promise<void> {
    const json = metadata(key);
    const file = await open(this.#image, "r+");
    try {
      await file.write(
        concatBytes(area(0, "LUKS\xba\xbe", json), area(AREA_BYTES, "SKUL\xba\xbe", json)),
        0,
        null,
        0,
      );
    } finally {
      await file.close();
    }
  }

  async open(header: Uint8Array, key: Uint8Array): Promise<void> {
    const expected = Buffer.from(sha256(key)).toString("base64");
    if (!Buffer.from(header).includes(JSON.stringify(expected))) {
      throw new Error("no key available with this passphrase");
    }
    this.#key = hex(sha256("directory", key)).slice(0, 16);
  }

  async makeFileSystem(): Promise<void> {
    await mkdir(this.#directory(), { recursive: true });
  }

  async mount(): Promise<void> {
    await this.size();
  }

  async readFile(name: string): Promise<Uint8Array | undefined> {
    try {
      return new Uint8Array(await readFile(join(this.#directory(), name)));
    } catch (err) {
      if (errorCode(err) === "ENOENT") return undefined;
      throw err;
    }
  }

  async writeFile(name: string, content: string): Promise<void> {
    await writeFile(join(this.#directory(), name), content);
  }

  #directory(): string {
    if (this.#key === undefined) throw new Error("the disk is not open");
    return join(this.#files, this.#key);
  }
}
