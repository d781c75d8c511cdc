import { X509Certificate } from "node:crypto";
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { hex, sha256 } from "@dstack/core";
import { createClient } from "@dstack/prpc";
import { kms } from "@dstack/proto";
import { raTlsTransport } from "@dstack/ra-rpc";
import { CertificateAuthority } from "@dstack/ra-tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkConsistency, checkInclusion } from "../src/cert-log/check-proof.js";
import type { Kms } from "../src/index.js";
import { bootGuest, callRaw, guestClient, install, start } from "./guest.js";
import type { Installation } from "./guest.js";

const run = promisify(execFile);
const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));

let installation: Installation;
let server: Kms;
let root: X509Certificate;
let admin: ReturnType<typeof createClient<typeof kms.KMSAdmin>>;
let close: () => Promise<void>;

beforeAll(async () => {
  installation = await install({}, []);
  server = await start(installation);
  root = new X509Certificate(installation.caPem);
  const transport = raTlsTransport({ url: server.adminUrl ?? "", caPem: installation.caPem });
  admin = createClient(kms.KMSAdmin, transport);
  close = async () => await transport[Symbol.asyncDispose]();
});
afterAll(async () => {
  await close();
  await server[Symbol.asyncDispose]();
});

/** The certificate that the KMS issues to a guest. */
async function issue(instance: string, from = installation, of = server): Promise<X509Certificate> {
  const guest = await bootGuest({ caPem: from.caPem, instance });
  await using client = await guestClient(from, of, guest);
  const { certificateChain } = await client.getAppKey();
  return new X509Certificate(certificateChain[0] ?? "");
}

const proofOf = (certificate: X509Certificate): Promise<kms.InclusionProof> =>
  admin.getInclusionProof({ certificateSha256: sha256(certificate.raw) });

describe("K5: proofs from the issue log", () => {
  it("K5: an outsider with the root certificate checks that a certificate is in the log", async () => {
    const certificates: X509Certificate[] = [];
    for (const instance of ["one", "two", "three", "four", "five"]) certificates.push(await issue(instance));
    for (const certificate of certificates) {
      const proof = await proofOf(certificate);
      const found = checkInclusion(proof, certificate, root);
      expect(found.entry).toMatchObject({ kind: "app-ca", anchor: "simulated" });
      expect(found.index).toBe(Number(proof.index));
    }
    await expect(proofOf(root)).rejects.toMatchObject({ code: "not_found" });
    await expect(admin.getInclusionProof({ certificateSha256: new Uint8Array(3) })).rejects.toMatchObject({
      code: "bad_request",
    });
  });

  it("K5: a proof of something else, or that anybody could have made, is none", async () => {
    const certificate = await issue("victim");
    const other = await issue("other");
    const good = await proofOf(certificate);
    expect(() => checkInclusion(good, other, root)).toThrow(/another certificate/);
    const edits: ((proof: kms.InclusionProof) => void)[] = [
      (proof) => (proof.entry = proof.entry.replace("app-ca", "server")),
      (proof) => (proof.index += 1n),
      (proof) => proof.path.pop(),
      (proof) => proof.head && (proof.head.size += 1n),
      (proof) => proof.head && (proof.head.signedAt += 1n),
      (proof) => proof.head && (proof.head.rootHash = sha256("another tree")),
      (proof) => delete proof.head,
    ];
    for (const edit of edits) {
      const proof = structuredClone(good);
      edit(proof);
      expect(() => checkInclusion(proof, certificate, root), String(edit)).toThrow();
    }
    const stranger = await CertificateAuthority.create({ commonName: "test root" });
    expect(() => checkInclusion(good, certificate, new X509Certificate(stranger.certPem))).toThrow(
      /not signed/,
    );
  });

  it("K5: entries that were cut off or changed are noticed by who kept an earlier head", async () => {
    const own = await install({}, []);
    const headOf = async (work: (client: typeof admin, kms: Kms) => Promise<void>): Promise<void> => {
      await using daemon = await start(own);
      await using transport = raTlsTransport({ url: daemon.adminUrl ?? "", caPem: own.caPem });
      await work(createClient(kms.KMSAdmin, transport), daemon);
    };
    const ownRoot = new X509Certificate(own.caPem);
    const log = join(own.dir, "log", "issued.log");
    let kept: kms.LogHead | undefined;
    let before = "";
    await headOf(async (client, daemon) => {
      await issue("a", own, daemon);
      before = await readFile(log, "utf8");
      await issue("b", own, daemon);
      kept = await client.getLogHead();
    });
    if (kept === undefined) throw new Error("no head");
    const earlier = kept;
    await headOf(async (client, daemon) => {
      await issue("c", own, daemon);
      const proof = await client.getConsistencyProof({ oldSize: earlier.size });
      expect(checkConsistency(earlier, proof, ownRoot)).toEqual({ oldSize: 2, size: 3 });
    });
    // The last two entries are gone, and the chain of what is left is whole.
    await writeFile(log, before);
    await headOf(async (client, daemon) => {
      await expect(client.getConsistencyProof({ oldSize: earlier.size })).rejects.toMatchObject({
        code: "bad_request",
      });
      await issue("d", own, daemon);
      const proof = await client.getConsistencyProof({ oldSize: earlier.size });
      expect(() => checkConsistency(earlier, proof, ownRoot)).toThrow(/does not continue/);
    });
  });

  it("K5: an entry that was changed in the file of a running KMS is not proved", async () => {
    const own = await install({}, []);
    await using daemon = await start(own);
    const certificate = await issue("a", own, daemon);
    const log = join(own.dir, "log", "issued.log");
    await writeFile(log, (await readFile(log, "utf8")).replace("simulated", "simulateD"));
    await using transport = raTlsTransport({ url: daemon.adminUrl ?? "", caPem: own.caPem });
    const asked = createClient(kms.KMSAdmin, transport).getInclusionProof({
      certificateSha256: sha256(certificate.raw),
    });
    await expect(asked).rejects.toMatchObject({ code: "internal" });
  });

  it("is not on the listener for guests, and the other way round", async () => {
    const path = (name: string): string => `/prpc/${name}?json`;
    expect((await callRaw(server, installation.caPem, path("KMSAdmin.GetLogHead"), "{}")).status).toBe(404);
    const adminServer = { ...server, url: server.adminUrl ?? "" };
    expect((await callRaw(adminServer, installation.caPem, path("KMS.GetMeta"), "{}")).status).toBe(404);
  });

  it("K5: kms check-inclusion and check-consistency read what curl wrote", async () => {
    const certificate = await issue("by hand");
    const adminServer = { ...server, url: server.adminUrl ?? "" };
    const file = (name: string): string => join(installation.dir, name);
    const save = async (name: string, method: string, body: object): Promise<void> => {
      const { body: text } = await callRaw(
        adminServer,
        installation.caPem,
        `/prpc/KMSAdmin.${method}?json`,
        JSON.stringify(body),
      );
      await writeFile(file(name), text);
    };
    await writeFile(file("app.pem"), certificate.toString());
    await save("head.json", "GetLogHead", {});
    await save("proof.json", "GetInclusionProof", { certificate_sha256: hex(sha256(certificate.raw)) });
    const { size } = JSON.parse(await readFile(file("head.json"), "utf8")) as { size: number };
    await save("consistency.json", "GetConsistencyProof", { old_size: size });
    const ca = ["--ca", installation.config.core.root_ca_cert];
    const kmsProgram = (...args: string[]) =>
      run(process.execPath, ["--import", "tsx", main, ...args, ...ca]);
    const included = await kmsProgram(
      "check-inclusion",
      "--certificate",
      file("app.pem"),
      "--proof",
      file("proof.json"),
    );
    expect(included.stdout).toMatch(/^entry \d+ of \d+, made /);
    const consistency = ["--earlier", file("head.json"), "--proof", file("consistency.json")];
    expect((await kmsProgram("check-consistency", ...consistency)).stdout).toContain("begin the");
    await writeFile(file("app.pem"), installation.caPem);
    await expect(
      kmsProgram("check-inclusion", "--certificate", file("app.pem"), "--proof", file("proof.json")),
    ).rejects.toMatchObject({ code: 2, stderr: expect.stringContaining("another certificate") as string });
  });
});
