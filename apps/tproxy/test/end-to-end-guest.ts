// Runs in the guest's namespace: registers, brings the tunnel up, serves HTTP on its address.
// Arguments: RPC URL, CA file, interface name.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createClient } from "@dstack/prpc";
import { tproxy } from "@dstack/proto";
import { raTlsTransport } from "@dstack/ra-rpc";
import { WireGuard, generateKeyPair, parsePublicKey, wgConfig } from "@dstack/wireguard-tools-wrapper";
import { guestIdentity } from "./site.js";

const [url = "", caFile = "", interfaceName = ""] = process.argv.slice(2);
const keys = generateKeyPair();
const caPem = readFileSync(caFile, "utf8");
const transport = raTlsTransport({ url, caPem, ...(await guestIdentity({ kmsCa: caPem })) });
const { wg } = await createClient(tproxy.Tproxy, transport).registerCvm({ clientPublicKey: keys.publicKey });
if (wg === undefined) throw new Error("no tunnel");
await transport[Symbol.asyncDispose]();

const wireguard = await WireGuard.open({ interfaceName });
await wireguard.setAddress(`${wg.clientIp}/32`);
await wireguard.addRoute(`${wg.serverIp}/32`);
await wireguard.syncconf(
  wgConfig({
    privateKey: keys.privateKey,
    peers: [
      {
        publicKey: parsePublicKey(wg.serverPublicKey),
        allowedIps: [`${wg.serverIp}/32`],
        endpoint: wg.serverEndpoint,
        persistentKeepalive: 1,
      },
    ],
  }),
);
const server = createServer((request, response) =>
  response.end(`hello ${request.socket.remoteAddress} from ${wg.clientIp}`),
);
server.listen(8080, wg.clientIp, () => process.stdout.write("ready\n"));

process.stdin.resume().once("end", () => {
  void wireguard.close().then(() => process.exit(0));
});
