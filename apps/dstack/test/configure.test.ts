import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "smol-toml";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { dstack } from "./fake-teepod.js";
import { exampleEnv } from "./build-config.js";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "dstack-configure-"));
  for (const [name, value] of Object.entries({ ...(await exampleEnv()), SIMULATED_TDX: "yes" }))
    vi.stubEnv(name, value);
  // The KMS program would make them.
  await mkdir(file("certs"));
  for (const name of ["root-ca.pem", "tproxy.pem"]) await writeFile(file(`certs/${name}`), "");
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(dir, { recursive: true });
});

async function image(name: string, kernel = name): Promise<string> {
  await mkdir(join(dir, "images", name), { recursive: true });
  const files = { kernel, initrd: "initrd", "metadata.json": METADATA };
  for (const [file, content] of Object.entries(files))
    await writeFile(join(dir, "images", name, file), content);
  return name;
}
const METADATA = JSON.stringify({ cmdline: "console=ttyS0", kernel: "kernel", initrd: "initrd" });

const file = (name: string): string => join(dir, name);
const read = (name: string): Promise<string> => readFile(file(name), "utf8");
const configure = (name: string, ...options: string[]): Promise<string> =>
  dstack("configure", "write", ...options, dir, name);
/** As an operator does with an editor. */
async function edit(name: string, from: string | RegExp, to: string): Promise<string> {
  const text = (await read(name)).replace(from, to);
  await writeFile(file(name), text);
  return text;
}
async function allowed(name: string): Promise<string[]> {
  const { attestation } = parse(await read(name)) as {
    attestation: { images: { allowed: { name: string }[] } };
  };
  return attestation.images.allowed.map((entry) => entry.name);
}

describe("build.sh, run again", () => {
  it("writes anew what nobody edited, and leaves nothing beside it", async () => {
    await configure(await image("one"));
    vi.stubEnv("TEEPOD_RPC_LISTEN_PORT", "9999");
    await configure("one");
    expect(parse(await read("teepod.toml"))).toMatchObject({ port: 9999 });
    expect((await readdir(dir)).filter((name) => /\.(new|old)$/.test(name))).toEqual([]);
  });

  it("leaves an edited file as it is, and says nothing while it would write the same", async () => {
    await configure(await image("one"));
    const teepod = await edit("teepod.toml", 'role = "operator"', 'role = "viewer"');
    expect(await configure("one")).not.toContain("teepod.toml");
    expect(await read("teepod.toml")).toBe(teepod);
    expect(await readdir(dir)).not.toContain("teepod.toml.new");
  });

  it("puts the new one beside an edited file, and says so until it is taken over", async () => {
    await configure(await image("one"));
    const teepod = await edit("teepod.toml", /$/, '[[other_hosts]]\nname = "b"\nurl = "https://b"\n');
    vi.stubEnv("TEEPOD_RPC_LISTEN_PORT", "9999");
    for (const _ of [1, 2]) expect(await configure("one")).toContain("diff teepod.toml teepod.toml.new");
    expect(await read("teepod.toml")).toBe(teepod);
    const fresh = await read("teepod.toml.new");
    expect(parse(fresh)).toMatchObject({ port: 9999 });
    // Its first lines and the port are taken over by hand.
    await writeFile(file("teepod.toml"), `${fresh}\n# mine\n`);
    expect(await configure("one")).not.toContain("teepod.toml");
    expect(await read("teepod.toml")).toContain("# mine");
    expect(await readdir(dir)).not.toContain("teepod.toml.new");
  });

  it("takes a file without its first lines for an edited one", async () => {
    await configure(await image("one"));
    await edit("kms.toml", /^(#.*\n)+/, "");
    await edit("kms.toml", /^port = .*$/m, "port = 1");
    expect(await configure("one")).toContain("kms.toml was edited");
    expect(await read("kms.toml")).toContain("port = 1");
  });

  it("--force replaces an edited file, and keeps it as .old", async () => {
    await configure(await image("one"));
    const kms = await edit("kms.toml", /^port = .*$/m, "port = 1");
    await configure("one", "--force");
    expect(parse(await read("kms.toml"))).toMatchObject({ port: 9043 });
    expect(await read("kms.toml.old")).toBe(kms);
    // What is as it was written is not put aside.
    await configure("one", "--force");
    expect(await read("kms.toml.old")).toBe(kms);
  });

  it("E9: goes on allowing images whose files are as they were, and no others", async () => {
    await configure(await image("one"));
    await configure(await image("two"));
    expect(await allowed("kms.toml")).toEqual(["two", "one"]);
    expect(await allowed("tproxy.toml")).toEqual(["two", "one"]);
    await image("one", "another kernel");
    await image("built for something else");
    await configure("two");
    expect(await allowed("kms.toml")).toEqual(["two"]);
  });

  it("E9: an image that its operator removed from the list, or from the disk, does not come back", async () => {
    await configure(await image("one"));
    await configure(await image("two"));
    await rm(join(dir, "images", "one"), { recursive: true });
    await configure("two");
    expect(await allowed("kms.toml")).toEqual(["two"]);
    await image("one");
    await configure("two");
    expect(await allowed("kms.toml")).toEqual(["two"]);
  });

  it("E9: a pinned RTMR0 stays, and with another image in what is put beside it", async () => {
    await configure(await image("one"));
    const pin = "ab".repeat(48);
    await edit("kms.toml", /^rtmr0 = .*$/m, `rtmr0 = [ "${pin}" ]`);
    await configure("one");
    expect(await read("kms.toml")).toContain(pin);
    await configure(await image("two"));
    expect(await read("kms.toml")).toContain(pin);
    expect(await allowed("kms.toml.new")).toEqual(["two", "one"]);
    expect(await read("kms.toml.new")).toContain(pin);
  });

  it("says which file it cannot read, and writes none", async () => {
    await configure(await image("one"));
    await edit("kms.toml", /$/, "[[");
    vi.stubEnv("TEEPOD_RPC_LISTEN_PORT", "9999");
    await expect(configure("one")).rejects.toThrow("kms.toml cannot be read");
    expect(parse(await read("teepod.toml"))).toMatchObject({ port: 9080 });
  });
});
