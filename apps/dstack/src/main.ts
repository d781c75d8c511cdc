import { InputError, TimeoutError, errorCode } from "@dstack/core";
import { RpcError } from "@dstack/prpc";
import { Command, CommanderError } from "commander";
import { registerDeploy } from "./commands/deploy.js";
import { registerDoctor } from "./commands/doctor.js";
import { registerDown } from "./commands/down.js";
import { registerLogs } from "./commands/logs.js";
import { registerLs } from "./commands/ls.js";
import { registerPower } from "./commands/power.js";
import { registerSimulatedPcs } from "./commands/simulated-pcs.js";
import { registerStatus } from "./commands/status.js";
import { registerUp } from "./commands/up.js";
import { registerUpgrade } from "./commands/upgrade.js";
import { registerVerify } from "./commands/verify.js";
import { CliError } from "./output.js";

const program = new Command("dstack")
  .description("Deploy Docker Compose apps into confidential VMs, and check what they are.")
  .version("0.1.0")
  .option("--json", "print one JSON document instead of text")
  .option("--home <dir>", "directory of the local installation (default: $DSTACK_HOME, else ~/.dstack)")
  .showHelpAfterError()
  .exitOverride()
  .addHelpText(
    "after",
    "\nExit codes: 0 done, 1 failed or refused, 2 wrong usage or, for `verify`, could not tell.",
  );

for (const register of [
  registerUp,
  registerDown,
  registerStatus,
  registerDeploy,
  registerUpgrade,
  registerLs,
  registerLogs,
  registerPower,
  registerVerify,
  registerDoctor,
  registerSimulatedPcs,
]) {
  register(program);
}

/** One sentence for a person; `DSTACK_DEBUG=1` adds where it came from. */
function explain(err: unknown): string {
  if (process.env["DSTACK_DEBUG"] === "1" && err instanceof Error) return err.stack ?? err.message;
  if (
    err instanceof CliError ||
    err instanceof InputError ||
    err instanceof RpcError ||
    err instanceof TimeoutError
  )
    return err.message;
  const code = errorCode(err);
  if (code === "ECONNREFUSED") return "the teepod does not answer; `dstack status` tells whether it runs";
  return err instanceof Error ? err.message : String(err);
}

try {
  await program.parseAsync();
} catch (err) {
  if (err instanceof CommanderError) {
    // Help and version end with 0; commander has printed what was wrong already.
    process.exitCode = err.exitCode === 0 ? 0 : 2;
  } else {
    process.stderr.write(`dstack: ${explain(err)}\n`);
    process.exitCode = err instanceof CliError ? err.exitCode : 1;
  }
}
