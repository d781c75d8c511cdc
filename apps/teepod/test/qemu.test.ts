import { readdir } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { sleep } from "@dstack/core";
import { OPERATOR, testpod, vmRequest } from "./helpers/testpod.js";

describe("a VM in QEMU", () => {
  it("smoke", async () => {
    await using pod = await testpod({});
    const { id } = await pod.client.createVm(vmRequest());
    await sleep(3000);
    console.log(await pod.client.status());
    const r = await fetch(`${pod.teepod.url}/logs?id=${id}`, {
      headers: { authorization: `Bearer ${OPERATOR}` },
    });
    console.log(r.status, await r.text());
    await pod.client.shutdownVm({ id });
    await sleep(2000);
    console.log((await pod.client.status()).vms);
    await pod.client.removeVm({ id });
    expect(await readdir(pod.site.runPath)).toEqual(["audit.log"]);
  });
});
