import { InputError, TimeoutError } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import type { Evidence } from "../evidence/evidence.js";
import { EvidencePages } from "../evidence/serve-evidence.js";
import type { Target } from "../settings/target.js";
import { requestedHost } from "./check-request.js";
import type { Exchange } from "./exchange.js";
import { GrpcForwarder } from "./forward-grpc.js";
import { forwardHttp1 } from "./forward.js";
import type { Handlers } from "./server.js";
import { forwardWebSocket, isWebSocket } from "./websocket.js";

export interface HandlerParts {
  readonly routes: ReadonlyMap<string, Target>;
  readonly pages: EvidencePages;
  /** That of the certificate in use. */
  readonly evidence: () => Evidence;
  /** Told the status of each reply. */
  readonly replied: (status: number) => void;
  readonly log: Logger;
}

/** Decides for each request who answers it: the evidence pages or the target of its domain. */
export function handlers({ routes, pages, evidence, replied, log }: HandlerParts): Handlers {
  const grpc = new GrpcForwarder();

  /** The target of a request that is fit to be passed on; others are answered here. */
  function targetOf(exchange: Exchange): Target | undefined {
    let host: string;
    try {
      host = requestedHost(exchange);
    } catch (err) {
      if (!(err instanceof InputError)) throw err;
      refuse(exchange, 400, err.message);
      return undefined;
    }
    // A name of its own goes before the wildcard above it, as the gateway has it.
    const target = routes.get(host) ?? routes.get(host.replace(/^[^.]+/, "*"));
    // RFC 9110 §15.5.20
    if (target === undefined) refuse(exchange, 421, "no app is served under this name here");
    return target;
  }

  function unreachable(exchange: Exchange, target: Target) {
    return (err: Error): void => {
      log.warn({ err, target: `${target.host}:${target.port}` }, "the app did not answer");
      if (err instanceof TimeoutError) refuse(exchange, 504, "the app did not answer in time");
      else refuse(exchange, 502, "the app cannot be reached");
    };
  }

  /** What cannot even be asked of the app was no proper request; nothing a client sends may end the process. */
  function orRefuse(exchange: Exchange, forward: () => void): void {
    try {
      forward();
    } catch (err) {
      log.warn({ err }, "a request could not be passed on");
      refuse(exchange, 400, "the request cannot be passed on");
    }
  }

  return {
    replied,
    request(exchange) {
      if (EvidencePages.owns(exchange.target)) {
        const answered = pages.answer(evidence(), exchange.method, exchange.target);
        void answered.then((page) => exchange.reply(page)).catch(() => exchange.abort());
        return;
      }
      const target = targetOf(exchange);
      if (target === undefined) return;
      const fail = unreachable(exchange, target);
      orRefuse(exchange, () => {
        if (target.protocol === "grpc") grpc.forward(exchange, target, fail);
        else forwardHttp1(exchange, target, fail);
      });
    },
    upgrade(exchange, request, socket, head) {
      if (!isWebSocket(request)) {
        refuse(exchange, 400, "the only upgrade that is passed on is websocket");
        return;
      }
      const target = targetOf(exchange);
      if (target === undefined) return;
      if (target.protocol === "grpc") refuse(exchange, 400, "the app speaks gRPC, not WebSocket");
      else {
        const fail = unreachable(exchange, target);
        orRefuse(exchange, () => forwardWebSocket(exchange, socket, head, target, fail));
      }
    },
  };
}

function refuse(exchange: Exchange, status: number, sentence: string): void {
  if (exchange.answered) return exchange.abort();
  const headers = { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" };
  exchange.reply({ status, headers, body: `${sentence}\n` });
}
