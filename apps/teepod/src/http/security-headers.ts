import { createHash } from "node:crypto";
import type { FastifyInstance } from "fastify";

/** The `style-src` source of an inline style sheet. */
export function styleSource(css: string): string {
  return `'sha256-${createHash("sha256").update(css).digest("base64")}'`;
}

/** No answer of ours runs a script, is framed, or is taken for another type than it says (T6). */
export function addSecurityHeaders(app: FastifyInstance, styles: readonly string[]): void {
  const csp = [
    "default-src 'none'",
    `style-src ${styles.join(" ") || "'none'"}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
  app.addHook("onRequest", async (_request, reply) => {
    reply.headers({
      "content-security-policy": csp,
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cross-origin-resource-policy": "same-origin",
      "cache-control": "no-store",
    });
  });
}
