import { randomBytes } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createConnection } from "node:net";
import { createApp, listenHttp, silentLogger } from "@dstack/daemon";
import type { AppOptions, Listener } from "@dstack/daemon";
import { kms, tappd, teepod } from "@dstack/proto";
import { InputError } from "@dstack/core";
import { Agent, request } from "undici";
import type { Dispatcher } from "undici";
import { RpcError, implement, mountPrpc } from "../src/index.js";
import type { Call, Handlers, ImplementOptions, MountOptions, ServiceImpl } from "../src/index.js";

export const MIB = 2 ** 20;

/** The app id that a test service answers about, and the errors it knows. */
const failures: Record<string, () => Error> = {
  input: () => new InputError("app id must be 40 lower-case hex digits"),
  unauthenticated: () => new RpcError("unauthenticated", "who are you"),
  denied: () => Object.assign(new Error("quote: signature is wrong"), { rpcCode: "permission_denied" }),
  many: () => new RpcError("too_many", "slow down", { retryAfterSeconds: 7 }),
  secret: () => new Error("connect ECONNREFUSED 10.0.0.1, password hunter2"),
};

/** A KMS of which every answer can be told from its request. */
export function testKms(
  options: ImplementOptions & { onCall?: (call: Call) => Promise<void> } = {},
): ServiceImpl {
  const { onCall, ...rest } = options;
  return implement(
    kms.KMS,
    {
      getAppKey: async (_request, call) => {
        await onCall?.(call);
        return { appKey: "pem", diskCryptKey: Uint8Array.of(0xab, 0xcd), certificateChain: ["leaf", "ca"] };
      },
      getChallenge: async () => ({}),
      getAppEnvEncryptPubKey: async ({ appId }) => {
        const failure = failures[appId];
        if (failure !== undefined) throw failure();
        return { publicKey: new TextEncoder().encode(appId) };
      },
      getMeta: async () => ({ caCert: "grün 🔑" }),
    },
    rest,
  );
}

export const testTappd: ServiceImpl = implement(tappd.Tappd, {
  deriveKey: async ({ path, subject, altNames }) => ({
    key: `${path}|${subject}`,
    certificateChain: altNames,
  }),
  tdxQuote: async ({ reportData, hashAlgorithm }) => ({ quote: reportData, eventLog: hashAlgorithm }),
  rawQuote: async ({ reportData }) => ({ quote: reportData }),
  info: async () => ({ appId: "tappd" }),
});

/** Handlers of Teepod that answer what they got, for the shapes of its messages. */
export function testTeepod(changes: Partial<Handlers<typeof teepod.Teepod>> = {}): ServiceImpl {
  const unexpected = (): Promise<never> => Promise.reject(new Error("not part of this test"));
  return implement(
    teepod.Teepod,
    {
      createVm: async ({ name }) => ({ id: name }),
      startVm: async () => ({}),
      stopVm: unexpected,
      shutdownVm: unexpected,
      removeVm: unexpected,
      upgradeApp: unexpected,
      status: async () => ({ vms: [{ id: "vm" }] }),
      listImages: unexpected,
      getAppEnvEncryptPubKey: unexpected,
      getInfo: async () => ({ found: false }),
      resizeVm: async () => ({}),
      getBootTimeline: unexpected,
      getAuditLog: unexpected,
      ...changes,
    },
    { aliases: { CreateVM: "CreateVm", ListVms: "Status" } },
  );
}

export interface TestServer extends AsyncDisposable {
  readonly listener: Listener;
  fetch(
    path: string,
    options?: Omit<Dispatcher.RequestOptions, "path" | "method"> & { method?: string },
  ): Promise<Answer>;
  /** Writes bytes on a new connection and reads until the server closes it or the text matches. */
  raw(bytes: string | Buffer, until?: RegExp): Promise<string>;
  /** Writes bytes on a new connection and closes it, without reading. */
  abandon(bytes: string): Promise<void>;
}

export interface Answer {
  status: number;
  headers: Record<string, unknown>;
  bytes: Buffer;
  text: string;
  json: unknown;
}

/** Serves on a unix socket. */
export async function serve(
  services: readonly ServiceImpl[],
  mount: MountOptions = {},
  options: Partial<AppOptions> = {},
): Promise<TestServer> {
  const app = createApp({ log: silentLogger(), ...options });
  mountPrpc(app, services, mount);
  const path = join(tmpdir(), `prpc-${randomBytes(6).toString("hex")}.sock`);
  const listener = await listenHttp({ app, address: { path, mode: 0o600 } });
  const agent = new Agent({ connect: { socketPath: path } });
  return {
    listener,
    async fetch(target, { method = "POST", ...rest } = {}) {
      const dispatch: Parameters<typeof request>[1] = {
        ...rest,
        method: method as "POST",
        dispatcher: agent,
      };
      const response = await request(`http://localhost${target}`, dispatch);
      const bytes = Buffer.from(await response.body.arrayBuffer());
      const text = bytes.toString();
      return {
        status: response.statusCode,
        headers: response.headers,
        bytes,
        text,
        json: text.startsWith("{") ? JSON.parse(text) : undefined,
      };
    },
    raw(bytes, until) {
      return new Promise((resolve, reject) => {
        const socket = createConnection(path, () => socket.write(bytes));
        let text = "";
        socket.on("data", (chunk: Buffer) => {
          text += chunk.toString("latin1");
          if (until?.test(text) === true) socket.destroy();
        });
        socket.on("error", reject);
        socket.on("close", () => resolve(text));
      });
    },
    abandon(bytes) {
      return new Promise((resolve) => {
        const socket = createConnection(path, () => socket.write(bytes, () => socket.destroy()));
        socket.on("close", () => resolve());
      });
    },
    async [Symbol.asyncDispose]() {
      await agent.destroy();
      await listener[Symbol.asyncDispose]();
    },
  };
}
