/** A character device served by this process: CUSE (linux/fuse.h, protocol 7.31) in plain Node. */
import { type FileHandle, open } from "node:fs/promises";
import { constants } from "node:os";
import type { Answer, TestTd } from "./test-td.js";

const OP = { open: 14, release: 18, flush: 25, interrupt: 36, ioctl: 39, init: 4096 } as const;
const IN_HEADER_BYTES = 40;
const UNRESTRICTED_IOCTL = 1;
const IOCTL_RETRY = 4;

const GET_REPORT0 = 0xc4405401;
const EXTEND_RTMR_WRITE = 0x40315403;
const EXTEND_RTMR_READ = 0x80315403;

export interface CuseOptions {
  /** Name under /dev. */
  readonly name: string;
  /** With it the device says what to copy; without, the kernel copies what the ioctl's number says. */
  readonly unrestricted: boolean;
  /** The encodings of EXTEND_RTMR it knows. */
  readonly extendFlavours: readonly ("write" | "read")[];
}

/** Serves the TDX guest device until the process ends. Settles when the kernel has asked for its name. */
export async function serveCuse(td: TestTd, options: CuseOptions): Promise<void> {
  const device = await open("/dev/cuse", "r+");
  await new Promise<void>((ready, failed) => {
    new CuseServer(device, td, options, ready).run().catch(failed);
  });
}

class CuseServer {
  constructor(
    private readonly device: FileHandle,
    private readonly td: TestTd,
    private readonly options: CuseOptions,
    private readonly ready: () => void,
  ) {}

  async run(): Promise<void> {
    const buffer = Buffer.alloc(256 * 1024);
    for (;;) {
      const { bytesRead } = await this.device.read(buffer, 0, buffer.length, null);
      void this.#serve(Buffer.from(buffer.subarray(0, bytesRead)));
    }
  }

  async #serve(request: Buffer): Promise<void> {
    const op = request.readUInt32LE(4);
    if (op === OP.interrupt) return;
    const { errno, bytes } = await this.#answer(op, request.subarray(IN_HEADER_BYTES));
    const header = Buffer.alloc(16);
    header.writeUInt32LE(16 + bytes.length, 0);
    header.writeInt32LE(-errno, 4);
    header.writeBigUInt64LE(request.readBigUInt64LE(8), 8);
    await this.device.write(Buffer.concat([header, bytes])).catch(() => {}); // the caller may be gone
    if (op === OP.init) this.ready();
  }

  async #answer(op: number, input: Buffer): Promise<Answer> {
    switch (op) {
      case OP.init:
        return good(this.#init());
      case OP.open:
        return good(Buffer.alloc(16));
      case OP.ioctl:
        return this.#ioctl(input);
      case OP.release:
      case OP.flush:
        return good(Buffer.alloc(0));
      default:
        return { errno: constants.errno.ENOSYS, bytes: Buffer.alloc(0) };
    }
  }

  #init(): Buffer {
    const answer = Buffer.alloc(72);
    answer.writeUInt32LE(7, 0);
    answer.writeUInt32LE(31, 4);
    answer.writeUInt32LE(this.options.unrestricted ? UNRESTRICTED_IOCTL : 0, 12);
    answer.writeUInt32LE(4096, 16); // max_read
    answer.writeUInt32LE(4096, 20); // max_write
    return Buffer.concat([answer, Buffer.from(`DEVNAME=${this.options.name}\0`)]);
  }

  async #ioctl(input: Buffer): Promise<Answer> {
    const command = input.readUInt32LE(12);
    const argument = input.readBigUInt64LE(16);
    const given = input.subarray(32, 32 + input.readUInt32LE(24));
    const outBytes = input.readUInt32LE(28);
    if (command === GET_REPORT0) {
      if (given.length === 0) return good(copyThese([[argument, 64]], [[argument + 64n, 1024]]));
      const { errno, bytes } = await this.td.answer("report", 0, new Uint8Array(given.subarray(0, 64)));
      if (errno !== 0) return { errno, bytes: Buffer.alloc(0) };
      // The kernel of a restricted ioctl copies the whole argument back.
      return good(ioctlAnswer(outBytes === 1024 ? bytes : Buffer.concat([given.subarray(0, 64), bytes])));
    }
    if (!this.#knows(command)) return { errno: constants.errno.ENOTTY, bytes: Buffer.alloc(0) };
    if (given.length === 0 && this.options.unrestricted) return good(copyThese([[argument, 49]], []));
    const index = given[48];
    if (index === undefined || index < 2) return { errno: constants.errno.EINVAL, bytes: Buffer.alloc(0) };
    const { errno } = await this.td.answer("extend", index, new Uint8Array(given.subarray(0, 48)));
    return errno === 0 ? good(ioctlAnswer(Buffer.alloc(0))) : { errno, bytes: Buffer.alloc(0) };
  }

  #knows(command: number): boolean {
    const flavours = this.options.extendFlavours;
    return (
      (command === EXTEND_RTMR_WRITE && flavours.includes("write")) ||
      (command === EXTEND_RTMR_READ && flavours.includes("read"))
    );
  }
}

function good(bytes: Buffer): Answer {
  return { errno: 0, bytes };
}

function ioctlAnswer(data: Uint8Array): Buffer {
  return Buffer.concat([Buffer.alloc(16), data]);
}

type Range = readonly [base: bigint, length: number];

/** Asks the kernel to call again with what these parts of the caller's memory hold. */
function copyThese(input: readonly Range[], output: readonly Range[]): Buffer {
  const answer = Buffer.alloc(16 + 16 * (input.length + output.length));
  answer.writeUInt32LE(IOCTL_RETRY, 4);
  answer.writeUInt32LE(input.length, 8);
  answer.writeUInt32LE(output.length, 12);
  for (const [i, [base, length]] of [...input, ...output].entries()) {
    answer.writeBigUInt64LE(base, 16 + 16 * i);
    answer.writeBigUInt64LE(BigInt(length), 24 + 16 * i);
  }
  return answer;
}
