import { errorMessage } from "@dstack/core";
import { Command, CommanderError } from "commander";
import { registerBoot } from "./commands/boot.js";
import { registerEventlog } from "./commands/eventlog.js";
import { registerExtend } from "./commands/extend.js";
import { registerGenAppKeys } from "./commands/gen-app-keys.js";
import { registerGenCaCert } from "./commands/gen-ca-cert.js";
import { registerGenRaCert } from "./commands/gen-ra-cert.js";
import { registerHex } from "./commands/hex.js";
import { registerMeasure } from "./commands/measure.js";
import { registerQuote } from "./commands/quote.js";
import { registerRand } from "./commands/rand.js";
import { registerRenewTunnel } from "./commands/renew-tunnel.js";
import { registerReplay } from "./commands/replay.js";
import { registerReport } from "./commands/report.js";
import { registerShow } from "./commands/show.js";
import type { CliContext } from "./context.js";

/** Every command of tdxctl; a new one is one more line. */
const COMMANDS: readonly ((program: Command, context: CliContext) => void)[] = [
  registerReport,
  registerQuote,
  registerExtend,
  registerShow,
  registerEventlog,
  registerReplay,
  registerMeasure,
  registerHex,
  registerRand,
  registerGenRaCert,
  registerGenCaCert,
  registerGenAppKeys,
  registerBoot,
  registerRenewTunnel,
];

/** The tdxctl command line. */
export function createProgram(context: CliContext): Command {
  const program = new Command("tdxctl")
    .description("Ask this machine's TDX for reports and quotes, extend RTMR3, make keys and certificates.")
    .version("0.1.0")
    .option("--json", "print one JSON document instead of text or bytes")
    .option("--simulator-socket <path>", "the simulator's socket, used where there is no /dev/tdx_guest")
    .option("--event-log <path>", "log of the runtime events (default: /run/log/dstack/runtime_events.log)")
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => context.print(text),
      writeErr: (text) => context.printError(text),
    })
    .showHelpAfterError("(--help tells more)")
    .exitOverride()
    .addHelpText("after", "\nExit codes: 0 done, 1 failed, 2 wrong usage.");
  for (const register of COMMANDS) register(program, context);
  return program;
}

/**
 * Runs one command line and gives its exit code; a failure is one sentence on standard error.
 * @param argv as `process.argv`
 */
export async function run(program: Command, argv: readonly string[]): Promise<number> {
  try {
    await program.parseAsync(argv);
    return Number(process.exitCode ?? 0);
  } catch (err) {
    // commander has printed help, version, or what was wrong.
    if (err instanceof CommanderError) return err.exitCode === 0 ? 0 : 2;
    program.configureOutput().writeErr?.(`tdxctl: ${errorMessage(err)}\n`);
    return 1;
  }
}
