import { access } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { CliError } from "../output.js";

/** The checkout this program was started from: `apps/dstack/dist/dstack.mjs` lies three folders below it. */
export function checkoutDir(): string {
  const main = process.argv[1];
  if (main === undefined) throw new CliError("cannot tell where dstack is installed");
  return resolve(dirname(main), "..", "..", "..");
}

/**
 * The command line of another program of this checkout.
 * @throws {CliError} it has not been built
 */
export async function program(
  name: "kms" | "tproxy" | "teepod" | "dstack",
  ...args: string[]
): Promise<string[]> {
  const path = join(checkoutDir(), "apps", name, "dist", `${name}.mjs`);
  await access(path).catch(() => {
    throw new CliError(`${path} is not there: run scripts/setup, which builds the programs`);
  });
  return [process.execPath, path, ...args];
}
