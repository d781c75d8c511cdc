import { execFileSync, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "smol-toml";
import { createClient, unixTransport } from "../../../packages/prpc/src/index.js";
import { tproxyAdmin } from "../../../packages/proto/src/index.js";
import {
  Namespace,
  connectNamespaces,
  killLeftovers,
  uniqueInterfaceName,
} from "../../../packages/wireguard-tools-wrapper/test/namespace.js";
import { BASE, ca, idOf, makeSite, writePair } from "../../../apps/tproxy/test/site.js";
import type { Scenario } from "./scenario.js";

const [HUB, PROXY_PORT, RPC_PORT] = ["192.0.2.1", 8443, 9070];
const UP_WITHIN_MS = 2_000;
/** It lives between nothing and this after it serves, so that the kill meets whatever it is at. */
const LONGEST_LIFE_MS = 3_000;
const TOKEN = "a token for the time of a soak";

/** kill -9 of tproxy, again and again, while guests register and clients come through the tunnel. */
export const kills: Scenario = async ({ minutes }) => {
  const children: ChildProcess[] = [];
  try {
    await using hub = await Namespace.create();
    await using guests = await Namespace.create();
    await connectNamespaces(hub, `${HUB}/30`, guests, "192.0.2.2/30");
    await using site = await makeSite({
      wg: {
        interface: uniqueInterfaceName(),
        endpoint: `${HUB}:51820`,
        ip: "10.77.0.1",
        client_ip_range: "10.77.0.0/16",
      },
    });
    await writePair(site.dir, "rpc", HUB);
    const [caFile, config, program, token, socket] = [
      "ca.pem",
      "tproxy.toml",
      "tproxy.mjs",
      "token",
      "admin.sock",
    ].map((name) => join(site.dir, name)) as [string, string, string, string, string];
    await writeFile(caFile, ca.certPem);
    await writeFile(token, TOKEN.replaceAll(" ", "-"));
    const { attestation, proxy } = site.input;
    await writeFile(
      config,
      stringify({
        ...site.input,
        host: HUB,
        port: RPC_PORT,
        proxy: { ...proxy, listen_port: PROXY_PORT, engine: "native", drain_secs: 0 },
        admin: { socket, tokens: [{ name: "soak", token_file: token }] },
        attestation: { ...attestation, pccs_url: "http://127.0.0.1:8081" },
      }),
    );
    const root = join(import.meta.dirname, "../../..");
    const bundle = join(root, "scripts/bundle.mjs");
    execFileSync(process.execPath, [bundle, join(root, "apps/tproxy/src/main.ts"), program]);
    execFileSync("cp", [join(root, "packages/tls-proxy/build/tls_proxy.node"), site.dir]);

    const script = (namespace: Namespace, file: string, ...args: string[]): ChildProcess => {
      const child = namespace.script(new URL(file, import.meta.url), ...args);
      children.push(child);
      return child;
    };
    const startTproxy = async (): Promise<ChildProcess> => {
      const [file, args] = hub.enter(process.execPath, program, "--config", config);
      const child = spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] });
      children.push(child);
      await says(child, /tproxy is serving/);
      return child;
    };

    await says(script(hub, "../../../apps/tproxy/test/end-to-end-pcs.ts"), /ready/);
    let tproxy = await startTproxy();
    const url = `https://${HUB}:${RPC_PORT}`;
    const app = script(
      guests,
      "../../../apps/tproxy/test/end-to-end-guest.ts",
      url,
      caFile,
      uniqueInterfaceName(),
    );
    await says(app, /ready/);
    const answered = linesOf(script(hub, "kill-load.ts", String(PROXY_PORT), `${idOf("app")}-8080.${BASE}`));
    const registered = linesOf(script(guests, "kill-guest.ts", url, caFile));
    while (answered.length === 0) await sleep(50);

    const slowest = { ms: 0 };
    let deaths = 0;
    for (const until = performance.now() + minutes * 60_000; performance.now() < until; deaths++) {
      await sleep(Math.random() * LONGEST_LIFE_MS);
      tproxy.kill("SIGKILL");
      await once(tproxy, "exit");
      tproxy = await startTproxy();
      const served = Date.now();
      while (Number(answered.at(-1)) < served) await sleep(10);
      slowest.ms = Math.max(slowest.ms, Number(answered.find((at) => Number(at) >= served)) - served);
    }

    const acknowledged = registered.map((line) => JSON.parse(line) as { id: string; ip: string });
    const headers = { authorization: `Bearer ${TOKEN.replaceAll(" ", "-")}` };
    await using transport = unixTransport(socket, { headers });
    const { instances } = await createClient(tproxyAdmin.TproxyAdmin, transport).listInstances({});
    const known = new Map(instances.map(({ id, ip }) => [id, ip]));
    const lost = acknowledged.filter(({ id, ip }) => known.get(id) !== ip);
    const shared = instances.length - new Set(known.values()).size;
    return {
      passed: acknowledged.length > 0 && lost.length === 0 && shared === 0 && slowest.ms <= UP_WITHIN_MS,
      facts:
        `killed ${deaths} times in ${minutes} minutes; ${acknowledged.length} registrations acknowledged meanwhile, ${lost.length} lost, ` +
        `${shared} addresses given twice; ${answered.length} requests answered, the first one at the latest ${slowest.ms} ms after a start`,
    };
  } finally {
    for (const child of children) child.kill("SIGKILL");
    await killLeftovers();
  }
};

async function says(child: ChildProcess, text: RegExp): Promise<void> {
  let said = "";
  await new Promise<void>((resolve, reject) => {
    child.stdout?.on("data", (chunk: Buffer) => {
      if (!text.test(said)) said = `${said}${chunk.toString()}`.slice(-100_000);
      if (text.test(said)) resolve();
    });
    child.once("exit", (code) => reject(new Error(`ended with ${code} before it was ready: ${said}`)));
  });
}

/** Everything a program has said so far, line by line. */
function linesOf(child: ChildProcess): string[] {
  const lines: string[] = [];
  if (child.stdout !== null) createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
  return lines;
}
