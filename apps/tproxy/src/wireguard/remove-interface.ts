import { WireGuard } from "@dstack/wireguard-tools-wrapper";
import type { TproxyConfig } from "../config.js";
import { lockState } from "../state-lock.js";

/**
 * Removes the interface that a tproxy of this configuration left for its successor; every tunnel ends.
 * @returns whether there was one
 * @throws {InputError} that tproxy is running
 * @throws {WireGuardError} an interface of that name that is no WireGuard interface
 */
export async function removeInterface({ state_dir, wg }: TproxyConfig): Promise<boolean> {
  await using _lock = await lockState(state_dir);
  return await WireGuard.remove({ interfaceName: wg.interface });
}
