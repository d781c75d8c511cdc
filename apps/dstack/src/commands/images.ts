import type { Command } from "commander";
import { columns, printResult } from "../output.js";
import { teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodOptions } from "../teepod.js";
import { addTeepodOptions } from "./options.js";

/** `dstack images` */
export function registerImages(program: Command): void {
  addTeepodOptions(program.command("images").description("list the guest images of a host")).action(
    async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<TeepodOptions>();
      const { images } = await teepodClient(await teepodAddress(options)).listImages({});
      const rows = images.map(({ name, description }) => ({ name, description }));
      printResult(options, rows, () =>
        rows.length === 0
          ? "this host has no guest image; `scripts/build-image` makes one"
          : columns([["NAME", "WHAT"], ...rows.map(({ name, description }) => [name, description])]),
      );
    },
  );
}
