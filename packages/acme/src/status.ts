import { errorMessage } from "@dstack/core";
import { permissionsOf } from "./accounts.js";
import { type Cluster, refuseOtherAccounts } from "./cluster.js";
import type { CaOptions } from "./ca/certificate-authority.js";
import { readCaaPlan } from "./caa/set-caa.js";
import { isForNames } from "./certificate.js";
import type { Authority } from "./dns/authority.js";
import { type DnsProvider, recordText } from "./dns/provider.js";
import { recordName } from "./names.js";
import { caaProblems } from "./rehearsal.js";
import { isDueForRenewal } from "./renewal.js";
import { CredentialsFile } from "./store/credentials.js";
import { type State, readState } from "./store/state.js";
import type { LiveCertificate, WorkDirectory } from "./store/work-directory.js";

/** Times are ISO 8601. */
export interface CertbotStatus {
  certificate?: {
    id: string;
    names: string[];
    issuer: string;
    notAfter: string;
    daysLeft: number;
    renewAt: string;
  };
  accounts: { ca: string; directory: string; uri?: string; pausedUntil?: string }[];
  /** A name each; `changes` is what set-caa would do. */
  caa: { name: string; changes: string[]; foreign: string[] }[];
  lastFailure?: { at: string; message: string };
  /** The machines that keep certificates for the same names; `leader` is at work now. */
  cluster?: { node: string; leader?: string; trouble?: string };
  /** The hook has not run for the live certificate. */
  hookPending: boolean;
  /** Sentences: what would make the next renewal fail, or keeps its fruit from being used. */
  problems: string[];
}

interface StatusParts {
  names: readonly string[];
  cas: readonly CaOptions[];
  dns: DnsProvider;
  authority: Authority;
  setCaa: boolean;
  renewBeforeMs: number;
  hook?: unknown;
  cluster?: Cluster | undefined;
  now: number;
  dir: WorkDirectory;
}

export async function readStatus(parts: StatusParts, signal: AbortSignal): Promise<CertbotStatus> {
  const { cas, dir, now } = parts;
  const problems: string[] = [];
  const noted = async <T>(work: Promise<T>): Promise<T | undefined> => {
    try {
      return await work;
    } catch (err) {
      signal.throwIfAborted();
      problems.push(errorMessage(err));
      return undefined;
    }
  };
  const state = await readState(dir.statePath);
  const credentials = await noted(CredentialsFile.open(dir.credentialsPath));
  const live = await noted(dir.live());
  const certificate = live && certificateStatus(live, parts, state);
  if (certificate === undefined) problems.push("there is no certificate yet");
  else if (live !== undefined && !isForNames(live, parts.names)) {
    problems.push(
      `the certificate is for ${certificate.names.join(", ")}, configured is ${parts.names.join(", ")}`,
    );
  }
  if (certificate !== undefined && certificate.daysLeft <= 0) problems.push("the certificate has expired");
  const hookPending = parts.hook !== undefined && live !== undefined && state.hookDoneFor !== live.id;
  if (hookPending) problems.push("the renew hook has not succeeded for the live certificate");

  const caa: CertbotStatus["caa"] = [];
  const permissions = credentials === undefined ? [] : permissionsOf(credentials, cas);
  if (credentials !== undefined) {
    for (const name of new Set(parts.names.map(recordName))) {
      const plan = await noted(readCaaPlan(parts.dns, name, permissions, signal));
      if (plan === undefined) continue;
      const changes = plan.steps.map(({ do: action, record }) => `${action} ${recordText(record)}`);
      caa.push({ name, changes, foreign: plan.foreign.map(recordText) });
    }
    problems.push(...(await caaProblems(parts, permissions, signal)));
  }
  const accounts = cas.map(({ name, directory }) => {
    const uri = credentials?.get(directory)?.uri;
    const pausedUntil = state.pauses[name];
    const paused = pausedUntil !== undefined && Date.parse(pausedUntil) > now;
    if (uri === undefined && credentials !== undefined) {
      problems.push(`there is no account at CA ${name} yet: run "certbot init"`);
    }
    if (paused) problems.push(`CA ${name} must not be asked before ${pausedUntil}`);
    return { ca: name, directory, ...(uri === undefined ? {} : { uri }), ...(paused ? { pausedUntil } : {}) };
  });
  const { cluster } = parts;
  if (cluster !== undefined && credentials !== undefined) {
    await noted(Promise.resolve().then(() => refuseOtherAccounts(cluster, credentials, cas)));
  }
  if (cluster?.trouble !== undefined) problems.push(`the other nodes cannot be heard: ${cluster.trouble}`);
  if (state.lastFailure !== undefined) problems.push(`the last attempt failed: ${state.lastFailure.message}`);
  return {
    ...(certificate === undefined ? {} : { certificate }),
    accounts,
    caa,
    ...(state.lastFailure === undefined ? {} : { lastFailure: state.lastFailure }),
    ...(cluster === undefined ? {} : { cluster: clusterStatus(cluster) }),
    hookPending,
    problems: [...new Set(problems)],
  };
}

function clusterStatus({ node, leader, trouble }: Cluster): NonNullable<CertbotStatus["cluster"]> {
  return {
    node,
    ...(leader === undefined ? {} : { leader }),
    ...(trouble === undefined ? {} : { trouble }),
  };
}

function certificateStatus(
  live: LiveCertificate,
  parts: StatusParts,
  state: State,
): NonNullable<CertbotStatus["certificate"]> {
  const info = state.renewalInfo?.id === live.id ? state.renewalInfo : undefined;
  const { at } = isDueForRenewal({
    now: parts.now,
    notBefore: live.notBefore.getTime(),
    notAfter: live.notAfter.getTime(),
    renewBeforeMs: parts.renewBeforeMs,
    seed: live.chainPem,
    window: info && { start: new Date(info.start), end: new Date(info.end) },
  });
  return {
    id: live.id,
    names: live.names,
    issuer: live.issuer,
    notAfter: live.notAfter.toISOString(),
    daysLeft: Math.floor((live.notAfter.getTime() - parts.now) / 86_400_000),
    renewAt: new Date(at).toISOString(),
  };
}
