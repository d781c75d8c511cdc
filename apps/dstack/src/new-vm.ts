import { errorMessage } from "@dstack/core";
import { printResult, printable } from "./output.js";
import type { GlobalOptions } from "./output.js";
import { appUrls } from "./teepod.js";
import { bootOf } from "./wait.js";
import type { BootOptions } from "./wait.js";

/**
 * {@link bootOf}, with a document for `--json` when it fails: the VM is there even when its boot failed or the wait was
 * interrupted.
 * @param identity further fields of the document
 * @throws {CliError} as `waitReady`
 */
export async function bootTold(
  boot: BootOptions & { options: GlobalOptions },
  identity: object = {},
): Promise<void> {
  try {
    await bootOf(boot);
  } catch (err) {
    const document = { id: boot.id, ...identity, boot_error: errorMessage(err) };
    if (boot.options.json === true) printResult(boot.options, document, () => "");
    throw err;
  }
}

/**
 * Waits for a new VM's boot if that was asked for, and prints what is to be known of it: id and URLs.
 * @param identity further fields of the document
 * @throws {CliError} as `waitReady`
 */
export async function printNewVm(
  boot: BootOptions & { options: GlobalOptions },
  identity: object,
): Promise<void> {
  const { client, id, options } = boot;
  await bootTold(boot, identity);
  const { info } = await client.getInfo({ id });
  const urls = appUrls(info);
  printResult(options, { id, ...identity, ...urls }, () =>
    printable([id, urls.app_url ?? []].flat().join("\n")),
  );
}
