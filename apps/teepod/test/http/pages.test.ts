import { appendFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { FakeHypervisor } from "../helpers/fake-hypervisor.js";
import { eventually } from "../helpers/eventually.js";
import { VIEWER, testpod, vmRequest } from "../helpers/testpod.js";

const headers = { authorization: `Bearer ${VIEWER}` };

const page = new Map([
  ["index.html", Buffer.from("<!doctype html><title>teepod</title>")],
  ["assets/index-1a.js", Buffer.from("1")],
  ["assets/index-1a.css", Buffer.from("a{}")],
]);

describe("the dashboard's files", () => {
  it("T6: come with a policy that runs nothing but files of teepod, and makes no text into markup", async () => {
    await using pod = await testpod({ hypervisor: new FakeHypervisor(), page });
    const types = {
      "/": "text/html",
      "/assets/index-1a.js": "text/javascript",
      "/assets/index-1a.css": "text/css",
    };
    for (const [path, type] of Object.entries(types)) {
      const answer = await fetch(`${pod.teepod.url}${path}`);
      expect([path, answer.headers.get("content-type")]).toEqual([path, `${type}; charset=utf-8`]);
      const csp = answer.headers.get("content-security-policy") ?? "";
      expect(csp).toMatch(/^default-src 'none'; script-src 'self'; style-src 'self'; /);
      expect(csp).toContain("frame-ancestors 'none'");
      expect(csp).toContain("require-trusted-types-for 'script'");
      expect(csp).not.toContain("unsafe");
      expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
    }
  });

  it("T1: are looked up by name and never become a path", async () => {
    await using pod = await testpod({ hypervisor: new FakeHypervisor(), page });
    for (const path of ["..%2findex.html", "%2e%2e%2f%2e%2e%2fpackage.json", "index-1a.map", "toString"]) {
      const answer = await fetch(`${pod.teepod.url}/assets/${path}`);
      expect([path, answer.status]).toEqual([path, 404]);
    }
  });

  it("say how they come where they are not", async () => {
    await using pod = await testpod({ hypervisor: new FakeHypervisor(), page: new Map() });
    expect(await (await fetch(`${pod.teepod.url}/`)).text()).toContain("pnpm --filter @dstack/teepod build");
  });
});

describe("/metrics", () => {
  it("has numbers for monitoring", async () => {
    await using pod = await testpod({ hypervisor: new FakeHypervisor() });
    await pod.client.createVm(vmRequest());
    const text = await (await fetch(`${pod.teepod.url}/metrics`, { headers })).text();
    expect(text).toContain('teepod_vms{state="running"} 1');
    expect(text).toContain('teepod_info{hypervisor="fake",simulated="false"} 1');
  });
});

describe("/logs", () => {
  it("gives the console, with every flag of the query", async () => {
    const hypervisor = new FakeHypervisor();
    await using pod = await testpod({ hypervisor });
    const { id } = await pod.client.createVm(vmRequest());
    const get = async (query: string) => fetch(`${pod.teepod.url}/logs?${query}`, { headers });
    expect(await (await get(`id=${id}`)).text()).toBe("");
    await hypervisor.vm(id).print("one\n\u001b[31mtwo\u001b[0m\nthree\n");
    const plain = await get(`id=${id}`);
    expect(plain.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    expect(await plain.text()).toBe("one\ntwo\nthree\n");
    expect(await (await get(`id=${id}&ansi=true`)).text()).toBe("one\n\u001b[31mtwo\u001b[0m\nthree\n");
    expect(await (await get(`id=${id}&ansi`)).text()).toContain("\u001b[31m");
    expect(await (await get(`id=${id}&ansi=false&lines=2`)).text()).toBe("two\nthree\n");
    expect((await get("follow=true")).status).toBe(400);
    expect((await get(`id=${id}&lines=x`)).status).toBe(400);
  });

  it("T1: knows VMs by their ids only", async () => {
    await using pod = await testpod({ hypervisor: new FakeHypervisor() });
    await writeFile(join(pod.site.dir, "serial.log"), "secret");
    for (const id of ["../", "..%2f", "%2e%2e", "x", "0d1f6c1e-8a35-4d5e-9c53-2f6a0f3f9b11"]) {
      const answer = await fetch(`${pod.teepod.url}/logs?id=${id}`, { headers });
      expect([id, answer.status, await answer.text()]).toEqual([
        id,
        404,
        '{"error":"there is no VM of that id"}',
      ]);
    }
  });

  it("follows until the reader goes", async () => {
    const hypervisor = new FakeHypervisor();
    await using pod = await testpod({ hypervisor });
    const { id } = await pod.client.createVm(vmRequest());
    const path = join(pod.site.runPath, id, "serial.log");
    const stop = new AbortController();
    // The console is silent; the headers come at once all the same.
    const answer = await fetch(`${pod.teepod.url}/logs?id=${id}&follow=true`, {
      headers,
      signal: stop.signal,
    });
    let seen = "";
    const reading = (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of answer.body ?? [])
        seen += decoder.decode(chunk as Uint8Array, { stream: true });
    })().catch(() => {});
    await appendFile(path, "a line\n");
    await eventually(
      "the first line",
      () => seen,
      (text) => text === "a line\n",
    );
    await appendFile(path, "another\n");
    await eventually(
      "the second line",
      () => seen,
      (text) => text === "a line\nanother\n",
    );
    stop.abort();
    await reading;
  });

  it("a reader that follows does not hold up teepod's end", async () => {
    await using pod = await testpod({ hypervisor: new FakeHypervisor() });
    const { id } = await pod.client.createVm(vmRequest());
    const answer = await fetch(`${pod.teepod.url}/logs?id=${id}&follow=true`, { headers });
    const text = answer.text();
    await pod.teepod[Symbol.asyncDispose]();
    expect(await text).toBe(""); // and not a connection that was cut, as the listener does with those that do not end
  });
});
