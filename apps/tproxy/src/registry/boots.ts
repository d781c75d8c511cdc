import type { StoreEntry } from "@dstack/store";
import { readBoot } from "./records.js";
import type { BootRecord } from "./records.js";
import type { Registration } from "./registration.js";

/** The TLS key of an instance that was recycled is remembered for so long: a VM may have been paused. */
const REMEMBER_BOOT_S = 30 * 86_400;

/** For who registers again and may not (E14). */
export const NOT_THE_BOOT_KEY =
  "the event log contains system-ready, and this TLS key is not the one that the VM registered with before it opened " +
  "its sockets";

/** Whether this registration is made with the TLS key that the record has, for the same app. */
export function isBootKeyOf(
  record: StoreEntry | undefined,
  registration: Pick<Registration, "appId" | "bootKey">,
): boolean {
  if (record === undefined) return false;
  const boot = readBoot(record.value);
  return boot.app_id === registration.appId && boot.spki_sha256 === registration.bootKey;
}

/** The record of an instance that registers now. */
export function newBoot({ appId, bootKey }: Pick<Registration, "appId" | "bootKey">, at: number): string {
  return JSON.stringify({ app_id: appId, spki_sha256: bootKey, at } satisfies BootRecord);
}

/** The record of an instance that is recycled. Its time runs from then on: that may be long after the boot. */
export function recycledBoot(before: string | undefined, at: number): string | undefined {
  return before === undefined ? undefined : JSON.stringify({ ...readBoot(before), at } satisfies BootRecord);
}

/** Whether the record of an instance that is not registered has no use any more. */
export function isOldBoot({ value }: StoreEntry, now: number): boolean {
  return now - readBoot(value).at > REMEMBER_BOOT_S;
}
