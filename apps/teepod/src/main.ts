import { Command } from "commander";
import { createLogger, loadConfig, runDaemon } from "@dstack/daemon";
import { errorMessage } from "@dstack/core";
import { TeepodConfig } from "./config.js";
import { acceleration, startTeepod } from "./service.js";
import { VERSION } from "./version.js";
import { VmStore } from "./vm/vm-store.js";

const DEFAULT_CONFIG = "teepod.toml";

interface Options {
  readonly config: string;
}

async function load({ config }: Options): Promise<TeepodConfig> {
  return loadConfig(TeepodConfig, { path: config });
}

async function run(options: Options): Promise<void> {
  await runDaemon("teepod", async () => {
    const config = await load(options);
    const log = createLogger({ name: "teepod", level: config.log_level });
    const teepod = await startTeepod(config, { log });
    log.info({ url: teepod.url }, "teepod is serving");
    return teepod;
  });
}

async function probe(options: Options): Promise<void> {
  const config = await load(options);
  const runPath = await VmStore.prepare(config.run_path);
  const { acceleration: chosen, reason } = await acceleration(config, runPath, { fresh: true });
  process.stdout.write(`${chosen}\n${reason}\n`);
}

const program = new Command("teepod")
  .description("manages the confidential VMs of this host")
  .version(VERSION)
  .option("-c, --config <file>", "configuration file", DEFAULT_CONFIG);
program
  .command("run", { isDefault: true })
  .description("serve the API (default)")
  .action(() => run(program.opts<Options>()));
program
  .command("probe")
  .description("boot a test payload and print the acceleration VMs of this host get")
  .action(() => probe(program.opts<Options>()));

program.parseAsync().catch((err: unknown) => {
  process.stderr.write(`teepod: ${errorMessage(err)}\n`);
  process.exitCode = 1;
});
