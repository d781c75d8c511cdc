import { connect } from "node:net";
import { once } from "node:events";
import { request } from "undici";
import { Agent } from "undici";
import { readFile } from "node:fs/promises";
import { CliError } from "../output.js";
import type { DaemonSpec } from "./daemons.js";
import type { Home } from "./home.js";
import { program } from "./programs.js";

async function answersHttp(url: string, signal: AbortSignal, ca?: string): Promise<void> {
  const agent = new Agent({ connect: { ...(ca === undefined ? {} : { ca }), timeout: 2_000 } });
  try {
    const answer = await request(url, { dispatcher: agent, signal });
    await answer.body.dump();
    if (answer.statusCode >= 400) throw new CliError(`${url} answers ${answer.statusCode}`);
  } finally {
    await agent.destroy();
  }
}

async function acceptsTcp(port: number, signal: AbortSignal): Promise<void> {
  const socket = connect({ host: "127.0.0.1", port });
  try {
    await once(socket, "connect", { signal });
  } finally {
    socket.destroy();
  }
}

/** The background daemons of a local installation, in the order in which they start. */
export async function localServices(home: Home): Promise<DaemonSpec[]> {
  const { ports } = home;
  const ca = (): Promise<string> => readFile(home.path("kms", "certs", "root-ca.pem"), "utf8");
  return [
    {
      name: "pcs",
      command: await program(
        "dstack",
        "simulated-pcs",
        ...["--seed", home.path("simulator.seed"), "--port", String(ports.pcs)],
      ),
      ready: (signal) => acceptsTcp(ports.pcs, signal),
    },
    {
      name: "registry",
      command: ["docker-registry", "serve", home.path("registry.yml")],
      ready: (signal) => answersHttp(`http://127.0.0.1:${ports.registry}/v2/`, signal),
    },
    {
      name: "kms",
      command: await program("kms", "-c", home.path("kms.toml")),
      ready: async (signal) => answersHttp(`https://127.0.0.1:${ports.kms}/healthz`, signal, await ca()),
    },
    {
      name: "tproxy",
      command: await program("tproxy", "-c", home.path("tproxy.toml")),
      ready: async (signal) => answersHttp(`https://127.0.0.1:${ports.tproxy}/healthz`, signal, await ca()),
    },
    {
      name: "teepod",
      command: await program("teepod", "-c", home.path("teepod.toml")),
      ready: (signal) => answersHttp(`http://127.0.0.1:${ports.teepod}/healthz`, signal),
    },
  ];
}
