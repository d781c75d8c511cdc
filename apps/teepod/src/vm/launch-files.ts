import { join } from "node:path";
import { allowedEnvs } from "@dstack/app-compose";
import { appIdOfCompose, utf8, writeFileAtomic } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import type { GuestImage } from "../images/image.js";
import { osImageHash } from "../images/os-image-hash.js";
import { INSTANCE_INFO, formatInstanceInfo, readInstanceInfo } from "./instance-info.js";
import type { InstanceInfo } from "./instance-info.js";
import type { Manifest } from "./manifest.js";
import { writeSharedFolder } from "./shared-folder.js";
import type { GuestCertificates, GuestHints } from "./shared-folder.js";
import { clearStatusShare } from "./status-share.js";

/** What teepod puts into every guest's shared folder. */
export interface GuestMaterial {
  readonly hints: GuestHints;
  readonly certificates: GuestCertificates;
  /** The text of `simulator.json` for an image, or none. */
  simulator(image: GuestImage): Promise<string | undefined>;
  /** The text of `authorized_keys` for an image, or none. */
  authorizedKeys(image: GuestImage): Promise<string | undefined>;
}

/** The last usable `.instance_info` of the guest, out of the guest's reach. */
const KEPT_INSTANCE_INFO = "instance-info.json";

/**
 * What the guest last said about itself. On its share while it runs; kept beside the share between boots.
 */
export async function currentInstanceInfo(dir: string, log: Logger): Promise<InstanceInfo | undefined> {
  const said = await readInstanceInfo(join(dir, "status", INSTANCE_INFO), log);
  return said ?? (await readInstanceInfo(join(dir, KEPT_INSTANCE_INFO), log));
}

/**
 * Prepares a VM's directory for a boot: an empty status share, and a shared folder made from the manifest. Only while
 * the VM does not run.
 */
export async function prepareLaunch(
  dir: string,
  manifest: Manifest,
  image: GuestImage,
  material: GuestMaterial,
  log: Logger,
): Promise<void> {
  const known = await currentInstanceInfo(dir, log);
  if (known !== undefined) {
    await writeFileAtomic(join(dir, KEPT_INSTANCE_INFO), formatInstanceInfo(known), { mode: 0o600 });
  }
  // The last boot's progress must not be taken for this one's, and nothing the guest left there piles up.
  await clearStatusShare(join(dir, "status"));

  // A guest that knows nothing takes its app id from the compose document it gets, which may not be the app's first.
  const ownId = appIdOfCompose(utf8(manifest.compose_file));
  const instanceInfo =
    known ?? (ownId === manifest.app_id ? undefined : { bootstrapped: false, appId: manifest.app_id });
  const imageHash = await osImageHash(image);
  const simulator = await material.simulator(image);
  const authorizedKeys = await material.authorizedKeys(image);
  await writeSharedFolder(join(dir, "shared"), {
    composeFile: manifest.compose_file,
    vmId: manifest.id,
    rootfsHash: image.rootfsHash,
    vmConfig: {
      image: image.name,
      ...(imageHash !== undefined && { os_image_hash: imageHash }),
      cpu_count: manifest.vcpu,
      memory_size: manifest.memory_mb * 2 ** 20,
    },
    hints: material.hints,
    certificates: material.certificates,
    // Of a document that allows no variable any more the guest would refuse whatever it is given. It is kept all the
    // same: an upgrade that is taken back finds it again.
    encryptedEnv: allowedEnvs(manifest.compose_file).length > 0 ? manifest.encrypted_env : new Uint8Array(),
    ...(instanceInfo !== undefined && { instanceInfo }),
    ...(simulator !== undefined && { simulator }),
    ...(authorizedKeys !== undefined && { authorizedKeys }),
  });
}
