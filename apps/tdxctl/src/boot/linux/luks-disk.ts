import { mkdir, open, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { readRegularFileIfAny, writeFileAtomic } from "@dstack/core";
import { EXT4_SUPERBLOCK_BYTES, EXT4_SUPERBLOCK_OFFSET, ext4Size } from "../disk/ext4-size.js";
import type { DataDisk } from "../guest-system.js";
import { runCommand } from "./run-command.js";

/** Runs a program; a test gives its own. */
export type RunCommand = typeof runCommand;

export interface LuksDiskPaths {
  /** The host's disk, such as `/dev/vdb`. */
  readonly device: string;
  /** Name below `/dev/mapper`. */
  readonly mapping: string;
  readonly mountPoint: string;
  /** In memory: where the checked header is kept while the disk is open. */
  readonly headerFile: string;
}

/** Less than this is not worth a resize. */
const GROWTH_BYTES = 16 * 2 ** 20;

/** Inode tables are zeroed when they are first used: doing it ahead costs seconds of encryption at the first boot. */
const MOUNT_OPTIONS = "noatime,noinit_itable";

/** LUKS2 and ext4 on a block device, through cryptsetup. */
export class LuksDisk implements DataDisk {
  readonly #paths: LuksDiskPaths;
  readonly #mapped: string;
  readonly #run: RunCommand;

  constructor(paths: LuksDiskPaths, run: RunCommand = runCommand) {
    this.#paths = paths;
    this.#run = run;
    this.#mapped = `/dev/mapper/${paths.mapping}`;
  }

  async size(): Promise<number> {
    return 512 * Number(await readFile(`/sys/class/block/${basename(this.#paths.device)}/size`, "utf8"));
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    return readAt(this.#paths.device, offset, length);
  }

  async format(key: Uint8Array, signal: AbortSignal): Promise<void> {
    // One MiB of header instead of 16, and a fixed count instead of a benchmark: the key has 256 random bits, so
    // stretching it adds nothing.
    const layout = ["--luks2-metadata-size", "16k", "--luks2-keyslots-size", "992k", "--offset", "2048"];
    const cipher = ["--cipher", "aes-xts-plain64", "--key-size", "512", "--hash", "sha256"];
    const stretching = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    await this.#run(
      "cryptsetup",
      [
        "luksFormat",
        "--batch-mode",
        "--disable-locks",
        ...["--type", "luks2", ...layout, ...cipher, ...stretching],
        ...["--key-file", "-", this.#paths.device],
      ],
      { signal, input: key },
    );
  }

  async open(header: Uint8Array, key: Uint8Array, signal: AbortSignal): Promise<void> {
    await writeFile(this.#paths.headerFile, header, { mode: 0o600 });
    const queues = ["--perf-no_read_workqueue", "--perf-no_write_workqueue"];
    await this.#run(
      "cryptsetup",
      [
        "open",
        "--disable-locks",
        ...["--type", "luks2", "--header", this.#paths.headerFile, ...queues],
        ...["--key-file", "-", this.#paths.device, this.#paths.mapping],
      ],
      { signal, input: key },
    );
  }

  async makeFileSystem(signal: AbortSignal): Promise<void> {
    const lazily = "lazy_itable_init=1,lazy_journal_init=1,nodiscard";
    await this.#run("mkfs.ext4", ["-q", "-m", "0", "-E", lazily, this.#mapped], { signal });
  }

  async mount(signal: AbortSignal): Promise<void> {
    await mkdir(this.#paths.mountPoint, { recursive: true });
    await this.#run("mount", ["-t", "ext4", "-o", MOUNT_OPTIONS, this.#mapped, this.#paths.mountPoint], {
      signal,
    });
    const covered = ext4Size(await readAt(this.#mapped, EXT4_SUPERBLOCK_OFFSET, EXT4_SUPERBLOCK_BYTES));
    const dataOffset = 2 ** 20;
    if (covered !== undefined && covered + GROWTH_BYTES <= (await this.size()) - dataOffset) {
      await this.#run("resize2fs", [this.#mapped], { signal });
    }
  }

  async readFile(name: string, maxBytes: number): Promise<Uint8Array | undefined> {
    return readRegularFileIfAny(join(this.#paths.mountPoint, name), maxBytes);
  }

  async writeFile(name: string, content: string): Promise<void> {
    await writeFileAtomic(join(this.#paths.mountPoint, name), content, { mode: 0o600 });
  }
}

async function readAt(path: string, offset: number, length: number): Promise<Uint8Array> {
  const file = await open(path, "r");
  try {
    const buffer = Buffer.alloc(length);
    let at = 0;
    while (at < length) {
      const { bytesRead } = await file.read(buffer, at, length - at, offset + at);
      if (bytesRead === 0) throw new Error(`${path} ends before byte ${offset + length}`);
      at += bytesRead;
    }
    return new Uint8Array(buffer);
  } finally {
    await file.close();
  }
}
