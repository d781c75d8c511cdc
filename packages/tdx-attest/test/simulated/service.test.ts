import { lstat, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { createServer } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import {
  SimulatedPlatform,
  SimulatorClient,
  type SimulatorServiceOptions,
  openQuoteProvider,
  startSimulatorService,
} from "../../src/index.js";
import { quoteProviderContract } from "../quote-provider-contract.js";
import { tempDir } from "../temp-dir.js";
import { oracleVerdict } from "./oracle.js";

const seed = new Uint8Array(32).fill(3);

async function start(options: Partial<SimulatorServiceOptions> = {}): Promise<string> {
  const dir = await tempDir();
  const device = join(dir, "no-device");
  const service = await startSimulatorService({
    seed,
    socketPath: join(dir, "sim.sock"),
    device,
    ...options,
  });
  onTestFinished(() => service[Symbol.asyncDispose]());
  return service.socketPath;
}

async function post(
  socketPath: string,
  path: string,
  body: string,
): Promise<{ status: number; text: string }> {
  const call = request({ socketPath, path, method: "POST" });
  call.end(body);
  const [response] = (await once(call, "response")) as [import("node:http").IncomingMessage];
  let text = "";
  for await (const chunk of response.setEncoding("utf8")) text += String(chunk);
  return { status: response.statusCode ?? 0, text };
}

describe("SimulatorClient of the simulator service", () => {
  quoteProviderContract(async () => {
    const socket = await start();
    return openQuoteProvider({ device: `${socket}.no-device`, simulatorSocket: socket });
  });
});

describe("startSimulatorService", () => {
  it("quotes under the root of its seed", async () => {
    const client = new SimulatorClient(await start());
    const now = Math.floor(Date.now() / 1000);
    const quote = await client.getQuote(new Uint8Array(64));
    expect(oracleVerdict(SimulatedPlatform.fromSeed(seed), quote, now).status).toBe("UpToDate");
  });

  it("E10: refuses to run where a real TDX device exists", async () => {
    const device = join(await tempDir(), "tdx_guest");
    await writeFile(device, "");
    await expect(start({ device })).rejects.toMatchObject({ code: "unsupported" });
  });

  it("makes a socket only its owner can use", async () => {
    expect((await lstat(await start())).mode & 0o777).toBe(0o600);
  });

  it("keeps the registers while clients come and go", async () => {
    const socket = await start();
    await new SimulatorClient(socket).extendRtmr(3, new Uint8Array(48));
    expect(await new SimulatorClient(socket).readRtmr(3)).not.toEqual(new Uint8Array(48));
  });

  it("takes the place of a service that died, but not of one that runs", async () => {
    const socketPath = join(await tempDir(), "sim.sock");
    const child = createServer().listen(socketPath);
    await once(child, "listening");
    await expect(start({ socketPath })).rejects.toThrow("already running");
    child.close();
    await once(child, "close");
    await writeFile(socketPath, "");
    await expect(start({ socketPath })).rejects.toThrow("not a socket");
  });

  it.each([
    ["/nothing", "{}", 'no "nothing"'],
    ["/quote", "{", "JSON"],
    ["/quote", `{"report_data":"00"}`, "64 bytes of hex"],
    ["/extend", `{"index":1,"digest":"${"00".repeat(48)}"}`, "index"],
    ["/extend", `{"index":3,"digest":"${"00".repeat(48)}","more":1}`, "more"],
    ["/quote", `"${"0".repeat(5000)}"`, "at most 4096 bytes"],
  ])("E11: answers %s with %s by 400 and a reason", async (path, body, reason) => {
    const { status, text } = await post(await start(), path, body);
    expect(status).toBe(400);
    expect((JSON.parse(text) as { error: string }).error).toContain(reason);
  });
});

describe("openQuoteProvider", () => {
  it("says what is missing where there is no platform", async () => {
    const dir = await tempDir();
    const opening = openQuoteProvider({ device: join(dir, "dev"), simulatorSocket: join(dir, "sock") });
    await expect(opening).rejects.toMatchObject({
      code: "no_device",
      message: expect.stringMatching(/neither .*dev .*nor .*sock/) as string,
    });
  });

  it("E10: never turns to the simulator where a device exists, even one that fails", async () => {
    const dir = await tempDir();
    await writeFile(join(dir, "dev"), "");
    const simulatorSocket = await start();
    const opening = openQuoteProvider({
      device: join(dir, "dev"),
      configfs: join(dir, "none"),
      simulatorSocket,
    });
    await expect(opening).rejects.toMatchObject({
      code: "no_device",
      message: expect.stringContaining("quotes") as string,
    });
  });
});
