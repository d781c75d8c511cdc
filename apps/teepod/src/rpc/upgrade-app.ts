import type { teepod } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import type { TeepodContext } from "../context.js";
import type { Caller } from "../http/caller.js";

/**
 * Gives an app a new compose document and keeps its disk. Applies when the VM is stopped and started; the KMS has
 * to allow the pair of the app's id and the id answered here.
 */
export const upgradeApp =
  ({ vms }: TeepodContext): Handler<typeof teepod.UpgradeAppRequestSchema, typeof teepod.IdSchema, Caller> =>
  async ({ id, composeFile, encryptedEnv, expectedEtag }) => ({
    id: await vms.upgrade(id, composeFile, encryptedEnv, expectedEtag),
  });
