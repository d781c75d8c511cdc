import { concatBytes, hex, sha384 } from "@dstack/core";

/** Event types of the TCG PC Client Platform Firmware Profile §10.4.1, as far as a TD's start makes them. */
export const EVENT = {
  separator: 0x4,
  eventTag: 0x6,
  platformConfigFlags: 0xa,
  variableDriverConfig: 0x80000001,
  variableBoot: 0x80000002,
  bootServicesApplication: 0x80000003,
  efiAction: 0x80000007,
  firmwareBlob: 0x8000000a,
  handoffTables: 0x8000000b,
} as const;

const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"));

/** 8be4df61-93ca-11d2-aa0d-00e098032b8c and d719b2cb-3d3a-4596-a3bc-dad00e67656f, as variables carry them. */
const GLOBAL_VARIABLE = bytesOf("61dfe48bca93d211aa0d00e098032b8c");
const IMAGE_SECURITY = bytesOf("cbb219d73a3d9645a3bcdad00e67656f");

/** Text in UTF-16LE, without an end mark. */
export function utf16(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "utf16le"));
}

/** The variables that rule Secure Boot, in the order in which they are measured. */
export const SECURE_BOOT_VARIABLES = [
  { name: "SecureBoot", vendor: GLOBAL_VARIABLE },
  { name: "PK", vendor: GLOBAL_VARIABLE },
  { name: "KEK", vendor: GLOBAL_VARIABLE },
  { name: "db", vendor: IMAGE_SECURITY },
  { name: "dbx", vendor: IMAGE_SECURITY },
] as const;

/** `UEFI_VARIABLE_DATA` of a variable without contents: GUID, two lengths of 8 bytes, name. */
export function emptyVariable({ vendor, name }: { vendor: Uint8Array; name: string }): Uint8Array {
  const lengths = Buffer.alloc(16);
  lengths.writeBigUInt64LE(BigInt(name.length), 0);
  return concatBytes(vendor, lengths, utf16(name));
}

export const SEPARATOR = new Uint8Array(4);

/** `BootOrder`: one entry, number 0. */
export const BOOT_ORDER = new Uint8Array(2);

/** Nodes of the device path to OVMF's set-up screen: its firmware volume, its file, the end. */
const UI_APP_PATH = bytesOf(
  "04071400c9bdb87cebf8344faaea3ee4af6516a1" + "0406140021aa2c4614760345836e8ab6f4662331" + "7fff0400",
);
/** Active, hidden, of the category "application". */
const UI_APP_ATTRIBUTES = 0x109;

/**
 * `Boot0000`: an `EFI_LOAD_OPTION` that starts OVMF's set-up screen. It is what there is before any disk was looked
 * for, and a kernel given with `-kernel` starts that early. Versions of edk2 from 2025.05 have other options.
 */
export function bootOptionUiApp(): Uint8Array {
  const head = Buffer.alloc(6);
  head.writeUInt32LE(UI_APP_ATTRIBUTES, 0);
  head.writeUInt16LE(UI_APP_PATH.length, 4);
  return concatBytes(head, utf16("UiApp\0"), UI_APP_PATH);
}

/** SHA-384 in hex, the form in which logs have digests. */
export const digestOf = (...parts: Parameters<typeof sha384>): string => hex(sha384(...parts));
