import { InputError } from "@dstack/core";

/** Events that say what this VM is (docs/attestation.md, "Events in RTMR3"), with the names other releases use for them. */
const SYSTEM_EVENTS: ReadonlySet<string> = new Set([
  "system-preparing",
  "rootfs-hash",
  "os-image-hash",
  "app-id",
  "compose-hash",
  "upgraded-app-id",
  "ca-cert-hash",
  "instance-id",
  "boot-mr-done",
  "key-provider",
  "storage-fs",
  "mr-kms",
  "system-ready",
]);

/**
 * Verifiers stop reading identity at `system-ready`, so an application's event can never pass for one of the
 * system. People read logs too, and other verifiers may be less careful: the names, and everything under `system-`
 * and `dstack-`, stay ours, in any spelling.
 * @throws {InputError} a reserved name
 */
export function requireAppEventName(name: string): void {
  const folded = name.normalize("NFKC").trim().toLowerCase().replaceAll("_", "-");
  if (SYSTEM_EVENTS.has(folded) || folded.startsWith("system-") || folded.startsWith("dstack-")) {
    throw new InputError("this event name is reserved for the system");
  }
}
