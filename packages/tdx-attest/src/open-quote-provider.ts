import { lstat } from "node:fs/promises";
import { errorCode } from "@dstack/core";
import { type LinuxProviderOptions, DEFAULT_DEVICE, openLinuxProvider } from "./linux/provider.js";
import { DeviceError, type QuoteProvider } from "./quote-provider.js";
import { SimulatorClient } from "./simulator-client.js";
import { DEFAULT_SIMULATOR_SOCKET } from "./simulator-protocol.js";

export interface OpenOptions extends LinuxProviderOptions {
  /** Default {@link DEFAULT_SIMULATOR_SOCKET}. */
  readonly simulatorSocket?: string | undefined;
}

/**
 * The platform of this machine: TDX hardware where its device exists, else the simulator service where its socket
 * does. Hardware that is there but fails is an error; it never becomes the simulator.
 * @throws {DeviceError} `no_device`: neither is there, or part of the hardware's interface is missing
 */
export async function openQuoteProvider(options: OpenOptions = {}): Promise<QuoteProvider> {
  const device = options.device ?? DEFAULT_DEVICE;
  if (await exists(device)) return openLinuxProvider(options);
  const socket = options.simulatorSocket ?? DEFAULT_SIMULATOR_SOCKET;
  if (await exists(socket)) return new SimulatorClient(socket);
  throw new DeviceError(
    "no_device",
    `no TDX here: there is neither ${device} (TDX guest driver) nor ${socket} (simulator service)`,
    { device, socket },
  );
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (err) {
    if (errorCode(err) === "ENOENT" || errorCode(err) === "ENOTDIR") return false;
    throw err;
  }
}
