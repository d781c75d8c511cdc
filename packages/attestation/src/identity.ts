import { fromHex, parseAppId, parseInstanceId } from "@dstack/core";
import type { AppId, InstanceId } from "@dstack/core";
import { EvidenceError } from "./errors.js";
import { checkRuntimeEvents } from "./event-log.js";
import type { EventLogEntry } from "./event-log.js";
import type { Watch } from "./watch.js";

/** What a guest measured of itself into RTMR3 while it booted. Hashes are 64 lower-case hex digits. */
export interface AppIdentity {
  readonly rootfsHash: string;
  readonly appId: AppId;
  readonly composeHash: string;
  /** The app id the running compose document alone would give; differs from `appId` after an upgrade. */
  readonly upgradedAppId: AppId;
  /** SHA-256 of the KMS CA certificate the guest was given (of nothing, without KMS). */
  readonly caCertHash: string;
  readonly instanceId: InstanceId;
  /** The payload of `key-provider`, JSON text as the guest wrote it. Absent before the keys came. */
  readonly keyProvider?: string;
  /** An identity exists only when it is complete. */
  readonly bootMrDone: true;
  /** The guest serves its app: whatever the log says from there on, and any quote, may be the app's doing. */
  readonly systemReady: boolean;
}

/** The events of a boot in their order, with the bytes of their payloads (design: "Events in RTMR3"). */
const BOOT_EVENTS = [
  ["system-preparing", 0],
  ["rootfs-hash", 32],
  ["app-id", 20],
  ["compose-hash", 32],
  ["upgraded-app-id", 20],
  ["ca-cert-hash", 32],
  ["instance-id", 20],
  ["boot-mr-done", 0],
] as const;
type BootEventName = (typeof BOOT_EVENTS)[number][0];

const MAX_KEY_PROVIDER_BYTES = 4096;

/**
 * Reads the identity out of a log whose replay gave the quoted RTMR3. Up to `boot-mr-done` the RTMR3 events must be
 * exactly the documented ones; then `key-provider` may come, then `system-ready`; what follows belongs to the app and
 * is not looked at. Digests are recomputed for every RTMR3 event, the app's too.
 * @throws {EvidenceError} `identity_invalid`, `event_digest_mismatch`, `event_log_malformed`
 */
export function readAppIdentity(entries: readonly EventLogEntry[], watch?: Watch): AppIdentity {
  watch?.("digests of RTMR3 events");
  checkRuntimeEvents(entries);
  watch?.("identity events");
  const events = entries.filter((entry) => entry.imr === 3);
  const boot = readBootEvents(events);
  const { keyProvider, systemReady } = readLaterEvents(events.slice(BOOT_EVENTS.length));
  if (!boot["compose-hash"].startsWith(boot["upgraded-app-id"])) {
    throw invalid("upgraded-app-id is not the beginning of compose-hash");
  }
  return {
    rootfsHash: boot["rootfs-hash"],
    appId: parseAppId(boot["app-id"]),
    composeHash: boot["compose-hash"],
    upgradedAppId: parseAppId(boot["upgraded-app-id"]),
    caCertHash: boot["ca-cert-hash"],
    instanceId: parseInstanceId(boot["instance-id"]),
    ...(keyProvider === undefined ? {} : { keyProvider }),
    bootMrDone: true,
    systemReady,
  };
}

function readBootEvents(events: readonly EventLogEntry[]): Record<BootEventName, string> {
  const payloads = BOOT_EVENTS.map(([name, bytes], index): [string, string] => {
    const entry = events[index];
    if (entry === undefined) throw invalid(`the log ends before ${name}`);
    if (entry.event !== name)
      throw invalid(`event ${index} of RTMR3 is "${entry.event}", it must be ${name}`);
    if (entry.event_payload.length !== 2 * bytes)
      throw invalid(`${name} must have a payload of ${bytes} bytes`);
    return [name, entry.event_payload];
  });
  return Object.fromEntries(payloads) as Record<BootEventName, string>;
}

/** What may follow `boot-mr-done`: `key-provider` once, then `system-ready`, and nothing else before that. */
function readLaterEvents(events: readonly EventLogEntry[]): { keyProvider?: string; systemReady: boolean } {
  const provider = events[0]?.event === "key-provider" ? events[0] : undefined;
  const next = events[provider === undefined ? 0 : 1];
  if (next !== undefined && (next.event !== "system-ready" || next.event_payload !== "")) {
    throw invalid(`"${next.event}" must not stand between boot-mr-done and system-ready`);
  }
  const systemReady = next !== undefined;
  return provider === undefined ? { systemReady } : { keyProvider: readKeyProvider(provider), systemReady };
}

function readKeyProvider(entry: EventLogEntry): string {
  const payload = fromHex(entry.event_payload, "key-provider");
  if (payload.length > MAX_KEY_PROVIDER_BYTES) throw invalid("key-provider is too long");
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(payload);
  } catch (err) {
    throw new EvidenceError(
      "identity_invalid",
      "reading identity: key-provider is not UTF-8",
      {},
      { cause: err },
    );
  }
}

function invalid(message: string): EvidenceError {
  return new EvidenceError("identity_invalid", `reading identity: ${message}`);
}
