import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { ConfigError, loadConfig } from "../src/index.js";

const Schema = z.strictObject({
  host: z.string().default("127.0.0.1"),
  port: z.number().int(),
  core: z.strictObject({ root_ca_key: z.string(), tags: z.array(z.string()).default([]) }),
  store: z
    .union([
      z.strictObject({ path: z.string() }),
      z.strictObject({ etcd: z.array(z.string()), prefix: z.string() }),
    ])
    .optional(),
});

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "config-"));
});
afterAll(() => rm(dir, { recursive: true }));

async function file(text: string): Promise<string> {
  const path = join(dir, "kms.toml");
  await writeFile(path, text);
  return path;
}

const good = 'port = 1\n[core]\nroot_ca_key = "k"\n';
const refusal = async (text: string): Promise<string> => {
  const path = await file(text);
  const err: unknown = await loadConfig(Schema, { path }).catch((reason: unknown) => reason);
  if (!(err instanceof ConfigError)) throw new Error(`no ConfigError: ${String(err)}`);
  return err.message.replace(dir, "");
};

describe("loadConfig", () => {
  it("reads a TOML file and fills in the schema's defaults", async () => {
    expect(await loadConfig(Schema, { path: await file(good) })).toEqual({
      host: "127.0.0.1",
      port: 1,
      core: { root_ca_key: "k", tags: [] },
    });
  });

  it("puts the file over defaults and the environment over the file", async () => {
    const config = await loadConfig(Schema, {
      path: await file(good),
      defaults: { host: "default", port: 7, core: { tags: ["default"] } },
      env: {
        prefix: "KMS",
        values: {
          KMS_PORT: "2",
          KMS_CORE__ROOT_CA_KEY: "from the environment",
          KMS_STORE__PATH: '"1234"',
          KMSX_PORT: "3",
          PATH: "/bin",
          KMS_HOST: undefined,
        },
      },
    });
    expect(config).toEqual({
      host: "default",
      port: 2,
      core: { root_ca_key: "from the environment", tags: ["default"] },
      store: { path: "1234" },
    });
  });

  it("names the file and the key that nobody knows, at any depth", async () => {
    expect(await refusal(`prot = 1\n${good}root_ca_kye = "x"\n`)).toBe(
      '/kms.toml: unknown key "core.root_ca_kye"; unknown key "prot"',
    );
    expect(await refusal(`${good}[store]\npath = "a"\npaht = "b"\n`)).toBe(
      '/kms.toml: unknown key "store.paht"',
    );
    const env = { prefix: "KMS", values: { KMS_PROT: "1", KMS_PORT: "1", KMS_CORE__ROOT_CA_KEY: "k" } };
    await expect(loadConfig(Schema, { env })).rejects.toThrow('environment KMS_*: unknown key "prot"');
  });

  it("names the key that is missing or wrong", async () => {
    expect(await refusal("")).toBe('/kms.toml: "port" is missing; "core" is missing');
    expect(await refusal('port = "1"\n[core]\nroot_ca_key = "k"\n')).toBe(
      '/kms.toml: "port": Invalid input: expected number, received string',
    );
  });

  it("names the place of a syntax error", async () => {
    expect(await refusal("port = 1\nhost = \n")).toMatch(/^\/kms.toml:2:\d+: /);
  });

  it("says when there is no such file", async () => {
    await expect(loadConfig(Schema, { path: join(dir, "nope.toml") })).rejects.toThrow(
      `cannot read ${join(dir, "nope.toml")}: there is no such file`,
    );
  });

  it("takes no key from Object.prototype", async () => {
    const env = { prefix: "KMS", values: { KMS___PROTO____PORT: "1" } };
    await expect(loadConfig(Schema, { env })).rejects.toThrow(ConfigError);
    expect(({} as Record<string, unknown>)["port"]).toBeUndefined();
  });
});
