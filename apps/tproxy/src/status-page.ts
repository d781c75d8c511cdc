import { Html, html, pageHeaders, styleElement } from "@dstack/daemon";
import type { FastifyInstance } from "fastify";
import { readAcmeAccounts } from "./certificate/acme-account.js";
import type { TproxyContext } from "./context.js";

const STYLE =
  "body{font:14px system-ui;margin:2rem}table{border-collapse:collapse}td,th{padding:.3rem .8rem;text-align:left;" +
  "border-bottom:1px solid #ccc}code{font-size:12px}.warn{color:#a00;font-weight:bold}";

/** `GET /`: a read-only page of who is registered. No script, and every value is text (T6). */
export function addStatusPage(
  app: FastifyInstance,
  context: TproxyContext,
  warnings: readonly string[],
): void {
  app.get("/", async (_request, reply) =>
    reply
      .headers(pageHeaders(STYLE))
      .type("text/html; charset=utf-8")
      .send(statusPage(context, warnings, await certificateSection(context), Math.floor(Date.now() / 1000))),
  );
}

/** Who may order certificates for the base domain, and what there is to check them with. */
async function certificateSection(context: TproxyContext): Promise<Html> {
  const { certificates, keyHistory, keyEvidence, acmeAccountFiles } = context;
  // A damaged file must not take the page away.
  const account = await readAcmeAccounts(acmeAccountFiles).catch(() => undefined);
  return html`<h2>Certificates</h2>
    ${certificates.current.map(
      ({ names, notAfterMs }) =>
        html`<p>${names.join(", ")}: until ${new Date(notAfterMs).toISOString()}.</p>`,
    )}
    <p>${keyHistory.list().length} keys so far, <a href="/.dstack/acme-info">which</a>.</p>
    <p>ACME account: <code>${account?.account_uri ?? "none told"}</code></p>
    ${(account?.caa ?? []).map((record) => html`<p>CAA: <code>${record}</code></p>`)}
    <p>
      ${
        keyEvidence.canQuote
          ? "Each key has a quote of this guest."
          : "Keys have no quotes: this tproxy was not told that it runs in a guest."
      }
    </p>`;
}

function statusPage(
  context: TproxyContext,
  warnings: readonly string[],
  certificate: Html,
  now: number,
): string {
  const { openByInstance, open } = context.plane.stats();
  const { handshakes } = context.tunnel;
  const rows = context.registry.list().map((instance) => {
    const at = handshakes.get(instance.publicKey) ?? 0;
    return html`<tr>
      <td><code>${instance.appId}</code></td>
      <td><code>${instance.instanceId}</code></td>
      <td>${instance.ip}</td>
      <td>${at === 0 ? "never" : `${now - at} s ago`}</td>
      <td>${openByInstance.get(instance.instanceId) ?? 0}</td>
    </tr> `;
  });
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <title>tproxy</title>
        ${styleElement(STYLE)}
      </head>
      <body>
        <h1>tproxy</h1>
        ${warnings.map((warning) => html`<p class="warn">${warning}</p>`)}
        <p>*.${context.site.baseDomain}, port ${context.site.externalPort}. ${open} open connections.</p>
        <table>
          <tr>
            <th>App</th>
            <th>Instance</th>
            <th>Address</th>
            <th>Last handshake</th>
            <th>Connections</th>
          </tr>
          ${rows}
        </table>
        ${certificate}
      </body>
    </html> `.text;
}
