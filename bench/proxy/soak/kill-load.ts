// Runs beside tproxy while it is killed: connections through the tunnel, several at a time, and a line with the
// time (Unix milliseconds) of each that was answered. Arguments: proxy port, server name.
import { request } from "node:https";
import { setTimeout as sleep } from "node:timers/promises";

const [port = "", servername = ""] = process.argv.slice(2);
const AT_ONCE = 4;
const LIMIT_MS = 1_000;
process.stdin.resume().once("end", () => process.exit(0));

function ask(): Promise<boolean> {
  return new Promise((resolve) => {
    const call = request(
      { port, host: "127.0.0.1", servername, agent: false, rejectUnauthorized: false, timeout: LIMIT_MS },
      (response) => {
        response.resume().once("end", () => resolve(response.statusCode === 200));
        response.once("error", () => resolve(false));
      },
    );
    call.once("timeout", () => call.destroy());
    call.once("error", () => resolve(false));
    call.end();
  });
}

await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    for (;;) {
      if (await ask()) process.stdout.write(`${Date.now()}\n`);
      else await sleep(20);
    }
  }),
);
