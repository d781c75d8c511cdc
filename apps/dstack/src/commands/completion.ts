import { Argument } from "commander";
import type { Command } from "commander";
import { SHELLS, completionScript } from "../completion.js";
import type { Shell } from "../completion.js";

/** `dstack completion` */
export function registerCompletion(program: Command): void {
  program
    .command("completion")
    .description("print a script that completes commands in a shell")
    .addArgument(new Argument("<shell>", "which shell").choices(SHELLS))
    .addHelpText("after", "\nFor bash, in ~/.bashrc:  source <(dstack completion bash)")
    .action((shell: Shell) => {
      process.stdout.write(completionScript(program, shell));
    });
}
