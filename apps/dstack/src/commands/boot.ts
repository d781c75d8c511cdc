import type { Command } from "commander";
import { columns, printResult, printable } from "../output.js";
import { findVm, teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodOptions } from "../teepod.js";
import { vmCommand } from "./options.js";

/** `dstack boot` */
export function registerBoot(program: Command): void {
  vmCommand(program, "boot", "show the steps of a CVM's last boot, and how long each took").action(
    async (wanted: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<TeepodOptions>();
      const client = teepodClient(await teepodAddress(options));
      const vm = await findVm(client, wanted);
      const answer = await client.getBootTimeline({ id: vm.id });
      const steps = answer.steps.map(({ at, step, state, message }) => ({ at, step, state, message }));
      const began = Date.parse(steps[0]?.at ?? "");
      printResult(options, steps, () =>
        steps.length === 0
          ? `nothing yet: ${printable(vm.name)} is ${vm.status}`
          : columns([
              ["SECONDS", "STEP", "STATE", ""],
              ...steps.map(({ at, step, state, message }) => [
                ((Date.parse(at) - began) / 1000).toFixed(1).padStart(7),
                step,
                state,
                message,
              ]),
            ]),
      );
    },
  );
}
