import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { once } from "node:events";
import { CliError } from "../output.js";
import type { Ports } from "./home.js";

/** First choice of each port; the next free one is taken where it is in use. */
const PREFERRED: Ports = {
  teepod: 9080,
  pcs: 9081,
  kms: 9043,
  tproxy: 9070,
  tproxyAdmin: 9071,
  proxy: 9443,
  wireguard: 9182,
  registry: 9050,
};

async function isFree(protocol: "tcp" | "udp", port: number): Promise<boolean> {
  if (protocol === "udp") {
    const socket = createSocket("udp4");
    try {
      socket.bind(port, "0.0.0.0");
      await once(socket, "listening");
      return true;
    } catch {
      return false;
    } finally {
      socket.close();
    }
  }
  const server = createServer();
  try {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}

/** Free ports for the daemons, near the well-known ones. They are kept for the life of the installation. */
export async function choosePorts(): Promise<Ports> {
  const chosen: Partial<Ports> = {};
  const taken = new Set<number>();
  for (const [name, preferred] of Object.entries(PREFERRED) as [keyof Ports, number][]) {
    const protocol = name === "wireguard" ? "udp" : "tcp";
    let port = preferred;
    while (taken.has(port) || !(await isFree(protocol, port))) {
      port += 1;
      if (port > preferred + 200)
        throw new CliError(`no free ${protocol} port between ${preferred} and ${port}`);
    }
    taken.add(port);
    chosen[name] = port;
  }
  return chosen as Ports;
}
