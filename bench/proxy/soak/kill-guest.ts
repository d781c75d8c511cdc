// Runs in the guests' namespace while tproxy is killed: registers one instance after the other, again and again until
// it is acknowledged, and prints each acknowledged one as JSON. Arguments: RPC URL, CA file.
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient } from "../../../packages/prpc/src/index.js";
import { tproxy } from "../../../packages/proto/src/index.js";
import { raTlsTransport } from "../../../packages/ra-rpc/src/index.js";
import { generateKeyPair } from "../../../packages/wireguard-tools-wrapper/src/index.js";
import { guestIdentity, idOf } from "../../../apps/tproxy/test/site.js";

const [url = "", caFile = ""] = process.argv.slice(2);
const caPem = readFileSync(caFile, "utf8");
process.stdin.resume().once("end", () => process.exit(0));

for (let n = 0; ; n++) {
  const instance = `killed ${n}`;
  const [identity, keys] = [await guestIdentity({ instance }), generateKeyPair()];
  for (;;) {
    const transport = raTlsTransport({ url, caPem, ...identity });
    try {
      const client = createClient(tproxy.Tproxy, transport);
      const { wg } = await client.registerCvm({ clientPublicKey: keys.publicKey });
      process.stdout.write(`${JSON.stringify({ id: idOf(instance), ip: wg?.clientIp })}\n`);
      break;
    } catch {
      await sleep(50); // it is dead just now
    } finally {
      await transport[Symbol.asyncDispose]();
    }
  }
}
