import { createServer } from "node:net";
import { once } from "node:events";
import { misbehavingApp, startClients } from "../../../packages/tls-proxy/test/attack/attack.js";
import { APP } from "../../../packages/tls-proxy/test/attack/parts.js";
import { guestIdentity } from "../../../apps/tproxy/test/site.js";
import { setTimeout as sleep } from "node:timers/promises";
import { cpuSeconds, residentBytes } from "../machine.js";
import { registerSilent } from "./peers.js";
import { mib } from "./scenario.js";
import type { Finding, Scenario } from "./scenario.js";
import { PROXY_PORT, RPC_PORT, answers, takeAddress, withTproxy } from "./tproxy.js";

const [APP_PORT, CLIENTS] = [9001, 40];
/** What warming up, and what waits to be collected, do not explain. */
const MAX_GROWTH_BYTES = 256 * 2 ** 20;
const HEALTHY_WITHIN_MS = 60_000;

/** tproxy's own process, all of it in Node.js, stands malicious clients at its RPC listener and its js engine. */
export const attackControl: Scenario = {
  about:
    "malicious clients at the RPC listener, with evidence and without, and at the js engine: tproxy's own process",
  minutes: 2,
  run: (minutes) => {
    let address = "";
    return withTproxy(
      "js",
      async (registry) => {
        await registerSilent(registry, APP);
        address = takeAddress(registry, APP);
      },
      ({ program }) => attack(program.pid, address, minutes),
    );
  },
};

async function attack(pid: number, address: string, minutes: number): Promise<Finding> {
  const app = createServer({ allowHalfOpen: true }, misbehavingApp);
  app.listen(APP_PORT, address);
  await once(app, "listening");
  const [cpu, memory] = [cpuSeconds([pid]), residentBytes([pid])];
  {
    const target = { appPort: APP_PORT, clients: CLIENTS, identity: await guestIdentity() };
    await using _engine = await startClients({ ...target, ports: [PROXY_PORT, PROXY_PORT] });
    await using _rpc = await startClients({ ...target, ports: [RPC_PORT, RPC_PORT] });
    await sleep(minutes * 60_000);
  }
  app.close();
  const until = performance.now() + HEALTHY_WITHIN_MS;
  let isHealthy = false;
  while (!isHealthy && performance.now() < until) {
    isHealthy = await answers({ port: RPC_PORT, path: "/healthz" });
    if (!isHealthy) await sleep(500);
  }
  const growth = residentBytes([pid]) - memory;
  return {
    passed: isHealthy && growth <= MAX_GROWTH_BYTES,
    facts:
      `${2 * CLIENTS} clients for ${minutes} minutes, ${(cpuSeconds([pid]) - cpu).toFixed(0)} s of CPU: ` +
      `tproxy ${isHealthy ? "lives, and answers about its health" : "does not answer about its health any more"}; memory grew by ${mib(growth)}`,
  };
}
