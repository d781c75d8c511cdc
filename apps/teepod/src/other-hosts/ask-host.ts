import { TimeoutError, errorCode, withDeadline } from "@dstack/core";
import { Agent, errors, request } from "undici";
import { z } from "zod";
import type { HostState, OtherVmItem } from "../dashboard/items.js";
import { parseVmList } from "./vm-list.js";

/** Of the whole answer, down to its last byte. */
const LIMIT_MS = 5_000;
const MAX_ANSWER_BYTES = 2 * 2 ** 20;

/** Another teepod, as the configuration names it. */
export interface OtherHost {
  readonly name: string;
  readonly url: URL;
  /** Undefined where it is only linked to. */
  readonly token: string | undefined;
  /** PEM; undefined for the system's CAs. */
  readonly ca: string | undefined;
}

/** What asking a host came to; where it failed, a clause for people in which nothing of the answer stands. */
export type HostAnswer =
  | { readonly state: "reachable"; readonly vms: readonly OtherVmItem[] }
  | { readonly state: Exclude<HostState, "reachable" | "asking" | "link">; readonly detail: string };

/**
 * Connections to a host, one at a time. None is kept: the next question comes seconds later, and a dead one would
 * look like a dead host.
 */
export function agentOf({ ca }: OtherHost): Agent {
  return new Agent({
    connections: 1,
    pipelining: 0,
    maxResponseSize: MAX_ANSWER_BYTES,
    connect: ca === undefined ? {} : { ca },
  });
}

/**
 * Asks a host for its VMs. Where the question goes is the configuration's to say alone: no redirect is followed, and
 * nothing of a browser's request is in it (T3).
 * @param signal ends it; its reason is thrown then
 */
export async function askHost(host: OtherHost, agent: Agent, signal: AbortSignal): Promise<HostAnswer> {
  try {
    return await withDeadline("the answer", LIMIT_MS, (limited) => ask(host, agent, limited), signal);
  } catch (err) {
    signal.throwIfAborted();
    return failure(host, err);
  }
}

async function ask(host: OtherHost, dispatcher: Agent, signal: AbortSignal): Promise<HostAnswer> {
  const { statusCode, body } = await request(new URL("/vms", host.url), {
    dispatcher,
    signal,
    headers: { authorization: `Bearer ${host.token ?? ""}`, accept: "application/json" },
  });
  if (statusCode !== 200) {
    body.on("error", () => {}).destroy();
    return refusal(statusCode);
  }
  const { role, vms } = parseVmList(host.name, await body.text());
  // Whoever takes this host over has the token, so it must not be worth more than looking.
  if (role !== "viewer") {
    return {
      state: "refused",
      detail: "the token of token_file is an operator's there; give this host a viewer's",
    };
  }
  return { state: "reachable", vms };
}

function refusal(status: number): HostAnswer {
  if (status === 401 || status === 403)
    return { state: "refused", detail: "the token of token_file is not known there" };
  if (status === 404) return { state: "strange", detail: "no teepod is there, or an older one without /vms" };
  return { state: "strange", detail: `the answer has status ${status}` };
}

function failure({ ca }: OtherHost, err: unknown): HostAnswer {
  if (err instanceof TimeoutError)
    return { state: "unreachable", detail: `no answer in ${LIMIT_MS / 1000} s` };
  if (err instanceof z.ZodError || err instanceof SyntaxError)
    return { state: "strange", detail: "the answer is no list of VMs" };
  if (err instanceof errors.ResponseExceededMaxSizeError)
    return { state: "strange", detail: "the answer does not end" };
  if (err instanceof errors.HTTPParserError) return { state: "strange", detail: "the answer is not HTTP" };
  const code = errorCode(err) ?? "";
  if (/^(CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_CERT_)/.test(code)) {
    const of = ca === undefined ? "a CA that this machine knows; ca_file names another" : "ca_file";
    return {
      state: "untrusted",
      detail: `the certificate is not of this name, in time and of ${of} (${code})`,
    };
  }
  return { state: "unreachable", detail: `no connection${code === "" ? "" : ` (${code})`}` };
}
