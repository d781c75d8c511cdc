import type { Command } from "commander";
import { isRunning } from "../local/daemons.js";
import { DAEMON_NAMES, Home } from "../local/home.js";
import { CliError, printResult } from "../output.js";
import type { GlobalOptions } from "../output.js";

/** `dstack status`: exit code 0 when every daemon runs, 1 otherwise. */
export function registerStatus(program: Command): void {
  program
    .command("status")
    .description("show the daemons of the local installation")
    .action(async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const dir = Home.locate(options.home);
      const home = await Home.openIfAny(dir);
      if (home?.state.ports === undefined)
        throw new CliError(`nothing is set up in ${dir}; \`dstack up\` does it`);
      const { ports } = home;
      const rows: { name: string; running: boolean; pid: number | undefined; port: number; log: string }[] =
        [];
      for (const name of DAEMON_NAMES) {
        const running = isRunning(home, name);
        rows.push({
          name,
          running,
          pid: running ? home.state.daemons[name]?.pid : undefined,
          port: ports[name],
          log: home.path("logs", `${name}.log`),
        });
      }
      printResult(options, { home: dir, daemons: rows, simulated_platform: true }, () =>
        [
          ...rows.map(
            (r) =>
              `${r.name.padEnd(9)} ${r.running ? `running  pid ${r.pid}` : "stopped"}  port ${r.port}  ${r.log}`,
          ),
          "The platform is simulated: nothing here is protected by hardware.",
        ].join("\n"),
      );
      if (rows.some((r) => !r.running))
        throw new CliError("not everything is running; `dstack up` starts the rest");
    });
}
