import { sleep } from "@dstack/core";
import { crypto as acmeCrypto } from "acme-client";
import type { AcmeOrder, CertificateAuthority, DnsChallenge } from "./ca/certificate-authority.js";
import { checkCertificate } from "./certificate.js";
import type { Authority } from "./dns/authority.js";
import { waitUntilVisible } from "./dns/propagation.js";
import type { DnsProvider } from "./dns/provider.js";
import { CaError } from "./errors.js";
import type { Log } from "./log.js";
import { recordName } from "./names.js";
import { PendingOrder } from "./store/pending-order.js";

export interface ObtainParts {
  ca: CertificateAuthority;
  dns: DnsProvider;
  authority: Authority;
  maxDnsWaitMs: number;
  /** Directory for the order in progress. */
  pendingPath: string;
  log: Log;
}

const FIRST_POLL_MS = 250;
const MAX_POLL_MS = 8000;

/**
 * Gets a certificate for exactly these names with a new key. An order that an earlier run left is taken up where it
 * stands. The order stays on disk until `keep` has stored the certificate.
 * @param replaces ARI id of the certificate this one replaces
 * @throws {CaError | DnsError | CertificateError} or the signal's reason, which is the only limit of the waits for the CA
 */
export async function obtainCertificate(
  parts: ObtainParts,
  request: { names: readonly string[]; replaces?: string | undefined },
  keep: (chainPem: string, keyPem: string) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const { ca, log } = parts;
  const { pending, order: opened } = await openOrder(parts, request, signal);
  let order = opened;
  let waitMs = FIRST_POLL_MS;
  let [proven, finalized] = [false, false];
  while (order.status !== "valid") {
    if (order.status === "invalid") throw await orderFailed(parts, pending, order, signal);
    if (order.status === "pending" && !proven) {
      log.debug({}, "order is pending, waiting for authorization");
      await proveControl(parts, pending, order, signal);
      proven = true;
    } else if (order.status === "ready" && !finalized) {
      log.debug({}, "order is ready, uploading csr");
      const [, csr] = await acmeCrypto.createCsr({ altNames: [...pending.names] }, pending.keyPem);
      await ca.finalize(order, csr.toString(), signal);
      finalized = true;
    } else {
      log.debug({}, `order is ${order.status}, waiting`);
      await sleep(waitMs, signal);
      waitMs = Math.min(2 * waitMs, MAX_POLL_MS);
    }
    order = await ca.getOrder(order.url, signal);
  }
  log.debug({}, "order is valid, getting certificate");
  const chainPem = await ca.download(order, signal);
  checkCertificate(chainPem, pending.keyPem, request.names, Date.now());
  await keep(chainPem, pending.keyPem);
  await removeChallenges(parts, pending, signal);
  await pending.discard();
}

async function openOrder(
  parts: ObtainParts,
  request: { names: readonly string[]; replaces?: string | undefined },
  signal: AbortSignal,
): Promise<{ pending: PendingOrder; order: AcmeOrder }> {
  const { ca, log, pendingPath } = parts;
  const left = await PendingOrder.load(pendingPath);
  if (left !== undefined) {
    const order = await takeUp(left, ca, request.names, signal);
    if (order !== undefined) {
      log.info({ order: order.url, status: order.status }, "taking up the order that an earlier run left");
      return { pending: left, order };
    }
    await removeChallenges(parts, left, signal);
    await left.discard();
  }
  log.debug({}, "generating new cert key pair");
  const pending = await PendingOrder.create(pendingPath, ca.directory, request.names);
  log.debug({ names: request.names }, "creating new order");
  const order = await ca.createOrder(request.names, request.replaces, signal);
  await pending.setOrder(order.url);
  return { pending, order };
}

/** @returns the order if it can still become, or is, the certificate we want */
async function takeUp(
  left: PendingOrder,
  ca: CertificateAuthority,
  names: readonly string[],
  signal: AbortSignal,
): Promise<AcmeOrder | undefined> {
  const sameNames = [...left.names].toSorted().join() === [...names].toSorted().join();
  if (left.order === undefined || left.directory !== ca.directory || !sameNames) return undefined;
  try {
    const order = await ca.getOrder(left.order, signal);
    return order.status === "invalid" ? undefined : order;
  } catch (err) {
    if (err instanceof CaError && err.code === "refused") return undefined; // expired and forgotten
    throw err;
  }
}

async function proveControl(
  parts: ObtainParts,
  pending: PendingOrder,
  order: AcmeOrder,
  signal: AbortSignal,
): Promise<void> {
  const { ca, dns, log } = parts;
  const challenges = await placed(parts, await ca.pendingChallenges(order, signal), signal);
  const known = challenges.map(({ recordName: name, value }) => ({ recordName: name, value }));
  await pending.setChallenges(known);
  for (const challenge of challenges) {
    log.debug({ domain: challenge.domain }, `creating dns record for ${challenge.domain}`);
    await dns.add({ type: "TXT", name: challenge.recordName, text: challenge.value }, signal);
  }
  try {
    for (const challenge of challenges) await waitForChallenge(parts, challenge, signal);
    for (const challenge of challenges) {
      log.debug({ domain: challenge.domain }, "setting challenge ready");
      await challenge.answer(signal);
    }
    await challengesDecided(ca, order, signal);
  } finally {
    await removeChallenges(parts, pending, signal);
  }
}

/** Challenges with the names their records must stand at: those of a delegated one lead into another zone. */
async function placed(
  { authority, log }: ObtainParts,
  challenges: readonly DnsChallenge[],
  signal: AbortSignal,
): Promise<DnsChallenge[]> {
  return Promise.all(
    challenges.map(async (challenge) => {
      const recordName = (await authority.aliases(challenge.recordName, signal)).at(-1);
      if (recordName === undefined || recordName === challenge.recordName) return challenge;
      log.info(
        { domain: challenge.domain, at: recordName },
        `the challenge of ${challenge.domain} is delegated`,
      );
      return { ...challenge, recordName };
    }),
  );
}

async function waitForChallenge(
  parts: ObtainParts,
  challenge: DnsChallenge,
  signal: AbortSignal,
): Promise<void> {
  await waitUntilVisible(
    "challenge",
    challenge.recordName,
    { limitMs: parts.maxDnsWaitMs, signal, log: parts.log },
    (wait) => parts.authority.txt(challenge.recordName, wait),
    (values) => values.includes(challenge.value),
  );
}

/** The records must stay in DNS until the CA has looked. */
async function challengesDecided(
  ca: CertificateAuthority,
  order: AcmeOrder,
  signal: AbortSignal,
): Promise<void> {
  for (let waitMs = FIRST_POLL_MS; ; waitMs = Math.min(2 * waitMs, MAX_POLL_MS)) {
    const { status } = await ca.getOrder(order.url, signal);
    if (status !== "pending") return;
    await sleep(waitMs, signal);
  }
}

/** What cannot be removed now is removed by the next order of this CA; it does no harm. */
async function removeChallenges(
  parts: ObtainParts,
  pending: PendingOrder,
  signal: AbortSignal,
): Promise<void> {
  const { dns, log } = parts;
  try {
    for (const { recordName: name, value } of pending.challenges) {
      log.debug({ domain: name }, "removing dns record");
      await dns.remove({ type: "TXT", name, text: value }, signal);
    }
    await pending.setChallenges([]);
  } catch (err) {
    log.warn({ err }, "could not remove challenge records from DNS; the next order does");
  }
}

/** The order stays on disk: the next run cleans up after it, challenge records that could not be removed included. */
async function orderFailed(
  { ca }: ObtainParts,
  pending: PendingOrder,
  order: AcmeOrder,
  signal: AbortSignal,
): Promise<CaError> {
  const reasons = await ca.failureReasons(order, signal).catch(() => []);
  const names = [...new Set(pending.names.map(recordName))].join(", ");
  const why = reasons.length > 0 ? reasons.join("; ") : "it gave no reason";
  return new CaError("refused", `CA ${ca.name} refused the order for ${names}: ${why}`, { order: order.url });
}
