import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Engine, startEngine, whyNoEngine } from "../../tappd/test/support/dockerd.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const built = join(root, "images", "out", "ingress");

const reason = existsSync(join(built, "rootfs.tar"))
  ? await whyNoEngine()
  : "scripts/build-ingress-image has not been run";
if (reason !== undefined) console.log(`skipping the test of the ingress's image: ${reason}`);

interface ImageConfig {
  Entrypoint: string[];
  ExposedPorts: object;
  Volumes: object;
}

describe.skipIf(reason !== undefined)("the image, built by Docker with its Dockerfile", () => {
  let engine: Engine;
  let dir: string;
  let image: string;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "ingress-image-"));
    engine = await startEngine();
    const dockerfile = join(root, "images", "ingress", "Dockerfile");
    image = (await engine.docker("build", "--quiet", "--file", dockerfile, built)).trim();
  });
  afterAll(async () => {
    await engine[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  /** What the image that scripts/build-ingress-image packs says of itself. */
  async function packedConfig(): Promise<ImageConfig> {
    const blob = async <T>(digest: string): Promise<T> =>
      JSON.parse(await readFile(join(built, "oci/blobs", digest.replace(":", "/")), "utf8")) as T;
    const digest = (await readFile(join(built, "digest"), "utf8")).trim();
    const manifest = await blob<{ config: { digest: string } }>(digest);
    return (await blob<{ config: ImageConfig }>(manifest.config.digest)).config;
  }

  it("says the same of itself as the packed one", async () => {
    const [inspected] = JSON.parse(await engine.docker("image", "inspect", image)) as {
      Config: ImageConfig;
    }[];
    expect(inspected?.Config).toMatchObject(await packedConfig());
  });

  it("has the same files, byte for byte, with the same modes and owners", async () => {
    const saved = join(dir, "saved.tar");
    await engine.docker("save", "--output", saved, image);
    const { stdout } = await execa("tar", ["-xOf", saved, "manifest.json"]);
    const [{ Layers: layers } = { Layers: [] }] = JSON.parse(stdout) as { Layers: string[] }[];
    expect(layers).toHaveLength(1);
    await execa("tar", ["-xf", saved, "-C", dir]);
    const [ours, theirs] = [join(built, "rootfs.tar"), join(dir, layers[0] ?? "")];
    expect(await listing(theirs)).toEqual(await listing(ours));
    for (const name of ["usr/bin/node", "usr/lib/dstack/ingress.mjs", "usr/lib/x86_64-linux-gnu/libc.so.6"]) {
      expect(await digestIn(theirs, name)).toBe(await digestIn(ours, name));
    }
  });

  it("runs: it says which variables are missing", async () => {
    const said = await engine.docker("run", "--rm", "--network=none", image).catch((err: unknown) => err);
    expect(said).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("CLOUDFLARE_API_TOKEN: is missing") as string,
    });
  });
});

/** Name, mode, owner, size and link of each entry, whatever the archive's own spelling. */
async function listing(tar: string): Promise<string[]> {
  const { stdout } = await execa("tar", ["--list", "--verbose", "--numeric-owner", "--file", tar]);
  return stdout
    .split("\n")
    .map((line) =>
      line.replace(/\d{4}-\d\d-\d\d \d\d:\d\d /, "").replace(/ (\.\/)?([^ ]*?)\/?( -> .*)?$/, " $2$3"),
    )
    .filter((line) => !line.endsWith(" ") && !line.endsWith(" ."))
    .toSorted();
}

async function digestIn(tar: string, name: string): Promise<string> {
  const member = (await execa("tar", ["-tf", tar])).stdout
    .split("\n")
    .find((entry) => entry === name || entry === `./${name}`);
  const hash = createHash("sha256");
  const child = execa("tar", ["-xOf", tar, member ?? name], { buffer: false, encoding: "buffer" });
  await pipeline(child.readable(), hash);
  return hash.digest("hex");
}
