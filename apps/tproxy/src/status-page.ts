import type { FastifyInstance } from "fastify";
import type { TproxyContext } from "./context.js";

const STYLE =
  "body{font:14px system-ui;margin:2rem}table{border-collapse:collapse}td,th{padding:.3rem .8rem;text-align:left;" +
  "border-bottom:1px solid #ccc}code{font-size:12px}.warn{color:#a00;font-weight:bold}";

/** `GET /`: a read-only page of who is registered. No script; every value in it is ours or was parsed. */
export function addStatusPage(
  app: FastifyInstance,
  context: TproxyContext,
  warnings: readonly string[],
): void {
  app.get("/", async (_request, reply) =>
    reply
      .type("text/html; charset=utf-8")
      .header(
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
      )
      .header("x-content-type-options", "nosniff")
      .header("cache-control", "no-store")
      .send(statusPage(context, warnings, Math.floor(Date.now() / 1000))),
  );
}

function statusPage(context: TproxyContext, warnings: readonly string[], now: number): string {
  const { openByInstance, open } = context.plane.stats();
  const { handshakes } = context.tunnel;
  const rows = context.registry.list().map((instance) => {
    const at = handshakes.get(instance.publicKey) ?? 0;
    const cells = [
      `<code>${escape(instance.appId)}</code>`,
      `<code>${escape(instance.instanceId)}</code>`,
      escape(instance.ip),
      at === 0 ? "never" : `${now - at} s ago`,
      String(openByInstance.get(instance.instanceId) ?? 0),
    ];
    return `<tr>${cells.map((cell) => `<td>${cell}</td>`).join("")}</tr>`;
  });
  return [
    `<!doctype html><meta charset="utf-8"><title>tproxy</title><style>${STYLE}</style><h1>tproxy</h1>`,
    ...warnings.map((warning) => `<p class="warn">${escape(warning)}</p>`),
    `<p>*.${escape(context.node.baseDomain)}, port ${context.node.externalPort}. ${open} open connections.</p>`,
    "<table><tr><th>App</th><th>Instance</th><th>Address</th><th>Last handshake</th><th>Connections</th></tr>",
    ...rows,
    "</table>\n",
  ].join("\n");
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
