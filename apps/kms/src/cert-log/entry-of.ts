import { X509Certificate } from "node:crypto";
import type { VerifiedPeer } from "@dstack/ra-tls";
import type { NewEntry } from "./cert-log.js";

/** What the log says about a certificate. */
export function entryOf(certPem: string, kind: NewEntry["kind"]): NewEntry {
  const certificate = new X509Certificate(certPem);
  return { kind, subject: certificate.subject, certificate: certificate.raw.toString("base64") };
}

/** What the log says about a certificate, and about the instance that it or its key was given to. */
export function entryForPeer(
  certPem: string,
  kind: "app-ca" | "root-handover",
  peer: VerifiedPeer,
): NewEntry {
  return {
    ...entryOf(certPem, kind),
    app_id: peer.appId,
    instance_id: peer.instanceId,
    compose_hash: peer.composeHash,
    anchor: peer.anchor,
    tcb_status: peer.tcbStatus,
    ppid: peer.ppid,
  };
}
