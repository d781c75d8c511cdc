import { chmod, lstat, unlink } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { connect } from "node:net";
import { InputError, errorCode, errorMessage, fromHex, hex } from "@dstack/core";
import { z } from "zod";
import { DeviceError } from "../quote-provider.js";
import {
  DEFAULT_SIMULATOR_SOCKET,
  SIMULATOR_OPERATIONS,
  type SimulatorOperation,
  type SimulatorRequest,
  type SimulatorResponse,
} from "../simulator-protocol.js";
import { requireRtmrIndex } from "../lengths.js";
import { close, listen } from "./http.js";
import type { LaunchMeasurements } from "./launch.js";
import { SimulatedPlatform } from "./platform.js";
import { SimulatedProvider } from "./provider.js";

/** No request of ours is longer than 64 bytes of hex and a name. */
const MAX_REQUEST_BYTES = 4096;
const DEVICE = "/dev/tdx_guest";

export interface SimulatorServiceOptions {
  /** 32 bytes. */
  readonly seed: Uint8Array;
  readonly launch?: LaunchMeasurements | undefined;
  readonly socketPath?: string | undefined;
  /** Where real hardware would show; tests name another place. */
  readonly device?: string | undefined;
}

export interface SimulatorService extends AsyncDisposable {
  readonly socketPath: string;
  /** Trust anchor of the quotes, see {@link SimulatedPlatform.rootSha256}. */
  readonly rootSha256: string;
}

/**
 * The stand-in for TDX in a guest: holds the registers of one trust domain from its start to the end of the process
 * and quotes them over a unix socket (mode 0600). NOT hardware.
 * @throws {DeviceError} `unsupported` where a real TDX device exists
 * @throws {InputError} the socket is in use, or something else has its name
 */
export async function startSimulatorService(options: SimulatorServiceOptions): Promise<SimulatorService> {
  const device = options.device ?? DEVICE;
  if (await exists(device)) {
    throw new DeviceError("unsupported", `${device} exists: the simulator does not run beside real TDX`);
  }
  const platform = SimulatedPlatform.fromSeed(options.seed);
  const provider = new SimulatedProvider({ platform, launch: options.launch });
  const socketPath = options.socketPath ?? DEFAULT_SIMULATOR_SOCKET;
  await removeStaleSocket(socketPath);
  const server = await listen({ path: socketPath }, (request, response) =>
    answer(provider, request, response),
  );
  await chmod(socketPath, 0o600);
  return { socketPath, rootSha256: platform.rootSha256, [Symbol.asyncDispose]: () => close(server) };
}

type Handlers = {
  [Op in SimulatorOperation]: (
    provider: SimulatedProvider,
    request: SimulatorRequest<Op>,
  ) => Promise<SimulatorResponse<Op>>;
};

const handlers: Handlers = {
  quote: async (td, { report_data }) => ({ quote: hex(await td.getQuote(fromHex(report_data))) }),
  report: async (td, { report_data }) => ({ report: hex(await td.getReport(fromHex(report_data))) }),
  read: async (td, { index }) => ({ value: hex(await td.readRtmr(requireRtmrIndex(index))) }),
  extend: async (td, { index, digest }) => {
    await td.extendRtmr(index, fromHex(digest));
    return {};
  },
  events: async (td) => ({ events: await td.bootEvents() }),
};

async function answer(
  td: SimulatedProvider,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  let status = 200;
  let body: unknown;
  try {
    body = await dispatch(td, request);
  } catch (err) {
    if (!(err instanceof InputError)) throw err;
    status = 400;
    body = { error: errorMessage(err) };
  }
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

async function dispatch(td: SimulatedProvider, request: IncomingMessage): Promise<unknown> {
  const name = request.url?.slice(1) ?? "";
  if (request.method !== "POST" || !isOperation(name)) throw new InputError(`the simulator has no "${name}"`);
  return perform(td, name, await readBody(request));
}

async function perform<Op extends SimulatorOperation>(
  td: SimulatedProvider,
  name: Op,
  body: unknown,
): Promise<unknown> {
  const parsed = SIMULATOR_OPERATIONS[name].request.safeParse(body);
  if (!parsed.success) throw new InputError(`${name}: ${z.prettifyError(parsed.error)}`);
  return handlers[name](td, parsed.data);
}

function isOperation(name: string): name is SimulatorOperation {
  return Object.hasOwn(SIMULATOR_OPERATIONS, name);
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  let text = "";
  request.setEncoding("utf8");
  for await (const chunk of request as AsyncIterable<string>) {
    text += chunk;
    if (text.length > MAX_REQUEST_BYTES)
      throw new InputError(`a request has at most ${MAX_REQUEST_BYTES} bytes`);
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (err) {
    throw new InputError("a request is JSON", { cause: err });
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (err) {
    if (errorCode(err) === "ENOENT") return false;
    throw err;
  }
}

/** A socket nobody listens on is left from a process that ended. */
async function removeStaleSocket(path: string): Promise<void> {
  if (!(await exists(path))) return;
  if (!(await lstat(path)).isSocket()) throw new InputError(`${path} exists and is not a socket`);
  const answered = await new Promise<boolean>((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
  if (answered) throw new InputError(`${path} is in use: a simulator is already running`);
  await unlink(path);
}
