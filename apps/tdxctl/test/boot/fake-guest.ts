import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sha256 } from "@dstack/core";
import type { QuoteProvider } from "@dstack/tdx-attest";
import type { WireGuardDevice } from "@dstack/wireguard-tools-wrapper";
import { HEADER_AREA_BYTES } from "../../src/boot/disk/luks2-header.js";
import type {
  ComposeProject,
  DataDisk,
  GuestSystem,
  OldContainers,
  ProgressLine,
} from "../../src/boot/guest-system.js";
import type { RawShare } from "../../src/boot/share.js";

export const ROOTFS_HASH = "ab".repeat(32);

/** A guest in this process: it does nothing to the machine, and writes down what it was asked for, in order. */
export class FakeGuest implements GuestSystem, AsyncDisposable {
  readonly calls: string[] = [];
  readonly progress: ProgressLine[] = [];
  readonly runFiles = new Map<string, string>();
  instanceInfo: string | undefined;
  project: ComposeProject | undefined;
  firewall = "";
  tunnel = "";
  /** Of WireGuard; 0 before there is one. */
  listenPort = 0;
  readonly tappd = { host: "127.0.0.1", port: 8090, tlsPort: 8043 };
  readonly dataDisk: FakeDisk;
  readonly paths;

  private constructor(
    readonly directory: string,
    private readonly share: RawShare,
    private readonly provider: QuoteProvider,
    disk: FakeDisk,
  ) {
    this.dataDisk = disk;
    disk.calls = this.calls;
    this.paths = {
      run: directory,
      eventLog: join(directory, "log", "runtime_events.log"),
      sockets: { tappd: join(directory, "tappd.sock"), dstack: join(directory, "dstack.sock") },
      scopedSockets: "/var/run/tappd",
      dockerSocket: join(directory, "docker.sock"),
    };
  }

  static async create(share: RawShare, provider: QuoteProvider, disk: FakeDisk): Promise<FakeGuest> {
    return new FakeGuest(await mkdtemp(join(tmpdir(), "guest-")), share, provider, disk);
  }

  async prepare(): Promise<void> {
    await mkdir(join(this.directory, "log"), { recursive: true });
  }
  async commandLine(): Promise<string> {
    return `console=ttyS0 dstack.rootfs_hash=${ROOTFS_HASH}`;
  }
  async readShare(): Promise<RawShare> {
    return this.share;
  }
  async openQuoteProvider(): Promise<QuoteProvider> {
    return this.provider;
  }
  async waitForNetwork(): Promise<void> {}
  async openWireGuard(): Promise<WireGuardDevice> {
    this.calls.push("wireguard");
    return {
      interfaceName: "wg0",
      setAddress: async (cidr) => void this.calls.push(`address ${cidr}`),
      addRoute: async (cidr) => void this.calls.push(`route ${cidr}`),
      syncconf: async (text) => {
        this.tunnel = text;
      },
      dump: async () => ({ listenPort: this.listenPort, peers: [] }),
      release: async () => {},
    };
  }
  async watchTunnel(): Promise<void> {
    this.calls.push(
      `watch tunnel${(await this.measured("system-ready")) ? " after" : " before"} system-ready`,
    );
  }
  async isDevelopmentImage(): Promise<boolean> {
    return false;
  }
  async applyFirewall(rules: string): Promise<void> {
    this.calls.push("firewall");
    this.firewall = rules;
  }
  async writeRunFile(name: string, content: string | Uint8Array): Promise<string> {
    this.runFiles.set(name, Buffer.from(content).toString());
    await writeFile(join(this.directory, name), content, { mode: 0o600 });
    return join(this.directory, name);
  }
  async startDocker(_config: string, containers: OldContainers): Promise<void> {
    this.calls.push(`${containers} old containers`);
    this.calls.push(`docker${(await this.measured("system-ready")) ? " after" : " before"} system-ready`);
  }
  async startTappd(): Promise<void> {
    this.calls.push(`tappd${(await this.measured("system-ready")) ? " after" : " before"} system-ready`);
  }
  async composeUp(project: ComposeProject, _signal: AbortSignal): Promise<void> {
    this.calls.push("compose");
    this.project = project;
  }
  async writeInstanceInfo(text: string): Promise<void> {
    this.calls.push(`instance-info ${text.trim()}`);
    this.instanceInfo = text;
  }
  async report(line: ProgressLine): Promise<void> {
    this.progress.push(line);
  }

  /** Whether an event is in the log by now. */
  async measured(event: string): Promise<boolean> {
    return (await this.eventNames()).includes(event);
  }

  async eventNames(): Promise<string[]> {
    const text = await readFile(this.paths.eventLog, "utf8").catch(() => "");
    return text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => (JSON.parse(line) as { event: string }).event);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true });
  }
}

/** A disk in memory; its "encryption" is that it opens for the key it was formatted with. */
export class FakeDisk implements DataDisk {
  calls: string[] = [];
  bytes = new Uint8Array(64 * 2 ** 20);
  readonly files = new Map<string, string>();
  #key: string | undefined;

  async size(): Promise<number> {
    return this.bytes.length;
  }
  async read(offset: number, length: number): Promise<Uint8Array> {
    return this.bytes.slice(offset, offset + length);
  }
  async format(key: Uint8Array): Promise<void> {
    this.calls.push("format");
    this.#key = digest(key);
    this.bytes.set(luksHeader());
  }
  async open(header: Uint8Array, key: Uint8Array): Promise<void> {
    this.calls.push(`open by a header of ${header.length} bytes`);
    if (digest(key) !== this.#key)
      throw new Error("cryptsetup failed: No key available with this passphrase.");
  }
  async makeFileSystem(): Promise<void> {
    this.calls.push("mkfs");
  }
  async mount(): Promise<void> {
    this.calls.push("mount");
  }
  async readFile(name: string): Promise<Uint8Array | undefined> {
    const text = this.files.get(name);
    return text === undefined ? undefined : Buffer.from(text);
  }
  async writeFile(name: string, content: string): Promise<void> {
    this.files.set(name, content);
  }
}

function digest(key: Uint8Array): string {
  return createHash("sha256").update(key).digest("hex");
}

/** A header in the form our format step gives it. */
function luksHeader(): Uint8Array {
  const json = JSON.stringify({
    keyslots: {
      "0": {
        type: "luks2",
        key_size: 64,
        af: { type: "luks1", stripes: 4000, hash: "sha256" },
        area: { type: "raw", offset: "32768", size: "258048", encryption: "aes-xts-plain64", key_size: 64 },
        kdf: { type: "pbkdf2", hash: "sha256", iterations: 1000, salt: "AAAA" },
      },
    },
    tokens: {},
    segments: {
      "0": {
        type: "crypt",
        offset: "1048576",
        size: "dynamic",
        iv_tweak: "0",
        encryption: "aes-xts-plain64",
        sector_size: 512,
      },
    },
    digests: {
      "0": {
        type: "pbkdf2",
        keyslots: ["0"],
        segments: ["0"],
        hash: "sha256",
        iterations: 1000,
        salt: "AAAA",
        digest: "AAAA",
      },
    },
    config: { json_size: "12288", keyslots_size: "1015808" },
  });
  const header = new Uint8Array(2 * HEADER_AREA_BYTES);
  ["LUKS\xba\xbe", "SKUL\xba\xbe"].forEach((magic, index) => {
    const area = header.subarray(index * HEADER_AREA_BYTES, (index + 1) * HEADER_AREA_BYTES);
    const view = new DataView(area.buffer, area.byteOffset, area.byteLength);
    area.set(Buffer.from(magic, "latin1"));
    view.setUint16(6, 2);
    view.setBigUint64(8, BigInt(HEADER_AREA_BYTES));
    view.setBigUint64(256, BigInt(index * HEADER_AREA_BYTES));
    area.set(Buffer.from("sha256"), 72);
    area.set(Buffer.from(json), 4096);
    area.set(sha256(area), 448);
  });
  return header;
}
