import { execFile } from "node:child_process";
import { readdirSync, readlinkSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { create } from "@bufbuild/protobuf";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { ResourceStack, identifyProcess, signalProcess, silentLogger } from "@dstack/daemon";
import type { ProcessIdentity } from "@dstack/daemon";
import { teepod } from "@dstack/proto";
import { createClient, httpTransport } from "@dstack/prpc";
import { TeepodConfig, startTeepod } from "../../src/index.js";
import type { Teepod, TeepodConfigInput, TeepodParts } from "../../src/index.js";
import { writeImage } from "./images.js";

export const OPERATOR = "operator-token-0123456789";
export const VIEWER = "viewer-token-0123456789ab";

/** What lies in `run_path` when there are no VMs. */
export const AUDIT = ["audit.log", "audit.log.reserve"];

/** A directory with an image, a CA certificate and a place for VMs. */
export class Site implements AsyncDisposable {
  private constructor(readonly dir: string) {}

  static async make(): Promise<Site> {
    const site = new Site(await mkdtemp(join(tmpdir(), "teepod-test-")));
    await writeImage(site.images, "tiny-0.0.1");
    await writeFile(join(site.dir, "ca.pem"), await testCaPem());
    return site;
  }

  get images(): string {
    return join(this.dir, "images");
  }

  get runPath(): string {
    return join(this.dir, "run");
  }

  config(
    changes: Partial<TeepodConfigInput> = {},
    cvm: Partial<TeepodConfigInput["cvm"]> = {},
  ): TeepodConfigInput {
    return {
      port: 0,
      image_path: this.images,
      run_path: this.runPath,
      auth: {
        tokens: [
          { name: "olga", role: "operator", token: OPERATOR },
          { name: "victor", role: "viewer", token: VIEWER },
        ],
      },
      cvm: {
        ca_cert: join(this.dir, "ca.pem"),
        kms_url: "https://10.0.2.2:9043",
        tproxy_url: "https://10.0.2.2:9070",
        accel: "tcg",
        min_free_disk_mb: 1,
        ...cvm,
      },
      ...changes,
    };
  }

  async start(config: TeepodConfigInput, parts: Partial<TeepodParts> = {}): Promise<Teepod> {
    return startTeepod(TeepodConfig.parse(config), { log: silentLogger(), ...parts });
  }

  /** Live processes that were started for VMs of this site. */
  processes(): ProcessIdentity[] {
    return readdirSync("/proc")
      .filter((name) => /^[0-9]+$/.test(name))
      .filter((name) => workingDirectory(name).startsWith(`${this.runPath}/`))
      .flatMap((name) => identifyProcess(Number(name)) ?? []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // What a failed test left running.
    for (const left of this.processes()) signalProcess(left, "SIGKILL");
    await rm(this.dir, { recursive: true, force: true });
  }
}

function workingDirectory(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return "";
  }
}

/** A site with a running teepod. */
export async function testpod(
  parts: Partial<TeepodParts>,
  options: { config?: Partial<TeepodConfigInput>; cvm?: Partial<TeepodConfigInput["cvm"]> } = {},
): Promise<AsyncDisposable & { site: Site; teepod: Teepod; client: TeepodClient }> {
  await using stack = new ResourceStack();
  const site = stack.use(await Site.make());
  const pod = stack.use(await site.start(site.config(options.config, options.cvm), parts));
  const resources = stack.move();
  return {
    site,
    teepod: pod,
    client: client(pod),
    [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose](),
  };
}

export type TeepodClient = ReturnType<typeof client>;

export function client(pod: Pick<Teepod, "url">, token = OPERATOR) {
  return createClient(
    teepod.Teepod,
    httpTransport({ baseUrl: pod.url, headers: { authorization: `Bearer ${token}` } }),
  );
}

export const COMPOSE = JSON.stringify({
  manifest_version: 1,
  name: "hello",
  runner: "docker-compose",
  docker_compose_file: "services:\n  web:\n    image: hello\n",
  features: ["kms", "tproxy-net"],
  allowed_envs: ["A"],
});

/** A request for a VM that is right in every field. */
export function vmRequest(
  changes: MessageInitShape<typeof teepod.VmConfigurationSchema> = {},
): teepod.VmConfiguration {
  return create(teepod.VmConfigurationSchema, {
    name: "hello",
    image: "tiny-0.0.1",
    composeFile: COMPOSE,
    vcpu: 1,
    memory: 64,
    diskSize: 1,
    ...changes,
  });
}

const run = promisify(execFile);
let ca: Promise<string> | undefined;

/** A throw-away CA certificate. */
export function testCaPem(): Promise<string> {
  ca ??= (async () => {
    const dir = await mkdtemp(join(tmpdir(), "teepod-ca-"));
    try {
      await run("openssl", [
        ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"],
        ...["-subj", "/CN=test root", "-keyout", join(dir, "key.pem"), "-out", join(dir, "ca.pem")],
      ]);
      return await readFile(join(dir, "ca.pem"), "utf8");
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  })();
  return ca;
}
