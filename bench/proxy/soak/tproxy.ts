import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { get } from "node:https";
import { join } from "node:path";
import { FileStore } from "../../../packages/store/src/index.js";
import { startSimulatedPcs } from "../../../packages/tdx-attest/src/index.js";
import { uniqueInterfaceName } from "../../../packages/wireguard-tools-wrapper/test/namespace.js";
import { BASE, makeSite, platform, writePair } from "../../../apps/tproxy/test/site.js";
import type { InstanceRegistry } from "../../../apps/tproxy/src/registry/registry.js";
import { registryOf } from "./peers.js";
import { startProgram } from "./program.js";
import type { Program } from "./program.js";

export const [RPC_PORT, PROXY_PORT] = [9070, 8443];
const PCS_PORT = 8081;
/** In tproxy's certificate. */
export const NAME = "tproxy.test";
const RANGE = { ip: "10.77.0.1", client_ip_range: "10.77.0.0/16" };
const TOKEN = "a-token-for-the-time-of-a-soak";

/** A tproxy, a process of its own as in production, with a tunnel nobody is in. */
export interface TproxyProgram {
  readonly program: Program;
  readonly adminSocket: string;
  readonly adminHeaders: { readonly authorization: string };
}

/**
 * Starts one for as long as `work` goes on.
 * @param fill registers whom it knows when it starts
 */
export async function withTproxy<T>(
  engine: "native" | "js",
  fill: (registry: InstanceRegistry) => Promise<void>,
  work: (tproxy: TproxyProgram) => Promise<T>,
): Promise<T> {
  await using _pcs = await startSimulatedPcs({ platform, host: "127.0.0.1", port: PCS_PORT });
  await using site = await makeSite({ wg: { interface: uniqueInterfaceName(), ...RANGE } });
  const [config, token, socket, state] = ["tproxy.json", "token", "admin.sock", "state"].map((name) =>
    join(site.dir, name),
  ) as [string, string, string, string];
  await writePair(site.dir, "rpc", NAME);
  await writeFile(token, TOKEN, { mode: 0o600 });
  await writeFile(
    config,
    JSON.stringify({
      ...site.input,
      host: "0.0.0.0",
      port: RPC_PORT,
      proxy: { ...site.input.proxy, engine, listen_port: PROXY_PORT, drain_secs: 0 },
      attestation: { ...site.input.attestation, pccs_url: `http://127.0.0.1:${PCS_PORT}` },
      admin: { socket, tokens: [{ name: "soak", token_file: token }] },
    }),
  );
  await mkdir(state, { mode: 0o700 });
  {
    await using store = await FileStore.open(join(state, "store.jsonl"), "soak");
    await fill(registryOf(store, RANGE.client_ip_range, RANGE.ip));
  }
  await using program = startProgram("tproxy-program.ts", config);
  await program.next();
  return await work({
    program,
    adminSocket: socket,
    adminHeaders: { authorization: `Bearer ${TOKEN}` },
  });
}

/** Puts an instance's address on this machine, as if its tunnel led here. */
export function takeAddress(registry: InstanceRegistry, instanceId: string): string {
  const ip = registry.list().find((instance) => instance.instanceId === instanceId)?.ip;
  if (ip === undefined) throw new Error(`${instanceId} is not registered`);
  execFileSync("ip", ["address", "replace", `${ip}/32`, "dev", "lo"]);
  return ip;
}

/** @returns whether there was an answer of that status */
export function answers(request: {
  readonly port: number;
  readonly path: string;
  readonly servername?: string;
}): Promise<boolean> {
  return new Promise((resolve) => {
    const options = { host: "127.0.0.1", ...request, rejectUnauthorized: false, agent: false };
    const asked = get(options, (response) => {
      response.resume().once("end", () => resolve(response.statusCode === 200));
      response.once("error", () => resolve(false));
    });
    asked.once("error", () => resolve(false));
  });
}

/** The name of an instance's port in the proxy, where TLS ends. */
export const nameOf = (id: string, port: number): string => `${id}-${port}.${BASE}`;
