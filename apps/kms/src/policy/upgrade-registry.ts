import { lstat, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { InputError, errorCode, parseAppId } from "@dstack/core";
import type { AppId } from "@dstack/core";

/**
 * Permissions to run another compose document under an app's keys: one file `<dir>/<app_id>/<new_app_id>` each (K2).
 * Looked up anew at every request, so that `kms-allow-upgrade.sh` takes effect at once, and so does removing a file.
 */
export class UpgradeRegistry {
  private constructor(private readonly dir: string) {}

  /**
   * Opens the registry, making its directory where there is none.
   * @throws {InputError} somebody else could write permissions into it
   */
  static async open(dir: string): Promise<UpgradeRegistry> {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const stat = await lstat(dir);
    if (!stat.isDirectory()) throw new InputError(`upgrade registry ${dir} is not a directory`);
    if ((stat.mode & 0o022) !== 0) {
      throw new InputError(`upgrade registry ${dir} may be written by others; run: chmod go-w ${dir}`);
    }
    return new UpgradeRegistry(dir);
  }

  /** True when exactly this upgrade was permitted. */
  async isAllowed(appId: AppId, upgradedAppId: AppId): Promise<boolean> {
    // Ids become path components: checked again here, so that no cast elsewhere can lead out of the directory.
    const path = join(this.dir, parseAppId(appId), parseAppId(upgradedAppId));
    try {
      return (await lstat(path)).isFile();
    } catch (err) {
      const code = errorCode(err);
      if (code === "ENOENT" || code === "ENOTDIR") return false;
      throw err;
    }
  }
}
