import { appIdOfCompose, hex, sha256, utf8 } from "@dstack/core";
import type { teepod } from "@dstack/proto";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { dstack, fakeTeepod } from "./fake-teepod.js";

const DOCUMENT = '{"manifest_version":1, "docker_compose_file":"…","runner":"docker-compose"}';
const ID = "cb4bf9a0-a3d9-40d9-8be5-99560f557345";
const configuration = {
  name: "web",
  image: "dstack-0.1.0",
  composeFile: DOCUMENT,
  vcpu: 1,
  memory: 2048,
  diskSize: 20,
  ports: [{ protocol: "tcp", hostPort: 8080, vmPort: 80 }],
  encryptedEnv: new Uint8Array([1, 2, 3]),
};
const vm = {
  id: ID,
  name: "web",
  status: "running",
  uptime: "5m",
  appId: appIdOfCompose(utf8(DOCUMENT)),
  etag: "e1",
  bootProgress: "ready",
  configuration,
};

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "dstack-vm-"));
});
afterEach(() => rm(dir, { recursive: true }));

describe("what the dashboard does, on the command line", () => {
  it("show tells all about a CVM", async () => {
    await using pod = await fakeTeepod({ status: async () => ({ vms: [vm] }) });
    const text = await dstack("show", "web", "--host", pod.url);
    expect(text).toContain("shape         1 vCPU, 2048 MB memory, 20 GB disk");
    expect(text).toContain("ports         tcp:8080:80");
    expect(JSON.parse(await dstack("show", "web", "--host", pod.url, "--json"))).toMatchObject({
      compose_hash: hex(sha256(DOCUMENT)),
      variables: true,
    });
  });

  it("boot shows each step and when it came, and no control characters of a guest", async () => {
    const step = (at: string, name: string, message = "") => ({ at, step: name, state: "done", message });
    await using pod = await fakeTeepod({
      status: async () => ({ vms: [vm] }),
      getBootTimeline: async () => ({
        steps: [
          step("2026-01-01T00:00:00Z", "kms"),
          step("2026-01-01T00:00:02.5Z", "tappd", "\u001b[2Jhi\nyou"),
        ],
      }),
    });
    expect((await dstack("boot", "web", "--host", pod.url)).split("\n").slice(1, 3)).toEqual([
      "    0.0  kms    done",
      "    2.5  tappd  done   \\x1b[2Jhi you",
    ]);
  });

  it("compose gives the document byte for byte", async () => {
    await using pod = await fakeTeepod({ status: async () => ({ vms: [vm] }) });
    expect(await dstack("compose", "web", "--host", pod.url)).toBe(DOCUMENT);
    const file = join(dir, "out.json");
    await dstack("compose", "web", "--host", pod.url, "-o", file);
    expect(await readFile(file, "utf8")).toBe(DOCUMENT);
  });

  it("clone makes another VM of the same app: its variables, none of its host ports", async () => {
    const made: teepod.VmConfiguration[] = [];
    let appId = vm.appId as string;
    await using pod = await fakeTeepod({
      status: async () => ({ vms: [{ ...vm, appId }] }),
      createVm: async (request: teepod.VmConfiguration) => {
        made.push(request);
        return { id: ID };
      },
      getInfo: async () => ({ found: true, info: vm }),
    });
    await dstack("clone", "web", "--host", pod.url, "--memory", "4096");
    appId = "ab".repeat(20);
    await dstack("clone", "web", "other", "--host", pod.url);
    expect(made).toMatchObject([
      {
        name: "web-copy",
        memory: 4096,
        ports: [],
        composeFile: DOCUMENT,
      },
      // Upgraded since: the document alone would make another app.
      { name: "other", memory: 2048, appId },
    ]);
    expect(made.map(({ encryptedEnv }) => hex(encryptedEnv))).toEqual(["010203", "010203"]);
    expect(made[0]?.appId).toBeUndefined();
  });

  it("T6: a new VM's id is one, for commands with it are copied, and its address steers no terminal", async () => {
    let id = "x; reboot #";
    await using pod = await fakeTeepod({
      status: async () => ({ vms: [vm] }),
      createVm: async () => ({ id }),
      getInfo: async () => ({ found: true, info: { ...vm, appUrl: "https://a\u001b[2J" } }),
    });
    const file = join(dir, "app-compose.json");
    await writeFile(file, DOCUMENT.replace("…", "services: {web: {image: x}}"));
    const create = [
      ["deploy", file, "--image", "i"],
      ["clone", "web"],
    ];
    for (const args of create)
      await expect(dstack(...args, "--host", pod.url)).rejects.toThrow("VM id must be");
    id = ID;
    for (const args of create)
      expect(await dstack(...args, "--host", pod.url)).toBe(`${ID}\nhttps://a\\x1b[2J\n`);
  });

  it("resize sends what changes, of what was seen", async () => {
    let sent: teepod.ResizeVmRequest | undefined;
    await using pod = await fakeTeepod({
      status: async () => ({ vms: [vm] }),
      resizeVm: async (request: teepod.ResizeVmRequest) => {
        sent = request;
        return {};
      },
    });
    const out = await dstack("resize", "web", "--vcpu", "2", "--host", pod.url, "--json");
    expect(JSON.parse(out)).toEqual({ id: ID, vcpu: 2, memory: 2048, disk_size: 20 });
    expect(sent).toMatchObject({ id: ID, vcpu: 2, expectedEtag: "e1" });
    expect(sent?.memory).toBeUndefined();
    await expect(dstack("resize", "web", "--host", pod.url)).rejects.toMatchObject({ exitCode: 2 });
  });

  it("restart stops, waits for the end, and starts", async () => {
    const calls: string[] = [];
    let status = "running";
    await using pod = await fakeTeepod({
      status: async () => ({ vms: [vm] }),
      shutdownVm: async () => {
        calls.push("shut down");
        status = "stopped";
        return {};
      },
      getInfo: async () => ({ found: true, info: { ...vm, status } }),
      startVm: async () => {
        calls.push(`start when ${status}`);
        status = "running";
        return {};
      },
    });
    await dstack("restart", "web", "--wait", "--host", pod.url);
    expect(calls).toEqual(["shut down", "start when stopped"]);
  });

  it("images lists them, or says how one is made", async () => {
    await using none = await fakeTeepod({ listImages: async () => ({ images: [] }) });
    expect(await dstack("images", "--host", none.url)).toContain("scripts/build-image");
    const image = { name: "dstack-0.1.0", description: "version 0.1.0" };
    await using one = await fakeTeepod({ listImages: async () => ({ images: [image] }) });
    expect(JSON.parse(await dstack("images", "--host", one.url, "--json"))).toEqual([image]);
  });

  it("audit ls shows who asked for what", async () => {
    const entry = {
      seq: 1n,
      at: "2026-01-01T00:00:00Z",
      who: "olga",
      role: "operator",
      from: "::1",
      method: "StopVm",
    };
    await using pod = await fakeTeepod({
      getAuditLog: async () => ({
        entries: [{ ...entry, vm: "web\u001b[31m", outcome: "refused", message: "no" }],
      }),
    });
    expect((await dstack("audit", "ls", "--host", pod.url)).split("\n")[1]).toBe(
      "2026-01-01T00:00:00Z  olga (operator)  ::1   StopVm  web\\x1b[31m  refused: no",
    );
  });
});

describe("a CVM whose boot fails", () => {
  const failing = (status = "running") =>
    fakeTeepod({
      status: async () => ({ vms: [{ ...vm, status }] }),
      startVm: async () => ({}),
      createVm: async () => ({ id: ID }),
      getInfo: async () => ({ found: true, info: { ...vm, bootError: "kms: refused" } }),
    });
  const wait = ["--image", "dstack-0.1.0", "--wait"];

  it.each(["deploy", "clone"])(
    "%s --wait --json tells its id and the error, and ends with 1",
    async (name) => {
      await using pod = await failing();
      const file = join(dir, "docker-compose.yaml");
      await writeFile(file, "services:\n  web:\n    image: hello\n");
      const args = name === "deploy" ? [file, ...wait] : ["web", "--wait"];
      const printed: string[] = [];
      await expect(
        dstack(name, ...args, "--host", pod.url, "--json").catch((err: unknown) => {
          printed.push((err as { stdout: string }).stdout);
          throw err;
        }),
      ).rejects.toMatchObject({ exitCode: 1, message: expect.stringContaining("kms: refused") });
      expect(JSON.parse(printed.join(""))).toEqual({
        id: ID,
        app_id: expect.stringMatching(/^[0-9a-f]{40}$/),
        ...(name === "deploy" && { compose_hash: expect.stringMatching(/^[0-9a-f]{64}$/) }),
        boot_error: expect.stringContaining("kms: refused"),
      });
    },
  );

  it.each(["start", "restart"])("%s --wait --json tells the error, and ends with 1", async (name) => {
    await using pod = await failing("stopped");
    const end: unknown = await dstack(name, "web", "--wait", "--host", pod.url, "--json").catch(
      (err: unknown) => err,
    );
    expect(end).toMatchObject({ exitCode: 1, message: expect.stringContaining("kms: refused") });
    expect(JSON.parse((end as { stdout: string }).stdout)).toEqual({
      id: ID,
      boot_error: expect.stringContaining("kms: refused"),
    });
  });
});

describe("dstack init", () => {
  it("makes an app that deploys as it is, and writes over nothing", async () => {
    const app = join(dir, "shop");
    const { next } = JSON.parse(await dstack("init", app, "--json")) as { next: string };
    expect(next).toContain("dstack deploy docker-compose.yaml");
    const args = [join(app, "docker-compose.yaml"), "--env-file", join(app, ".env.example")];
    const dry = JSON.parse(await dstack("deploy", ...args, "--dry-run", "--json")) as Record<string, unknown>;
    expect(dry).toMatchObject({ notices: [] });
    expect(JSON.parse(String(dry["app_compose"]))).toMatchObject({
      name: "shop",
      allowed_envs: ["GREETING"],
    });
    expect(await readFile(join(app, ".gitignore"), "utf8")).toBe(".env\n");
    // The same identity, without deploying and without a value.
    const compose = await dstack("compose-hash", args[0] ?? "", "--env", "GREETING", "--json");
    expect(JSON.parse(compose)).toEqual({ compose_hash: dry["compose_hash"], app_id: dry["app_id"] });

    await expect(dstack("init", app)).rejects.toThrow("writes over nothing");
    const half = join(dir, "half");
    await dstack("init", half);
    await rm(join(half, ".gitignore"));
    await rm(join(half, "docker-compose.yaml"));
    await expect(dstack("init", half)).rejects.toThrow("is there already");
    await expect(stat(join(half, ".gitignore"))).rejects.toThrow("ENOENT");
  });
});

describe("a compose file that is none", () => {
  it.each([
    ["services: [", "the compose file is not YAML"],
    ["services: {}", "has no services"],
    [`# ${"x".repeat(10 * 2 ** 20)}\nservices: {}`, "larger than 256 KiB"],
    [`#${"x".repeat(17 * 2 ** 20)}`, "is larger than"],
  ])("is refused in a sentence, before anything is sent: %.20s", async (text, why) => {
    const file = join(dir, "docker-compose.yaml");
    await writeFile(file, text);
    await expect(dstack("deploy", file, "--host", "http://127.0.0.1:1")).rejects.toThrow(why);
  });
});
