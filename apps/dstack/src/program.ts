import { Command } from "commander";
import { registerAudit } from "./commands/audit.js";
import { registerBoot } from "./commands/boot.js";
import { registerClone } from "./commands/clone.js";
import { registerCollateral } from "./commands/collateral.js";
import { registerCompletion } from "./commands/completion.js";
import { registerCompose } from "./commands/compose.js";
import { registerConfigure } from "./commands/configure.js";
import { registerDeploy } from "./commands/deploy.js";
import { registerDoctor } from "./commands/doctor.js";
import { registerDown } from "./commands/down.js";
import { registerEnv } from "./commands/env.js";
import { registerHost } from "./commands/host.js";
import { registerImages } from "./commands/images.js";
import { registerInit } from "./commands/init.js";
import { registerLogs } from "./commands/logs.js";
import { registerLs } from "./commands/ls.js";
import { registerMeasure } from "./commands/measure.js";
import { registerPower } from "./commands/power.js";
import { registerProxy } from "./commands/proxy.js";
import { registerShow } from "./commands/show.js";
import { registerSimulatedPcs } from "./commands/simulated-pcs.js";
import { registerStatus } from "./commands/status.js";
import { registerUp } from "./commands/up.js";
import { registerUpgrade } from "./commands/upgrade.js";
import { registerVerify } from "./commands/verify.js";

const GROUPS = [
  ["Apps:", [registerInit, registerDeploy, registerUpgrade, registerEnv, registerVerify, registerCompose]],
  ["CVMs:", [registerLs, registerShow, registerLogs, registerBoot, registerPower, registerClone]],
  ["Hosts:", [registerHost, registerImages, registerAudit]],
  ["This machine:", [registerUp, registerDown, registerStatus, registerDoctor, registerProxy]],
  ["Evidence:", [registerMeasure, registerCollateral]],
  ["Other:", [registerCompletion, registerConfigure, registerSimulatedPcs]],
] as const;

/** The whole command line. It throws commander's errors instead of ending the process. */
export function createProgram(): Command {
  const program = new Command("dstack")
    .description("Deploy Docker Compose apps into confidential VMs, and check what they are.")
    .version("0.1.0")
    .option("--json", "print one JSON document instead of text")
    .option("--home <dir>", "directory of the local installation (default: $DSTACK_HOME, else ~/.dstack)")
    .configureHelp({ showGlobalOptions: true })
    .exitOverride()
    .addHelpText(
      "after",
      `
First steps: \`dstack up\` here, or \`dstack host add <name> <url> --token-file <file>\` for a host there is;
then \`dstack init app && cd app && dstack deploy docker-compose.yaml --wait\`.

Exit codes: 0 done; 1 failed or refused; 2 wrong usage or, for \`verify\`, could not tell; 130 interrupted.
DSTACK_DEBUG=1 prints where an error came from.`,
    );
  for (const [heading, registers] of GROUPS) {
    program.commandsGroup(heading);
    for (const register of registers) register(program);
  }
  program.helpCommand("help [command]", "show the help of a command");
  // After an error, where to find help is enough: a screen of options would push the error out of sight.
  const pointToHelp = (command: Command, path: string): void => {
    command.showHelpAfterError(`See \`${path} --help\`.`);
    for (const child of command.commands) pointToHelp(child, `${path} ${child.name()}`);
  };
  pointToHelp(program, program.name());
  return program;
}
