// Packs a root file system as an OCI image of one layer, beside it: `node pack.mjs <directory with rootfs.tar> <Dockerfile>`.
// The same tar, Dockerfile and Node give the same bytes: nothing in the image tells when or where it was made.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const [dir, dockerfile] = process.argv.slice(2);
if (dir === undefined || dockerfile === undefined) {
  console.error("usage: node pack.mjs <directory> <Dockerfile>");
  process.exit(2);
}

const instructions = readFileSync(dockerfile, "utf8");
/** What an instruction that stands there once says. */
const said = (name) => {
  const value = new RegExp(`^${name} (.*)$`, "m").exec(instructions)?.[1];
  if (value === undefined) throw new Error(`${dockerfile} has no ${name}`);
  return value;
};

const blobs = join(dir, "oci", "blobs", "sha256");
rmSync(join(dir, "oci"), { recursive: true, force: true });
mkdirSync(blobs, { recursive: true });
const digestOf = (bytes) => createHash("sha256").update(bytes).digest("hex");
const add = (mediaType, bytes) => {
  const digest = digestOf(bytes);
  writeFileSync(join(blobs, digest), bytes);
  return { mediaType, digest: `sha256:${digest}`, size: bytes.length };
};

const tar = readFileSync(join(dir, "rootfs.tar"));
const layer = add("application/vnd.oci.image.layer.v1.tar+gzip", gzipSync(tar, { level: 6 }));
const config = {
  architecture: "amd64",
  os: "linux",
  created: "1970-01-01T00:00:00Z",
  config: {
    Entrypoint: JSON.parse(said("ENTRYPOINT")),
    ExposedPorts: { [`${said("EXPOSE")}/tcp`]: {} },
    Volumes: Object.fromEntries(JSON.parse(said("VOLUME")).map((path) => [path, {}])),
  },
  rootfs: { type: "layers", diff_ids: [`sha256:${digestOf(tar)}`] },
  history: [{ created: "1970-01-01T00:00:00Z" }],
};
const manifest = add(
  "application/vnd.oci.image.manifest.v1+json",
  Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: add("application/vnd.oci.image.config.v1+json", Buffer.from(JSON.stringify(config))),
      layers: [layer],
    }),
  ),
);
writeFileSync(join(dir, "oci", "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
writeFileSync(join(dir, "oci", "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [manifest] }));
console.log(manifest.digest);
