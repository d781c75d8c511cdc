import { hex } from "@dstack/core";
import { html, pageHeaders, styleElement } from "@dstack/daemon";
import type { Html } from "@dstack/daemon";
import type { FastifyInstance } from "fastify";
import type { TappdContext } from "../context.js";
import type { ListedContainer } from "../docker/engine.js";
import { readSystemInfo } from "../system/system-info.js";
import type { SystemInfo } from "../system/system-info.js";

const STYLE = `
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884; }
td { overflow-wrap: anywhere; }
code { font-size: .85em; }
.warning { border: 2px solid #c60; padding: .6rem 1rem; }
`;

/** `GET /`: what this app is and, as far as its compose document allows, what runs in it (G8). */
export function addDashboard(app: FastifyInstance, context: TappdContext): void {
  app.get("/", async (_request, reply) => {
    const page = await dashboard(context, AbortSignal.timeout(10_000));
    return reply.headers(pageHeaders(STYLE)).type("text/html; charset=utf-8").send(page.text);
  });
}

async function dashboard(context: TappdContext, signal: AbortSignal): Promise<Html> {
  const { compose, identity } = context;
  const { body } = await context.measurements.current(signal);
  const title = compose.name === "" ? "dstack app" : compose.name;
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width" />
        <title>${title}</title>
        ${styleElement(STYLE)}
      </head>
      <body>
        <h1>${title}</h1>
        ${context.platform === "simulated" ? SIMULATED : ""}
        <table>
          ${row("App id", identity.appId)} ${row("Instance id", identity.instanceId)}
          ${row("Compose hash", identity.composeHash)} ${row("Root file system", identity.rootfsHash)}
          ${row("MRTD", hex(body.mrTd))}
          ${body.rtmr.map((register, index) => row(`RTMR${index}`, hex(register)))}
        </table>
        <h2>Containers</h2>
        ${compose.publicLogs ? await containers(context, signal) : html`<p>This app keeps its containers private.</p>`}
        <h2>System</h2>
        ${
          compose.publicSysinfo
            ? system(await readSystemInfo(context.system))
            : html`<p>This app keeps its system information private.</p>`
        }
      </body>
    </html> `;
}

const SIMULATED = html`<p class="warning">
  Simulated platform: the quotes of this VM prove nothing about hardware.
</p>`;

function row(name: string, value: string): Html {
  return html`<tr>
    <th>${name}</th>
    <td><code>${value}</code></td>
  </tr> `;
}

async function containers(context: TappdContext, signal: AbortSignal): Promise<Html> {
  let listed: ListedContainer[];
  try {
    listed = await context.engine.listContainers(signal);
  } catch (err) {
    context.log.warn({ err }, "listing containers for the dashboard failed");
    return html`<p>The container engine does not answer.</p>`;
  }
  const rows = listed.map((container) => {
    const name = container.Names[0]?.replace(/^\//, "") ?? container.Id;
    const logs = `/logs/${encodeURIComponent(name)}?text&bare&timestamps&tail=1000&since=0`;
    return html`<tr>
      <td>${name}</td>
      <td>${container.Image}</td>
      <td>${container.Status}</td>
      <td><a href="${logs}">logs</a></td>
    </tr> `;
  });
  return html`<table>
    <tr>
      <th>Name</th>
      <th>Image</th>
      <th>Status</th>
      <th></th>
    </tr>
    ${rows}
  </table>`;
}

function system(info: SystemInfo): Html {
  return html`<table>
    ${row("System", `${info.osName ?? ""} ${info.osVersion ?? ""}`)}
    ${row("Kernel", info.kernelVersion ?? "")}
    ${row("Processor", `${info.numCpus ?? 0} × ${info.cpuModel ?? ""}`)}
    ${row("Memory", `${mebibytes(info.usedMemory)} of ${mebibytes(info.totalMemory)} MiB used`)}
    ${row("Load", [info.loadavgOne, info.loadavgFive, info.loadavgFifteen].map((load) => (load ?? 0) / 100).join(" "))}
    ${row("Uptime", `${info.uptime ?? 0n} s`)}
    ${(info.disks ?? []).map((disk) =>
      row(disk.mountPoint ?? "", `${mebibytes(disk.freeSize)} of ${mebibytes(disk.totalSize)} MiB free`),
    )}
  </table>`;
}

function mebibytes(bytes: bigint | undefined): bigint {
  return (bytes ?? 0n) / 2n ** 20n;
}
