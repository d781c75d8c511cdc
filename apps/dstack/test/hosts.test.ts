import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { hostsPath } from "../src/hosts.js";
import { teepodAddress } from "../src/teepod.js";
import { dstack, fakeTeepod } from "./fake-teepod.js";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "dstack-hosts-"));
  vi.stubEnv("XDG_CONFIG_HOME", dir);
  vi.stubEnv("DSTACK_HOME", join(dir, "nowhere"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(dir, { recursive: true });
});

const pod = (name: string) =>
  fakeTeepod({
    status: async () => ({ vms: [{ id: `${name}-0000`, name, status: "stopped", uptime: "-" }] }),
  });

describe("dstack host", () => {
  it("keeps where a token lies, never the token", async () => {
    const token = join(dir, "token");
    await writeFile(token, "a-secret-token-0123456789\n");
    await dstack("host", "add", "berlin", "http://127.0.0.1:1/", "--token-file", token);
    const file = await readFile(hostsPath(), "utf8");
    expect(file).toContain(token);
    expect(file).not.toContain("a-secret-token");
    expect((await stat(hostsPath())).mode & 0o777).toBe(0o600);
    expect(await teepodAddress({ host: "berlin" })).toEqual({
      url: "http://127.0.0.1:1",
      token: "a-secret-token-0123456789",
    });
    expect(JSON.parse(await dstack("host", "ls", "--json"))).toEqual([
      { name: "berlin", url: "http://127.0.0.1:1/", token_file: token },
    ]);
    await dstack("host", "rm", "berlin");
    await expect(dstack("host", "rm", "berlin")).rejects.toThrow("no host is called berlin");
    await expect(teepodAddress({ host: "berlin" })).rejects.toMatchObject({ exitCode: 2 });
  });

  it("refuses names and addresses that are none", async () => {
    const wrong = { exitCode: 2 };
    await expect(dstack("host", "add", "a.b", "http://x")).rejects.toMatchObject(wrong);
    await expect(dstack("host", "add", "__proto__", "http://x")).rejects.toMatchObject(wrong);
    await expect(dstack("host", "add", "a", "ftp://x")).rejects.toMatchObject(wrong);
    await expect(dstack("host", "add", "a", "http://x", "--token-file", join(dir, "no"))).rejects.toThrow(
      "no file",
    );
    await writeFile(join(dir, "ca.pem"), "no certificate");
    await expect(dstack("host", "add", "a", "http://x", "--kms-ca", join(dir, "ca.pem"))).rejects.toThrow(
      "ca.pem is not a certificate in PEM",
    );
  });

  it("says what is wrong with a file somebody edited", async () => {
    await dstack("host", "add", "a", "http://x");
    await writeFile(hostsPath(), '[hosts.a]\nurl = "http://x"\ntokn = "y"\n');
    await expect(dstack("host", "ls")).rejects.toThrow(/hosts\.toml.*tokn/s);
  });
});

describe("dstack ls --all", () => {
  it("lists the CVMs of every host in one list", async () => {
    await using berlin = await pod("web");
    await using paris = await pod("api");
    await dstack("host", "add", "berlin", berlin.url);
    await dstack("host", "add", "paris", paris.url);
    expect(await dstack("ls", "--all")).toBe(
      "HOST    ID        NAME  STATE    UP  APP\n" +
        "berlin  web-0000  web   stopped  -\n" +
        "paris   api-0000  api   stopped  -\n",
    );
    expect(JSON.parse(await dstack("ls", "--all", "--json"))).toMatchObject([
      { host: "berlin", name: "web" },
      { host: "paris", name: "api" },
    ]);
  });

  it("shows what answers when a host cannot be reached, and fails for the others", async () => {
    await using berlin = await pod("web");
    await dstack("host", "add", "berlin", berlin.url);
    await dstack("host", "add", "gone", "http://127.0.0.1:1");
    const written: string[] = [];
    const write = vi
      .spyOn(process.stdout, "write")
      .mockImplementation((text) => written.push(String(text)) > 0);
    const { createProgram } = await import("../src/program.js");
    await expect(createProgram().parseAsync(["ls", "--all"], { from: "user" })).rejects.toThrow(
      /^gone: no teepod answers at http:\/\/127\.0\.0\.1:1 \(ECONNREFUSED\)/,
    );
    write.mockRestore();
    expect(written.join("")).toContain("berlin  web-0000");
  });

  it("sends no host the token of another", async () => {
    await expect(dstack("ls", "--all", "--token", "x")).rejects.toMatchObject({ exitCode: 2 });
  });
});

describe("DSTACK_TEEPOD_TOKEN", () => {
  it("goes to the teepod of DSTACK_TEEPOD_URL and to no other host", async () => {
    const [url, token] = ["https://own.example.org:9080", "a-secret-token-0123456789"];
    await dstack("host", "add", "own", url);
    await dstack("host", "add", "berlin", "https://berlin.example.org");
    vi.stubEnv("DSTACK_TEEPOD_TOKEN", token);
    const tokens = () =>
      Promise.all(
        [undefined, `${url}/`, "own", "berlin", "https://berlin.example.org"].map(
          async (host) => (await teepodAddress(host === undefined ? {} : { host })).token,
        ),
      );
    vi.stubEnv("DSTACK_TEEPOD_URL", url);
    expect(await tokens()).toEqual([token, token, token, undefined, undefined]);
    vi.stubEnv("DSTACK_TEEPOD_URL", "own");
    // By its name, and by its address: it is the same teepod.
    expect(await tokens()).toEqual([token, token, token, undefined, undefined]);
  });
});
