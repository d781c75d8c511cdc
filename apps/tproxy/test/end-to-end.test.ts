import { execFileSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import {
  Namespace,
  connectNamespaces,
  killLeftovers,
  namespacesUnavailable,
  processesOf,
  uniqueInterfaceName,
} from "@dstack/wireguard-tools-wrapper/testing";
import { stringify } from "smol-toml";
import { afterEach, describe, expect, it } from "vitest";
import { BASE, ca, idOf, makeSite, writePair } from "./site.js";

const reason = namespacesUnavailable();
if (reason !== undefined) console.warn(`skipping the end-to-end test: ${reason}`);

const children = new Set<ChildProcess>();

function startIn(namespace: Namespace, file: string, ...args: string[]): ChildProcess {
  const child = namespace.script(new URL(file, import.meta.url), ...args);
  children.add(child);
  return child;
}

/** A program in a namespace that says when it is ready, and ends when its input does. */
async function startScript(namespace: Namespace, file: string, ...args: string[]): Promise<ChildProcess> {
  const child = startIn(namespace, file, ...args);
  await saysOnce(child, /ready/);
  return child;
}

async function saysOnce(child: ChildProcess, text: RegExp): Promise<void> {
  let said = "";
  await new Promise<void>((resolve, reject) => {
    child.stdout?.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      if (text.test(said)) resolve();
    });
    child.once("exit", (code) => reject(new Error(`ended with ${code} before it was ready: ${said}`)));
  });
}

async function end(child: ChildProcess, signal?: NodeJS.Signals): Promise<number | null> {
  const exited = once(child, "exit") as Promise<[number | null]>;
  if (signal === undefined) child.stdin?.end();
  else child.kill(signal);
  return (await exited)[0];
}

afterEach(async () => {
  // First those that look after the others.
  for (const child of children) child.kill("SIGKILL");
  children.clear();
  await killLeftovers();
});

describe.skipIf(reason !== undefined)("tproxy, the real program, with a guest in another namespace", () => {
  it("routes by SNI over WireGuard, and goes on after a restart, and kill -9 of itself and of wireguard-go", async () => {
    await using hub = await Namespace.create();
    await using guest = await Namespace.create();
    await connectNamespaces(hub, "192.0.2.1/30", guest, "192.0.2.2/30");
    const [hubInterface, guestInterface] = [uniqueInterfaceName(), uniqueInterfaceName()];
    await using site = await makeSite({ wg: { interface: hubInterface, endpoint: "192.0.2.1:51820" } });
    await writePair(site.dir, "rpc", "192.0.2.1");
    const caFile = join(site.dir, "ca.pem");
    await writeFile(caFile, ca.certPem);
    const configFile = join(site.dir, "tproxy.toml");
    const { attestation, proxy } = site.input;
    const input = {
      ...site.input,
      host: "192.0.2.1",
      port: 9070,
      proxy: { ...proxy, listen_port: 8443 },
      attestation: { ...attestation, pccs_url: "http://127.0.0.1:8081" },
    };
    await writeFile(configFile, stringify(input));

    const bundler = fileURLToPath(new URL("../../../scripts/bundle.mjs", import.meta.url));
    const bundle = join(site.dir, "tproxy.mjs");
    const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));
    execFileSync(process.execPath, [bundler, main, bundle]);
    const program = pathToFileURL(bundle).href;
    const startTproxy = async (): Promise<ChildProcess> => {
      const child = startIn(hub, program, "--config", configFile);
      await saysOnce(child, /tproxy is serving/);
      return child;
    };
    const name = `${idOf("app")}-8080.${BASE}`;
    const fetchApp = (): Promise<string> =>
      hub.run(
        ...["curl", "-sS", "--max-time", "10", "--cacert", caFile],
        ...["--resolve", `${name}:8443:127.0.0.1`, `https://${name}:8443/`],
      );
    const expected = "hello 10.77.0.1 from 10.77.0.2";

    const pcs = await startScript(hub, "end-to-end-pcs.ts");
    let tproxy = await startTproxy();
    const guestProgram = await startScript(
      guest,
      "end-to-end-guest.ts",
      "https://192.0.2.1:9070",
      caFile,
      guestInterface,
    );
    expect(await fetchApp()).toBe(expected);

    // What watch-tunnel of the guest image asks.
    expect(await guest.run("busybox", "nc", "-w", "5", "10.77.0.1", "51820")).toMatch(/^[0-9a-f]{64}\n$/);

    const handshakes = (): Promise<string> => hub.run("wg", "show", hubInterface, "latest-handshakes");
    const known = await handshakes();
    expect(known).toMatch(/\t[1-9]\d+\n$/);
    const processes = await processesOf(hubInterface);
    expect(await end(tproxy, "SIGTERM")).toBe(0);
    expect(await handshakes()).toBe(known);
    tproxy = await startTproxy();
    expect(await processesOf(hubInterface)).toEqual(processes);
    expect(await fetchApp()).toBe(expected); // the guest did nothing
    expect(await handshakes()).toBe(known);

    await end(tproxy, "SIGKILL");
    tproxy = await startTproxy();
    expect(await fetchApp()).toBe(expected); // the guest did nothing

    if (existsSync(`/var/run/wireguard/${hubInterface}.sock`)) {
      const restarted = saysOnce(tproxy, /was started again/);
      await hub.run("pkill", "-KILL", "--full", `wireguard-go ${hubInterface}`);
      await restarted;
      await expect.poll(() => fetchApp().catch(String), { interval: 500 }).toBe(expected);
    }

    const down = (): Promise<number | null> => end(startIn(hub, program, "down", "--config", configFile));
    expect(await down()).toBe(1); // it is running
    expect(await fetchApp()).toBe(expected);
    expect(await end(tproxy, "SIGTERM")).toBe(0);
    expect(await down()).toBe(0);
    expect(await hub.run("ip", "-oneline", "link", "show")).not.toContain(hubInterface);
    expect(await processesOf(hubInterface)).toEqual([]);
    expect(existsSync(`/var/run/wireguard/${hubInterface}.sock`)).toBe(false);
    await end(guestProgram);
    await end(pcs);
  });
});
