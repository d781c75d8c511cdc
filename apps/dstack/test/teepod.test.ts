import { withDeadline } from "@dstack/core";
import { createApp, listenHttp, silentLogger } from "@dstack/daemon";
import { teepod } from "@dstack/proto";
import { RpcError, implement, mountPrpc } from "@dstack/prpc";
import { describe, expect, it, vi } from "vitest";
import { teepodAddress, teepodClient } from "../src/teepod.js";

/** A teepod that answers `Status` as the test wants. */
async function fakeTeepod(status: () => Promise<object>) {
  const app = createApp({ log: silentLogger() });
  const unused = async (): Promise<never> => {
    throw new RpcError("internal", "not part of this test");
  };
  mountPrpc(app, [
    implement(teepod.Teepod, {
      createVm: unused,
      startVm: unused,
      stopVm: unused,
      shutdownVm: unused,
      removeVm: unused,
      upgradeApp: unused,
      resizeVm: unused,
      status,
      listImages: unused,
      getInfo: unused,
      getAppEnvEncryptPubKey: unused,
    }),
  ]);
  const listener = await listenHttp({ app, address: { host: "127.0.0.1", port: 0 } });
  return {
    url: `http://127.0.0.1:${listener.port}`,
    token: undefined,
    [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose](),
  };
}

describe("the client of a teepod", () => {
  it("says where nobody answers, and what to do", async () => {
    const call = teepodClient({ url: "http://127.0.0.1:1", token: undefined }).status({});
    await expect(call).rejects.toThrow(
      "no teepod answers at http://127.0.0.1:1 (ECONNREFUSED); `dstack status` tells whether the local one runs",
    );
  });

  it("gives up on one that has stopped answering", async () => {
    await using pod = await fakeTeepod(() => new Promise(() => {}));
    await expect(teepodClient(pod, 100).status({})).rejects.toThrow("has not answered within 0.1 s");
  });

  it("leaves the reason of the caller's own limit alone", async () => {
    await using pod = await fakeTeepod(() => new Promise(() => {}));
    const wait = withDeadline("booting", 50, (signal) => teepodClient(pod).status({}, { signal }));
    await expect(wait).rejects.toThrow("booting took longer than 50 ms");
  });

  it("says how to give a token", async () => {
    await using pod = await fakeTeepod(async () => {
      throw new RpcError("unauthenticated", "the bearer token is not known here");
    });
    await expect(teepodClient(pod).status({})).rejects.toThrow(
      "the bearer token is not known here; give --token or set DSTACK_TEEPOD_TOKEN",
    );
  });

  it.each(["bogus", "ftp://127.0.0.1"])("takes %s for wrong usage", async (host) => {
    await expect(teepodAddress({ host })).rejects.toMatchObject({ exitCode: 2 });
    vi.stubEnv("DSTACK_TEEPOD_URL", host);
    await expect(teepodAddress({})).rejects.toThrow("must be a URL such as http://127.0.0.1:9080");
    vi.unstubAllEnvs();
  });
});
