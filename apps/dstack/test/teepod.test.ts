import { withDeadline } from "@dstack/core";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RpcError } from "@dstack/prpc";
import { describe, expect, it, vi } from "vitest";
import { Home } from "../src/local/home.js";
import { localClient, teepodAddress, teepodClient } from "../src/teepod.js";
import { fakeTeepod } from "./fake-teepod.js";

describe("the client of a teepod", () => {
  it("says where nobody answers, and what to do", async () => {
    const call = teepodClient({ url: "http://127.0.0.1:1", token: undefined }).status({});
    await expect(call).rejects.toThrow(
      "no teepod answers at http://127.0.0.1:1 (ECONNREFUSED); `dstack status` tells whether the local one runs",
    );
  });

  it("gives up on one that has stopped answering", async () => {
    await using pod = await fakeTeepod({ status: () => new Promise(() => {}) });
    await expect(teepodClient(pod, 100).status({})).rejects.toThrow("has not answered within 0.1 s");
  });

  it("DSTACK_TIMEOUT says when to give up", async () => {
    await using pod = await fakeTeepod({ status: () => new Promise(() => {}) });
    vi.stubEnv("DSTACK_TIMEOUT", "1");
    await expect(teepodClient(pod).status({})).rejects.toThrow("has not answered within 1 s");
    for (const wrong of ["0", "1.5", "soon"]) {
      vi.stubEnv("DSTACK_TIMEOUT", wrong);
      expect(() => teepodClient(pod)).toThrow(`up to 9999, not ${wrong}`);
    }
    vi.unstubAllEnvs();
  });

  it("leaves the reason of the caller's own limit alone", async () => {
    await using pod = await fakeTeepod({ status: () => new Promise(() => {}) });
    const wait = withDeadline("booting", 50, (signal) => teepodClient(pod).status({}, { signal }));
    await expect(wait).rejects.toThrow("booting took longer than 50 ms");
  });

  it("says how to give a token", async () => {
    await using pod = await fakeTeepod({
      status: async () => {
        throw new RpcError("unauthenticated", "the bearer token is not known here");
      },
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

  it("of this installation is asked by `up` and `down`, whatever teepod the environment names", async () => {
    await using here = await fakeTeepod({ status: async () => ({ vms: [] }) });
    const dir = await mkdtemp(join(tmpdir(), "dstack-home-"));
    vi.stubEnv("DSTACK_TEEPOD_URL", "http://127.0.0.1:1");
    try {
      const home = await Home.open(dir);
      await expect(localClient(home)).rejects.toThrow("`dstack up` does it");
      const teepod = Number(new URL(here.url).port);
      const ports = {
        pcs: 0,
        kms: 0,
        tproxy: 0,
        tproxyAdmin: 0,
        proxy: 0,
        wireguard: 0,
        registry: 0,
        teepod,
      };
      await home.update({ ports });
      expect((await (await localClient(home)).status({})).vms).toEqual([]);
    } finally {
      vi.unstubAllEnvs();
      await rm(dir, { recursive: true });
    }
  });
});
