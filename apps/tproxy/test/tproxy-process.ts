// A tproxy with a tunnel that is only remembered, in a process that can be killed. Argument: its configuration, JSON. Prints
// where it listens.
import { readFileSync } from "node:fs";
import { silentLogger } from "@dstack/daemon";
import { startTproxy } from "../src/index.js";
import type { TproxyConfig } from "../src/index.js";
import { MemoryWireGuard } from "./memory-wireguard.js";
import { verifier } from "./site.js";

const config = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as TproxyConfig;
const { url, adminPort } = await startTproxy(config, {
  log: silentLogger(),
  verifier: await verifier(),
  wireguard: new MemoryWireGuard(),
});
process.stdout.write(`${JSON.stringify({ url, adminPort })}\n`);
