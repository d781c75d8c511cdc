import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseAppId } from "@dstack/core";
import { createApp, listenHttp, silentLogger } from "@dstack/daemon";
import { kms } from "@dstack/proto";
import { RpcError, implement, mountPrpc } from "@dstack/prpc";
import { kmsEnvKeys, kmsUrlOfHost } from "../src/kms/env-key.js";
import { FakeHypervisor } from "./helpers/fake-hypervisor.js";
import { testCaPem, testpod } from "./helpers/testpod.js";

const run = promisify(execFile);
const APP = parseAppId("ab".repeat(20));

/** Certificates: a root, the KMS's own, one an app made below its own CA, and those of a strange root. */
class Certificates implements AsyncDisposable {
  private constructor(readonly dir: string) {}

  static async make(): Promise<Certificates> {
    const c = new Certificates(await mkdtemp(join(tmpdir(), "teepod-kms-")));
    await c.#root("root");
    await c.#root("strange");
    await c.#issue("kms", "root", false);
    await c.#issue("app-ca", "root", true);
    await c.#issue("app", "app-ca", false);
    const genuine = Buffer.from(`\n${await c.read("kms.pem")}`).toString("hex");
    const length = (genuine.length / 2).toString(16).padStart(4, "0");
    await c.#issue("app-in-disguise", "app-ca", false, `1.2.3.4=DER:0482${length}${genuine}\n`);
    await c.#issue("stranger", "strange", false);
    return c;
  }

  async #openssl(...args: string[]): Promise<void> {
    await run("openssl", args, { cwd: this.dir });
  }

  async #root(name: string): Promise<void> {
    await this.#openssl(
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"],
      ...["-subj", `/CN=${name}`, "-keyout", `${name}.key`, "-out", `${name}.pem`],
    );
  }

  async #issue(name: string, issuer: string, ca: boolean, extension = ""): Promise<void> {
    await writeFile(
      join(this.dir, `${name}.ext`),
      `basicConstraints=critical,CA:${ca ? "TRUE" : "FALSE"}\nsubjectAltName=IP:127.0.0.1\n${extension}`,
    );
    await this.#openssl(
      ...["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", `/CN=${name}`],
      ...["-keyout", `${name}.key`, "-out", `${name}.csr`],
    );
    await this.#openssl(
      ...[
        "x509",
        "-req",
        "-in",
        `${name}.csr`,
        "-CA",
        `${issuer}.pem`,
        "-CAkey",
        `${issuer}.key`,
        "-days",
        "2",
      ],
      ...["-CAcreateserial", "-extfile", `${name}.ext`, "-out", `${name}.pem`],
    );
  }

  read(name: string): Promise<string> {
    return readFile(join(this.dir, name), "utf8");
  }

  /** A KMS that answers with `key`, behind the certificate of that name and its chain. */
  async serve(name: string, chain: string[], key: Uint8Array): Promise<AsyncDisposable & { url: string }> {
    const cert = (await Promise.all([name, ...chain].map((n) => this.read(`${n}.pem`)))).join("");
    const app = createApp({ log: silentLogger(), tls: { cert, key: await this.read(`${name}.key`) } });
    const unused = async (): Promise<never> => {
      throw new RpcError("not_found", "not here");
    };
    const service = implement<typeof kms.KMS>(kms.KMS, {
      getAppKey: unused,
      getChallenge: unused,
      getMeta: unused,
      getAppEnvEncryptPubKey: async ({ appId }) => {
        if (appId !== APP) throw new RpcError("bad_request", "another app");
        return { publicKey: key };
      },
    });
    mountPrpc(app, [service]);
    const listener = await listenHttp({ app, address: { host: "127.0.0.1", port: 0 } });
    return {
      url: `https://127.0.0.1:${listener.port}`,
      [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose](),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.dir, { recursive: true, force: true });
  }
}

describe("asking the KMS for an environment's public key", () => {
  let certificates: Certificates;
  const key = new Uint8Array(32).fill(9);
  beforeAll(async () => {
    certificates = await Certificates.make();
  });
  afterAll(() => certificates[Symbol.asyncDispose]());

  async function ask(url: string): Promise<Uint8Array> {
    await using keys = kmsEnvKeys(url, await certificates.read("root.pem"));
    return (await keys.envKey(APP, new AbortController().signal)).publicKey;
  }

  it("gives the key", async () => {
    await using server = await certificates.serve("kms", [], key);
    expect(await ask(server.url)).toEqual(key);
  });

  it("trusts no other root", async () => {
    await using server = await certificates.serve("stranger", [], key);
    await expect(ask(server.url)).rejects.toMatchObject({ code: "unavailable" });
  });

  it("K1: does not take an app's certificate for the KMS's, although it chains to the root and has the name", async () => {
    await using server = await certificates.serve("app", ["app-ca"], key);
    await expect(ask(server.url)).rejects.toThrow("not issued by the KMS root CA itself");
  });

  it("K1: nor one that carries the text of the KMS's own certificate inside, which anybody can see", async () => {
    await using server = await certificates.serve("app-in-disguise", ["app-ca"], key);
    await expect(ask(server.url)).rejects.toThrow("not issued by the KMS root CA itself");
  });

  it("checks the name", async () => {
    await using server = await certificates.serve("kms", [], key);
    await expect(ask(server.url.replace("127.0.0.1", "localhost"))).rejects.toMatchObject({
      code: "unavailable",
    });
  });

  it("refuses a key of a wrong length", async () => {
    await using server = await certificates.serve("kms", [], key.subarray(1));
    await expect(ask(server.url)).rejects.toThrow("wrong length");
  });

  it("reaches a KMS that guests know by the host's address in their network", () => {
    expect(kmsUrlOfHost("https://10.0.2.2:9043")).toBe("https://127.0.0.1:9043/");
    expect(kmsUrlOfHost("https://kms.example:9043/prpc")).toBe("https://kms.example:9043/prpc");
  });

  it("is served to teepod's callers", async () => {
    const asked: string[] = [];
    const rootSignature = new Uint8Array(64).fill(5);
    await using pod = await testpod({
      hypervisor: new FakeHypervisor(),
      envKeys: {
        envKey: async (appId) => {
          asked.push(appId);
          return { publicKey: key, rootSignature };
        },
        [Symbol.asyncDispose]: async () => {},
      },
    });
    expect(await pod.client.getAppEnvEncryptPubKey({ appId: APP })).toMatchObject({
      publicKey: key,
      rootSignature,
      kmsCaCert: await testCaPem(),
    });
    await expect(pod.client.getAppEnvEncryptPubKey({ appId: "../x" })).rejects.toMatchObject({
      code: "bad_request",
    });
    expect(asked).toEqual([APP]);
  });
});
