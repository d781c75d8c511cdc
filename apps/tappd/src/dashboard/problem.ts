import { html } from "@dstack/daemon";
import { toRpcError } from "@dstack/prpc";
import type { FastifyReply, FastifyRequest } from "fastify";
import { sentence } from "./format.js";
import { sendPage } from "./page.js";
import type { PageContext } from "./page.js";

/** A page that says in one sentence why there is no other. */
export function sendProblem(
  reply: FastifyReply,
  context: PageContext,
  status: number,
  message: string,
): FastifyReply {
  const content = html`<p class="problem">${sentence(message)}</p>
    <p><a href="/">What this app shows</a></p>`;
  return sendPage(reply, context, { title: titleOf(status), status, content });
}

/** The page for an error: the sentence of one that is known, no more than a request's id of any other. */
export function answerError(
  err: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  context: PageContext,
): FastifyReply {
  const { code, status, message } = toRpcError(err);
  if (code === "internal" || code === "unavailable")
    request.log.error({ err, url: request.url }, "request failed");
  return sendProblem(
    reply,
    context,
    status,
    code === "internal" ? `something went wrong here (request ${request.id})` : message,
  );
}

function titleOf(status: number): string {
  if (status === 403) return "Private";
  if (status === 404) return "Not found";
  return status < 500 ? "This cannot be answered" : "This does not work just now";
}
