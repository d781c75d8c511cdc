import { hex, sha256, utf8 } from "@dstack/core";
import { execa } from "execa";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { request } from "undici";
import { CliError } from "../output.js";

const LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const CONFIG = "application/vnd.docker.container.image.v1+json";
const MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";

const digestOf = (bytes: Uint8Array): string => `sha256:${hex(sha256(bytes))}`;

/** An image with one layer, ready to be pushed. The same program gives the same bytes. */
export interface SmallImage {
  layer: Uint8Array;
  config: Uint8Array;
  manifest: Uint8Array;
  /** Digest of the manifest: what a compose file pins. */
  digest: string;
}

/**
 * Compiles the example and packs it as a one-layer image, without a Docker engine.
 * @throws {CliError} no compiler, or it failed
 */
export async function buildExampleImage(sourceDir: string): Promise<SmallImage> {
  const dir = await mkdtemp(join(tmpdir(), "dstack-example-"));
  try {
    await execa("cc", ["-O2", "-static", "-s", "-Wl,--build-id=none", "-o", join(dir, "hello"), "hello.c"], {
      cwd: sourceDir,
    });
    const tar = await execa(
      "tar",
      [
        "--format=ustar",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mode=0755",
        "-cf",
        "-",
        "hello",
      ],
      { cwd: dir, encoding: "buffer" },
    );
    return packImage(new Uint8Array(tar.stdout), ["/hello"]);
  } catch (err) {
    throw new CliError("compiling the example failed: `dstack doctor` tells what is missing", 1, {
      cause: err,
    });
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** A Docker image (manifest v2, schema 2) of one tar layer. */
export function packImage(tar: Uint8Array, command: readonly string[]): SmallImage {
  const layer = new Uint8Array(gzipSync(tar, { level: 9 }));
  const config = utf8(
    JSON.stringify({
      architecture: "amd64",
      os: "linux",
      created: "1970-01-01T00:00:00Z",
      config: { Cmd: command, ExposedPorts: { "80/tcp": {} } },
      rootfs: { type: "layers", diff_ids: [digestOf(tar)] },
      history: [{ created: "1970-01-01T00:00:00Z" }],
    }),
  );
  const manifest = utf8(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: { mediaType: CONFIG, size: config.length, digest: digestOf(config) },
      layers: [{ mediaType: LAYER, size: layer.length, digest: digestOf(layer) }],
    }),
  );
  return { layer, config, manifest, digest: digestOf(manifest) };
}

/** Pushes an image to a registry (distribution API v2). What is there already is not sent again. */
export async function pushImage(
  registryUrl: string,
  repository: string,
  image: SmallImage,
  signal: AbortSignal,
): Promise<void> {
  const base = `${registryUrl}/v2/${repository}`;
  for (const blob of [image.layer, image.config]) {
    const digest = digestOf(blob);
    const head = await request(`${base}/blobs/${digest}`, { method: "HEAD", signal });
    await head.body.dump();
    if (head.statusCode === 200) continue;
    const begin = await request(`${base}/blobs/uploads/`, { method: "POST", signal });
    await begin.body.dump();
    const location = begin.headers["location"];
    if (begin.statusCode !== 202 || typeof location !== "string") {
      throw new CliError(`the registry refused an upload with status ${begin.statusCode}`);
    }
    const target = new URL(location, registryUrl);
    target.searchParams.set("digest", digest);
    const put = await request(target, {
      method: "PUT",
      body: blob,
      headers: { "content-type": "application/octet-stream" },
      signal,
    });
    await put.body.dump();
    if (put.statusCode !== 201)
      throw new CliError(`the registry refused a layer with status ${put.statusCode}`);
  }
  const put = await request(`${base}/manifests/latest`, {
    method: "PUT",
    body: image.manifest,
    headers: { "content-type": MANIFEST },
    signal,
  });
  await put.body.dump();
  if (put.statusCode !== 201)
    throw new CliError(`the registry refused the manifest with status ${put.statusCode}`);
}
