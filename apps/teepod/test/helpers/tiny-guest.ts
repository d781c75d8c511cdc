/** What the tiny guest does once it has printed its text. */
export type TinyBehaviour =
  /** Waits; powers off when the power button is pressed. */
  | "wait"
  /** Waits and ignores the power button. */
  | "stubborn"
  /** Resets the machine at once, as a kernel with `panic=-1` does. */
  | "reset";

const LOAD_ADDRESS = 0x10_0000;
const HEADER_BYTES = 32;

function u32(value: number): number[] {
  return [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >>> 24) & 0xff];
}

const STOP = [0xfa, 0xf4, 0xeb, 0xfd]; // cli; hlt; jmp back to hlt's neighbour: for ever

function behaviourCode(behaviour: TinyBehaviour): number[] {
  if (behaviour === "stubborn") return STOP;
  if (behaviour === "reset") return [0xb0, 0xfe, 0xe6, 0x64, ...STOP]; // keyboard controller: reset
  return [
    ...[0x66, 0xba, 0x02, 0x06, 0x66, 0xb8, 0x00, 0x01, 0x66, 0xef], // PM1_EN: power button
    ...[0x66, 0xba, 0x00, 0x06, 0xf3, 0x90, 0x66, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xf7], // until PM1_STS says pressed
    ...[0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef], // PM1_CNT: S5
    ...STOP,
  ];
}

/**
 * A multiboot kernel of some hundred bytes that prints a text on the first serial port and then behaves as told:
 * what a test needs of a guest, without an operating system.
 */
export function tinyKernel(text: string, behaviour: TinyBehaviour): Uint8Array {
  const print = [0x66, 0xba, 0xf8, 0x03, 0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8];
  const code = [...print, ...behaviourCode(behaviour)];
  const message = LOAD_ADDRESS + HEADER_BYTES + 5 + code.length;
  const body = [0xbe, ...u32(message), ...code, ...new TextEncoder().encode(text), 0];
  const end = LOAD_ADDRESS + HEADER_BYTES + body.length;
  const magic = 0x1badb002;
  const flags = 0x0001_0000;
  const header = [
    magic,
    flags,
    -(magic + flags) | 0,
    LOAD_ADDRESS,
    LOAD_ADDRESS,
    end,
    end,
    LOAD_ADDRESS + HEADER_BYTES,
  ];
  // QEMU reads the first 8 KiB when it looks for the header.
  const file = new Uint8Array(8192);
  file.set([...header.flatMap(u32), ...body]);
  return file;
}
