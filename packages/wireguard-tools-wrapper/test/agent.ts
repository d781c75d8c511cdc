// Runs inside a namespace: one JSON command a line on stdin, one JSON answer a line on stdout.
import { createInterface } from "node:readline";
import { WireGuard } from "../src/index.js";

let wireguard: WireGuard | undefined;
const opened = (): WireGuard => {
  if (wireguard === undefined) throw new Error("not open");
  return wireguard;
};
const say = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

const commands: Record<string, (argument: string) => Promise<unknown>> = {
  open: async (interfaceName) => {
    wireguard = await WireGuard.open({
      interfaceName,
      onRestart: (err) => say({ restarted: err?.message ?? true }),
    });
    return { backend: wireguard.backend, takenOver: wireguard.takenOver };
  },
  setAddress: (cidr) => opened().setAddress(cidr),
  addRoute: (cidr) => opened().addRoute(cidr),
  syncconf: (text) => opened().syncconf(text),
  refuseForwarding: () => opened().refuseForwarding(),
  dump: () => opened().dump(),
  close: () => opened().close(),
};

for await (const line of createInterface({ input: process.stdin })) {
  const [command = "", argument = ""] = JSON.parse(line) as string[];
  try {
    say({ value: (await commands[command]?.(argument)) ?? null });
  } catch (err) {
    say({ error: err instanceof Error ? err.message : String(err) });
  }
}
process.exit(0);
