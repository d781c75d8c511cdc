import type { Command } from "commander";
import { request } from "undici";
import { CliError, printable } from "../output.js";
import { authHeaders, findVm, teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodOptions } from "../teepod.js";
import { addTeepodOptions, interruptSignal, wholeNumber } from "./options.js";

/** `dstack logs` */
export function registerLogs(program: Command): void {
  addTeepodOptions(
    program.command("logs").description("print a CVM's console").argument("<vm>", "id, name or app id"),
  )
    .option("-f, --follow", "go on as it grows")
    .option("-n, --lines <n>", "how many of the last lines", wholeNumber(1, 100_000), 100)
    .action(async (wanted: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<TeepodOptions & { follow?: boolean; lines: number }>();
      const address = await teepodAddress(options);
      const vm = await findVm(teepodClient(address), wanted);
      const url = new URL(`${address.url}/logs`);
      url.searchParams.set("id", vm.id);
      url.searchParams.set("lines", String(options.lines));
      url.searchParams.set("ansi", "false");
      url.searchParams.set("follow", String(options.follow === true));
      const signal = interruptSignal();
      const answer = await request(url, { headers: authHeaders(address), signal, bodyTimeout: 0 });
      if (answer.statusCode !== 200)
        throw new CliError(`teepod answers ${answer.statusCode}: ${await answer.body.text()}`);
      const decoder = new TextDecoder();
      // A serial console ends lines with CR LF: a CR at the end of a chunk waits for what follows.
      let held = "";
      try {
        for await (const chunk of answer.body) {
          const text = held + decoder.decode(chunk as Uint8Array, { stream: true });
          held = /\r*$/.exec(text)?.[0] ?? "";
          process.stdout.write(printable(text.slice(0, text.length - held.length)));
        }
      } catch (err) {
        if (!signal.aborted) throw err;
      }
    });
}
