import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { IncomingHttpHeaders, RequestListener } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { join } from "node:path";
import type { AddressInfo, Server } from "node:net";
import { pipeline } from "node:stream/promises";
import { sleep } from "@dstack/core";
import { ResourceStack, silentLogger } from "@dstack/daemon";
import { CertificateAuthority, generateP256 } from "@dstack/ra-tls";
import { afterEach, describe, expect, it } from "vitest";
import { freePort } from "../../../packages/core/test/support/ports.js";
import { TeepodConfig } from "../src/index.js";
import type { TeepodConfigInput } from "../src/index.js";
import type { HostItem, OtherVmItem } from "../src/dashboard/items.js";
import { OtherHosts } from "../src/other-hosts/other-hosts.js";
import { eventually } from "./helpers/eventually.js";
import { FakeHypervisor } from "./helpers/fake-hypervisor.js";
import { OPERATOR, Site, VIEWER, client, testpod, vmRequest } from "./helpers/testpod.js";

const ID = "0d1f6c1e-8a35-4d5e-9c53-2f6a0f3f9b11";
const VM = { id: ID, name: "hello", status: "running", app_id: "ab".repeat(20), image: "tiny-0.0.1" };

let stack = new ResourceStack();
afterEach(async () => {
  await stack[Symbol.asyncDispose]();
  stack = new ResourceStack();
});

type HostInput = NonNullable<TeepodConfigInput["other_hosts"]>;

/** Asks other hosts, without waiting between two questions. */
async function ask(hosts: HostInput, token: string, links: HostInput = []): Promise<OtherHosts> {
  const site = stack.use(await Site.make());
  const file = join(site.dir, "token");
  await writeFile(file, `${token}\n`);
  const config = TeepodConfig.parse(
    site.config({ other_hosts: [...hosts.map((host) => ({ token_file: file, ...host })), ...links] }),
  );
  const clock = { now: () => new Date(), sleep: (_: number, signal: AbortSignal) => sleep(20, signal) };
  return stack.use(await OtherHosts.open(config.other_hosts, { clock, log: silentLogger() }));
}

const hostOf = (others: OtherHosts, name = "berlin") =>
  others.items().find((item): item is HostItem => item.kind === "host" && item.name === name);
const vmsOf = (others: OtherHosts, name = "berlin") =>
  others.items().filter((item): item is OtherVmItem => item.kind === "other-vm" && item.host === name);

async function untilIt(others: OtherHosts, state: HostItem["state"], name = "berlin"): Promise<HostItem> {
  const item = await eventually(
    `${name} is ${state}`,
    () => hostOf(others, name),
    (host) => host?.state === state,
  );
  if (item === undefined) throw new Error("no such host");
  return item;
}

/** A server that is no teepod. */
async function listen(server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  stack.defer(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const answering = (listener: RequestListener): Promise<string> => {
  const server = createServer(listener);
  stack.defer(() => server.closeAllConnections());
  return listen(server);
};

async function* spaces(): AsyncGenerator<Buffer> {
  for (;;) yield Buffer.alloc(65_536, " ");
}

describe("other hosts", () => {
  it("their VMs are listed as they are, and stay with their time when a host goes, until it is back", async () => {
    const berlin = stack.use(await Site.make());
    const parts = { hypervisor: new FakeHypervisor() };
    const first = await berlin.start(berlin.config({ port: await freePort() }), parts);
    const oslo = stack.use(await testpod({ hypervisor: new FakeHypervisor() }));
    const { id } = await client(first).createVm(vmRequest());
    const others = await ask(
      [
        { name: "berlin", url: first.url },
        { name: "oslo", url: oslo.teepod.url },
      ],
      VIEWER,
    );
    expect(await untilIt(others, "reachable")).toEqual({
      kind: "host",
      id: "berlin",
      name: "berlin",
      url: first.url,
      state: "reachable",
      since: expect.stringMatching(/Z$/),
    });
    await untilIt(others, "reachable", "oslo");
    expect(vmsOf(others)).toMatchObject([
      { id: `berlin/${id}`, vm_id: id, name: "hello", status: "running" },
    ]);
    expect(vmsOf(others, "oslo")).toEqual([]);

    await first[Symbol.asyncDispose]();
    const gone = await untilIt(others, "unreachable");
    expect(gone.detail).toBe("no connection (ECONNREFUSED)");
    expect(Date.parse(gone.since)).toBeGreaterThanOrEqual(Date.parse(gone.seen_at ?? ""));
    expect(vmsOf(others)).toMatchObject([{ name: "hello", status: "running" }]);
    expect(hostOf(others, "oslo")?.state).toBe("reachable");

    const second = stack.use(await berlin.start(berlin.config({ port: first.port }), parts));
    expect(await untilIt(others, "reachable")).not.toHaveProperty("seen_at");
    await client(second).stopVm({ id });
    await eventually(
      "the VM's end",
      () => vmsOf(others)[0]?.status,
      (status) => status === "stopped",
    );
  });

  it("one without a token is not asked", async () => {
    let asked = 0;
    const url = await answering((_, answer) => void ((asked += 1), answer.end()));
    const other = stack.use(await testpod({ hypervisor: new FakeHypervisor() }));
    const others = await ask([{ name: "oslo", url: other.teepod.url }], VIEWER, [{ name: "berlin", url }]);
    await untilIt(others, "reachable", "oslo");
    expect([hostOf(others)?.state, asked]).toEqual(["link", 0]);
  });

  it("T3: a token that is not known there, or may do more than look, gives no list; one shown before is gone", async () => {
    const site = stack.use(await Site.make());
    const parts = { hypervisor: new FakeHypervisor() };
    const first = await site.start(site.config({ port: await freePort() }), parts);
    await client(first).createVm(vmRequest());
    const others = await ask([{ name: "berlin", url: first.url }], VIEWER);
    await untilIt(others, "reachable");
    expect(vmsOf(others)).toHaveLength(1);
    await first[Symbol.asyncDispose]();
    const auth = { tokens: [{ role: "operator" as const, token: OPERATOR }] };
    stack.use(await site.start(site.config({ port: first.port, auth }), parts));
    expect((await untilIt(others, "refused")).detail).toBe("the token of token_file is not known there");
    expect(vmsOf(others)).toEqual([]);

    const asOperator = await ask([{ name: "berlin", url: first.url }], OPERATOR);
    expect((await untilIt(asOperator, "refused")).detail).toContain("an operator's there");
    expect(vmsOf(asOperator)).toEqual([]);
  });

  it("T3: what is asked is the configured address alone, with the token and nothing else; no redirect is followed", async () => {
    let stray = 0;
    const elsewhere = await answering((_, answer) => void ((stray += 1), answer.end()));
    const seen: [string | undefined, string | undefined, IncomingHttpHeaders][] = [];
    const url = await answering(({ method, url: path, headers }, answer) => {
      seen.push([method, path, headers]);
      answer.writeHead(307, { location: `${elsewhere}/vms` }).end();
    });
    const others = await ask([{ name: "berlin", url }], VIEWER);
    expect((await untilIt(others, "strange")).detail).toBe("the answer has status 307");
    const { host, connection: _, ...headers } = seen[0]?.[2] ?? {};
    expect(seen[0]?.slice(0, 2)).toEqual(["GET", "/vms"]);
    expect([`http://${host}`, headers]).toEqual([
      url,
      { authorization: `Bearer ${VIEWER}`, accept: "application/json" },
    ]);
    expect(stray).toBe(0);
  });

  it("T6: of a hostile one only what is in form is taken, as text of one line, and no address", async () => {
    const vm = {
      ...VM,
      status: "exited",
      notice: `a\u001b[2Jb\n${"x".repeat(1000)}`,
      boot_error: `<img src=x onerror="document.title=1">`,
      app_url: "javascript:document.title=1",
      kind: "vm",
      host: "oslo",
    };
    const url = await answering((_, answer) => answer.end(JSON.stringify({ role: "viewer", vms: [vm, vm] })));
    const others = await ask([{ name: "berlin", url }], VIEWER);
    await untilIt(others, "reachable");
    expect(vmsOf(others)).toEqual([
      {
        ...{ kind: "other-vm", id: `berlin/${ID}`, vm_id: ID, host: "berlin" },
        ...{ name: "hello", status: "exited", app_id: VM.app_id, image: VM.image },
        notice: `ab ${"x".repeat(396)}…`,
        boot_error: vm.boot_error,
      },
    ]);
  });

  it("T6: a hostile one cannot fill memory or hold up the others, and its answer's words are not shown", async () => {
    const listOf = (vms: unknown, role = "viewer") => JSON.stringify({ role, vms });
    const answers: Readonly<Record<string, readonly [HostItem["state"], string, RequestListener]>> = {
      "no-json": ["strange", "the answer is no list of VMs", (_, answer) => answer.end("<script>")],
      "no-list": ["strange", "the answer is no list of VMs", (_, answer) => answer.end(listOf({}))],
      "evil-role": ["strange", "the answer is no list of VMs", (_, a) => a.end(listOf([], "<script>"))],
      "evil-name": ["strange", "no list of VMs", (_, a) => a.end(listOf([{ ...VM, name: "<b>" }]))],
      "evil-id": ["strange", "no list of VMs", (_, a) => a.end(listOf([{ ...VM, id: "../../login" }]))],
      "evil-time": ["strange", "no list", (_, a) => a.end(listOf([{ ...VM, started_at: "<script>" }]))],
      "many-vms": [
        "strange",
        "no list of VMs",
        (_, a) => a.end(listOf(Array.from({ length: 1001 }, () => VM))),
      ],
      "many-bad": [
        "strange",
        "no list of VMs",
        (_, a) => a.end(`{"role":"viewer","vms":[${"{},".repeat(6e5)}{}]}`),
      ],
      deep: ["strange", "no list of VMs", (_, answer) => answer.end(`${"[".repeat(9e5)}${"]".repeat(9e5)}`)],
      endless: [
        "strange",
        "the answer does not end",
        (_, answer) => void pipeline(spaces, answer).catch(() => {}),
      ],
      silent: ["unreachable", "no answer in 5 s", () => {}],
      dripping: [
        "unreachable",
        "no answer in 5 s",
        (_, answer) => {
          const drip = setInterval(() => answer.write(" "), 100);
          answer.once("close", () => clearInterval(drip));
        },
      ],
      "not-http": [
        "strange",
        "the answer is not HTTP",
        ({ socket }) => socket.end("<script>alert(1)</script>\r\n\r\n"),
      ],
      failing: ["strange", "the answer has status 500", (_, a) => a.writeHead(500).end("<script>")],
      other: ["strange", "no teepod is there", (_, answer) => answer.writeHead(404).end()],
    };
    const good = stack.use(await testpod({ hypervisor: new FakeHypervisor() }));
    const hosts = [{ name: "good", url: good.teepod.url }];
    for (const [name, [, , listener]] of Object.entries(answers))
      hosts.push({ name, url: await answering(listener) });
    const others = await ask(hosts, VIEWER);
    await untilIt(others, "reachable", "good");
    for (const [name, [state, detail]] of Object.entries(answers)) {
      expect([name, (await untilIt(others, state, name)).detail]).toEqual([
        name,
        expect.stringContaining(detail),
      ]);
      expect([name, vmsOf(others, name)]).toEqual([name, []]);
    }
    expect(JSON.stringify(others.items())).not.toContain("script");
  });

  it("T3: a certificate that is not of ca_file's CA gets no token", async () => {
    const pod = stack.use(await testpod({ hypervisor: new FakeHypervisor() }));
    const [ca, stranger] = [
      await CertificateAuthority.create({ commonName: "ours" }),
      await CertificateAuthority.create({ commonName: "another" }),
    ];
    const { privateKey, publicKey } = generateP256();
    const cert = await ca.issue({
      publicKey,
      commonName: "berlin",
      altNames: ["localhost"],
      usages: ["serverAuth"],
      notAfter: new Date(Date.now() + 86_400_000),
    });
    const key = privateKey.export({ type: "pkcs8", format: "pem" });
    const asked: (string | undefined)[] = [];
    // As an operator's web server in front of teepod.
    const front = createTlsServer({ key, cert }, (request, answer) => {
      asked.push(request.headers.authorization);
      void fetch(new URL(request.url ?? "", pod.teepod.url), {
        headers: { authorization: request.headers.authorization ?? "" },
      }).then(async (inner) => answer.writeHead(inner.status).end(await inner.text()));
    });
    const url = (await listen(front)).replace("http://127.0.0.1", "https://localhost");
    const pem = async (text: string, name: string): Promise<string> => {
      await writeFile(join(pod.site.dir, name), text);
      return join(pod.site.dir, name);
    };
    const wrong = await ask([{ name: "berlin", url, ca_file: await pem(stranger.certPem, "b.pem") }], VIEWER);
    expect((await untilIt(wrong, "untrusted")).detail).toMatch(/of ca_file \(/);
    const none = await ask([{ name: "berlin", url }], VIEWER);
    expect((await untilIt(none, "untrusted")).detail).toMatch(/a CA that this machine knows.*\(/);
    expect(asked).toEqual([]);
    const right = await ask([{ name: "berlin", url, ca_file: await pem(ca.certPem, "a.pem") }], VIEWER);
    await untilIt(right, "reachable");
    expect(asked).toContain(`Bearer ${VIEWER}`);
  });

  it("T3: the configuration sends no token in the clear, nor to anything but a host", async () => {
    const site = stack.use(await Site.make());
    const problem = (...hosts: object[]): string => {
      const read = TeepodConfig.safeParse({ ...site.config(), other_hosts: hosts });
      return read.success ? "" : (read.error.issues[0]?.message ?? "");
    };
    const token_file = "/etc/teepod/berlin.token";
    const https = { name: "berlin", url: "https://berlin.example.org:9080" };
    expect(problem({ ...https, token_file, ca_file: "/etc/teepod/berlin.pem" })).toBe("");
    expect(problem({ name: "berlin", url: "http://127.0.0.1:9081", token_file })).toBe("");
    expect(problem({ name: "berlin", url: "http://berlin.example.org:9080" })).toBe("");
    expect(problem({ name: "berlin", url: "http://berlin.example.org", token_file })).toContain("https only");
    for (const host of ["127.0.0.1.example.org", "localhost.example.org", "127.evil.org"]) {
      expect([host, problem({ name: "berlin", url: `http://${host}`, token_file })]).toEqual([
        host,
        expect.stringContaining("https only"),
      ]);
    }
    for (const url of [
      "https://a/b",
      "https://a?b",
      "https://u:p@a",
      "https://a/#/x",
      "file:///etc/passwd",
      "javascript:1",
    ])
      expect([url, problem({ name: "berlin", url })]).not.toEqual([url, ""]);
    expect(problem(https, https)).toContain("another name");
    expect(problem({ ...https, name: "a/b" })).toContain("letters");
  });

  it("T3: a token file without a token keeps teepod from starting, and says which", async () => {
    await expect(ask([{ name: "berlin", url: "http://127.0.0.1:1" }], "two words, no token")).rejects.toThrow(
      /token has no token in it.*berlin/,
    );
  });
});
