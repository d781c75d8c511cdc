import type { AppIdentity, TdReportBody } from "@dstack/attestation";
import { hex, sha256 } from "@dstack/core";
import type { AppCompose } from "../app/app-compose.js";
import type { Measured } from "./measurements.js";

/**
 * The JSON text of `tcb_info`, in the field names of the published SDKs; hashes and registers are lower-case hex.
 * @param options.everything also the compose document and the event log, which are private to the app by default (G8)
 * @param options.osImageHash see {@link osImageHashOf}
 */
export function tcbInfoJson(
  measured: Measured,
  identity: AppIdentity,
  compose: AppCompose,
  options: { everything: boolean; osImageHash: string },
): string {
  const { body, events } = measured;
  const [rtmr0, rtmr1, rtmr2, rtmr3] = body.rtmr.map(hex);
  return JSON.stringify({
    rootfs_hash: identity.rootfsHash,
    mrtd: hex(body.mrTd),
    rtmr0,
    rtmr1,
    rtmr2,
    rtmr3,
    mr_aggregated: mrAggregated(body),
    os_image_hash: options.osImageHash,
    compose_hash: identity.composeHash,
    device_id: "",
    ...(options.everything ? { event_log: events, app_compose: compose.text } : {}),
  });
}

/** SHA-256 over MRTD and RTMRs; the configuration registers count only when one of them is set. As the published verifiers. */
export function mrAggregated(body: TdReportBody): string {
  const configuration = [body.mrConfigId, body.mrOwner, body.mrOwnerConfig];
  const used = configuration.some((register) => register.some((byte) => byte !== 0));
  return hex(sha256(body.mrTd, ...body.rtmr, ...(used ? configuration : [])));
}

/** The image a host says it started, for verifiers that recompute its measurements: a hint, the registers are the proof. */
export function osImageHashOf(vmConfig: string): string {
  const config: unknown = JSON.parse(vmConfig);
  if (typeof config !== "object" || config === null || !("os_image_hash" in config)) return "";
  return typeof config.os_image_hash === "string" ? config.os_image_hash : "";
}
