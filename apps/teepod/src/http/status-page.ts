import { html, styleElement } from "@dstack/daemon";
import type { Html } from "@dstack/daemon";
import type { FastifyInstance } from "fastify";
import type { teepod } from "@dstack/proto";
import type { MessageInitShape } from "@bufbuild/protobuf";

type VmInfo = MessageInitShape<typeof teepod.VmInfoSchema>;

export const STATUS_PAGE_STYLE = [
  "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;color:#222;background:#fff}",
  "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.4rem .8rem;border-bottom:1px solid #ddd}",
  "code{font-size:13px}.running{color:#176f2c}.exited,.paused{color:#b3261e}.note{background:#fff4ce;padding:.5rem 1rem}",
  "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}th,td{border-color:#444}.note{color:#222}}",
].join("");

export interface StatusPageFacts {
  readonly hypervisor: string;
  /** Development images get a simulated TDX platform. */
  readonly simulated: boolean;
}

function row(vm: VmInfo): Html {
  const status = vm.status ?? "";
  const known = ["running", "paused", "exited", "stopping", "stopped"].includes(status) ? status : "";
  const said = vm.bootError ?? vm.notice ?? vm.bootProgress ?? "";
  return html`<tr>
    <td>${vm.name ?? ""}</td>
    <td class="${known}">${status}</td>
    <td>${vm.uptime ?? ""}</td>
    <td><code>${vm.appId ?? ""}</code></td>
    <td>${vm.configuration?.image ?? ""}</td>
    <td>${said}</td>
    <td><a href="/logs?id=${encodeURIComponent(vm.id ?? "")}">log</a></td>
  </tr>`;
}

/** The page as text. */
export function statusPage(vms: readonly VmInfo[], facts: StatusPageFacts): string {
  const notes = [
    ...(facts.simulated
      ? [
          html`<p class="note">
            Development images run on a simulated TDX platform: nothing here is protected.
          </p>`,
        ]
      : []),
  ];
  const table =
    vms.length === 0
      ? html`<p>There are no VMs.</p>`
      : html`<table>
          <thead>
            <tr>
              <th>Name</th>
              <th>Status</th>
              <th>Uptime</th>
              <th>App</th>
              <th>Image</th>
              <th>Boot</th>
              <th></th>
            </tr>
          </thead>
          <tbody>
            ${vms.map(row)}
          </tbody>
        </table>`;
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width" />
        <meta http-equiv="refresh" content="5" />
        <title>teepod</title>
        ${styleElement(STATUS_PAGE_STYLE)}
      </head>
      <body>
        <h1>teepod</h1>
        <p>${facts.hypervisor}</p>
        ${notes} ${table}
      </body>
    </html> `.text;
}

/** `GET /`: what runs here, without a script. */
export function addStatusPage(
  app: FastifyInstance,
  facts: StatusPageFacts,
  list: () => Promise<readonly VmInfo[]>,
): void {
  app.get("/", async (_request, reply) => {
    return reply.type("text/html; charset=utf-8").send(statusPage(await list(), facts));
  });
}
