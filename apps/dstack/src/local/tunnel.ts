import { access } from "node:fs/promises";
import { execa } from "execa";
import { CliError } from "../output.js";
import type { Home } from "./home.js";
import { program } from "./programs.js";

/**
 * Removes the WireGuard interface that the local tproxy leaves behind, so that another start finds its guests again.
 * @throws {CliError} it cannot; with tproxy's own sentence
 */
export async function removeTunnel(home: Home): Promise<void> {
  const config = home.path("tproxy.toml");
  const isThere = await access(config).then(
    () => true,
    () => false,
  );
  if (!isThere) return;
  const [file = "", ...args] = await program("tproxy", "down", "-c", config);
  const { failed, stderr } = await execa(file, args, { cwd: home.dir, reject: false });
  if (failed) throw new CliError(`the WireGuard interface is not removed: ${stderr.trim()}`);
}
