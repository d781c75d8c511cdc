import { access } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { CliError } from "../output.js";
import { Home } from "./home.js";

/** The checkout this program was started from: `apps/dstack/dist/dstack.mjs` lies three folders below it. */
export function checkoutDir(): string {
  const main = process.argv[1];
  if (main === undefined) throw new CliError("cannot tell where dstack is installed");
  return resolve(dirname(main), "..", "..", "..");
}

/**
 * How a person calls this program for an installation, from where they are: `./scripts/dstack`. An installation made
 * with sudo is root's, and root's own default is another one.
 */
export function cliFor({ dir }: Pick<Home, "dir">): string {
  const home = bySudo() || dir !== Home.locate() ? ["--home", dir] : [];
  return script("dstack", ...home);
}

/** What the operator of an installation runs, from where they are, to let an app have another document. */
export function allowUpgradeFor({ dir }: Pick<Home, "dir">, appId: string, upgradedAppId: string): string {
  return script("kms-allow-upgrade.sh", "-c", join(dir, "kms.toml"), appId, upgradedAppId);
}

const bySudo = (): boolean => process.env["SUDO_UID"] !== undefined;

/** The command line for a shell of a script of this checkout. */
function script(name: string, ...args: string[]): string {
  const path = join(checkoutDir(), "scripts", name);
  const near = relative(process.cwd(), path);
  const words = [...(bySudo() ? ["sudo"] : []), near.startsWith("..") ? path : `./${near}`, ...args];
  return words.map(shellWord).join(" ");
}

const shellWord = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

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
