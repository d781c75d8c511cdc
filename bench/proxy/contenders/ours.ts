import { copyFileSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildSync } from "esbuild";
import { spawnSync } from "node:child_process";
import type { Site } from "../site.js";
import { launch } from "./contender.js";
import type { Contender, Running, StartOptions } from "./contender.js";

const PORTS = { native: 7001, js: 7002 };
const TLS_PROXY = join(import.meta.dirname, "../../../packages/tls-proxy");

/** Our data plane, in a bundle as tproxy is one. */
export function ours(engine: "native" | "js"): Contender {
  const port = PORTS[engine];
  return {
    name: engine,
    kinds: ["pass", "end"],
    start: (site, options) => launchHost(engine, { pass: port, end: port }, site, options),
  };
}

/** A peer's stand-in for our control plane: works as much, beside it. */
export function busyNeighbour(site: Site): Promise<Running> {
  return launchHost("none", {}, site, { pinned: false, busy: true });
}

/** Builds the native engine as it is now, where tproxy looks for it. */
export function buildAddon(): void {
  const { status } = spawnSync(join(TLS_PROXY, "build-addon.sh"), { stdio: "inherit" });
  if (status !== 0) throw new Error("the native engine cannot be built");
}

/** Puts the program, and the addon that was built, into the site's directory. */
export function bundleHost({ directory }: Site): void {
  copyFileSync(join(TLS_PROXY, "build/tls_proxy.node"), join(directory, "tls_proxy.node"));
  buildSync({
    entryPoints: [join(import.meta.dirname, "host.ts")],
    outfile: join(directory, "host.mjs"),
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    banner: { js: 'import{createRequire}from"node:module";const require=createRequire(import.meta.url);' },
  });
}

function launchHost(
  engine: string,
  ports: Parameters<typeof launch>[1],
  site: Site,
  options: StartOptions,
): Promise<Running> {
  const program = join(site.directory, "host.mjs");
  if (!existsSync(program)) throw new Error("bundleHost comes first");
  const sitePath = join(site.directory, "site.json");
  writeFileSync(sitePath, JSON.stringify(site));
  const { threads = 1, busy } = options;
  const args = [engine, String(ports.pass ?? 0), sitePath, String(threads), ...(busy ? ["busy"] : [])];
  return launch([process.execPath, program, ...args], ports, options);
}
