import { InputError, hex, sha256, sleep } from "@dstack/core";
import { measureImage } from "@dstack/tdx-attest";
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import { toAppCompose } from "../compose.js";
import { writeConfigs } from "../local/config-files.js";
import { isRunning, startDaemon, stopDaemon } from "../local/daemons.js";
import { buildExampleImage, pushImage } from "../local/example-image.js";
import { fetchApp } from "../local/fetch-app.js";
import { ensureDevImage, imagesDir } from "../local/guest-image.js";
import { DAEMON_NAMES, Home } from "../local/home.js";
import { prepareMaterial } from "../local/material.js";
import { choosePorts } from "../local/ports.js";
import { checkoutDir, cliFor } from "../local/programs.js";
import { localServices } from "../local/services.js";
import { CliError, Progress, printResult, printable } from "../output.js";
import type { GlobalOptions } from "../output.js";
import { localClient } from "../teepod.js";
import type { TeepodClient } from "../teepod.js";
import { appHost, verifyLocalApp } from "../verify/local-app.js";
import { exitCodeOf, formatReport, verdictLine } from "../verify/report.js";
import { waitReady, waitStopped } from "../wait.js";
import { examine } from "./doctor.js";
import { interruptSignal } from "./options.js";

/** A guest boots in about a minute under emulation on two quiet cores; a busy machine takes several times that. */
const BOOT_LIMIT_MS = 480_000;
/** One vCPU: under emulation all of a guest's vCPUs share one thread of the host. */
const EXAMPLE = { name: "hello", vcpu: 1, memory: 2048, disk: 4 };

/** `dstack up` */
export function registerUp(program: Command): void {
  program
    .command("up")
    .description("start everything on this machine, without TDX hardware, and deploy the example app")
    .option("--no-example", "only the daemons, no app")
    .addHelpText(
      "after",
      "\nThe platform is simulated: quotes have the real format and are really verified, but up to a root key that lies on\n" +
        "this machine. What is kept (certificates, disks, logs) lies under --home; `dstack down` ends everything.",
    )
    .action(async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { example: boolean }>();
      await up(options);
    });
}

async function up(options: GlobalOptions & { example: boolean }): Promise<void> {
  const progress = new Progress(options.json);
  const signal = interruptSignal();
  const dir = Home.locate(options.home);
  const missing = (await examine(dir)).filter((finding) => !finding.ok);
  if (missing.length > 0) {
    throw new CliError(`something is missing:\n${missing.map((f) => `  ${f.what}: ${f.detail}`).join("\n")}`);
  }
  const home = await Home.open(dir);

  const image = await ensureDevImage(progress, signal);
  const seconds = { image: progress.seconds };
  await prepare(home, image, progress);

  for (const spec of await localServices(home)) {
    const outcome = await startDaemon(home, spec, signal);
    progress.step(`${spec.name} ${outcome === "running" ? "is running already" : "started"}`);
  }
  if (!options.example) {
    printResult(
      options,
      { home: home.dir, image, ports: home.ports },
      () => `everything is running; deploy with: ${cliFor(home)} deploy <file> --wait`,
    );
    return;
  }
  const client = await localClient(home);
  const id = await deployExample(home, client, image, progress, signal);
  const vm = await waitReady({ client, id, progress, limitMs: BOOT_LIMIT_MS, signal });
  const page = await fetchPage(home, vm.appId, signal);
  progress.step(`the app answers through tproxy: ${page}`);
  const { report, nonce } = await verifyLocalApp(home, vm, { path: "/quote", signal });
  progress.step(`asked for a quote over nonce ${nonce.slice(0, 16)}…`);
  const url = `https://${appHost(vm.appId)}:${home.ports.proxy}/`;
  printResult(
    options,
    {
      home: home.dir,
      vm: id,
      app_id: vm.appId,
      url,
      seconds: { ...seconds, total: progress.seconds },
      report,
    },
    () => [formatReport(report, 0), "", ...whatNext(home, url, id)].join("\n"),
  );
  if (!report.verified) throw new CliError(verdictLine(report), exitCodeOf(report) === 2 ? 2 : 1);
}

/** Everything up to the point where daemons can start: ports, certificates, configuration. */
async function prepare(home: Home, image: string, progress: Progress): Promise<void> {
  if (home.state.ports === undefined) await home.update({ ports: await choosePorts() });
  // Interface names are shared by all network namespaces through wireguard-go's control socket: make ours unique.
  const wireguardInterface = home.state.wireguardInterface ?? `dstack-${randomBytes(3).toString("hex")}`;
  await home.update({ wireguardInterface });
  await prepareMaterial(home);
  const imageDigest = hex(sha256(await readFile(join(imagesDir(), image, "sha256sum.txt"))));
  if (home.state.imageDigest !== imageDigest) {
    // Daemons that are running allow the measurements of the image before.
    for (const name of DAEMON_NAMES.toReversed()) {
      if (isRunning(home, name)) await stopDaemon(home, name);
    }
  }
  const launch = await measureImage(join(imagesDir(), image));
  await writeConfigs({ home, imagesDir: imagesDir(), image, launch, wireguardInterface });
  await home.update({ image, imageDigest });
  progress.step(`certificates and configuration are in ${home.dir}`);
}

/** Deploys the example, or finds it: it is the same app as long as its compose document has the same bytes. */
async function deployExample(
  home: Home,
  client: TeepodClient,
  image: string,
  progress: Progress,
  signal: AbortSignal,
): Promise<string> {
  const source = join(checkoutDir(), "examples", "hello");
  const container = await buildExampleImage(source);
  await pushImage(`http://127.0.0.1:${home.ports.registry}`, "dstack/hello", container, signal);
  progress.step(`pushed dstack/hello@${container.digest.slice(0, 19)}… to the local registry`);
  const template = await readFile(join(source, "docker-compose.yaml"), "utf8");
  const pinned = template.replace("dstack/hello:latest", `dstack/hello@${container.digest}`);
  if (pinned === template)
    throw new InputError("examples/hello/docker-compose.yaml does not name dstack/hello:latest");
  const compose = toAppCompose(pinned, {
    name: EXAMPLE.name,
    publicLogs: true,
    publicSysinfo: true,
    publicTcbinfo: true,
    allowedEnvs: [],
  });

  const { vms } = await client.status({}, { signal });
  const existing = vms.find(
    (vm) => vm.configuration?.composeFile === compose.text && vm.configuration.image === image,
  );
  if (existing !== undefined) {
    if (existing.bootError && existing.status === "running") {
      progress.step(`the example's CVM has failed to boot (${printable(existing.bootError)}): once more`);
      await client.stopVm({ id: existing.id }, { signal });
      await waitStopped(client, existing.id, signal);
      existing.status = "stopped";
    }
    if (existing.status !== "running") await client.startVm({ id: existing.id }, { signal });
    progress.step(
      `the example's CVM ${existing.id} ${existing.status === "running" ? "is running already" : "starts again"}`,
    );
    await home.update({ exampleVm: existing.id });
    return existing.id;
  }
  const { id } = await client.createVm(
    {
      name: EXAMPLE.name,
      image,
      composeFile: compose.text,
      vcpu: EXAMPLE.vcpu,
      memory: EXAMPLE.memory,
      diskSize: EXAMPLE.disk,
    },
    { signal },
  );
  await home.update({ exampleVm: id });
  progress.step(`created CVM ${id}: app ${compose.appId}`);
  return id;
}

/** The page's heading. The first request may come before the container listens, so it is tried for a while. */
async function fetchPage(home: Home, appId: string, signal: AbortSignal): Promise<string> {
  const ca = await readFile(home.path("proxy", "ca.pem"), "utf8");
  const end = Date.now() + 60_000;
  for (;;) {
    try {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(15_000)]);
      const { status, body } = await fetchApp({
        host: appHost(appId),
        address: "127.0.0.1",
        port: home.ports.proxy,
        ca,
        path: "/",
        signal: limit,
      });
      if (status !== 200) throw new CliError(`the app answers ${status}`);
      return /<h1>([^<]*)<\/h1>/.exec(body)?.[1] ?? `${body.length} characters`;
    } catch (err) {
      if (signal.aborted || Date.now() > end) throw err;
      await sleep(500, signal);
    }
  }
}

function whatNext(home: Home, url: string, id: string): string[] {
  return [
    `The app:     ${url}`,
    `  curl --cacert ${home.path("proxy", "ca.pem")} ${url}`,
    `  curl --cacert ${home.path("proxy", "ca.pem")} '${url}quote?nonce=00ff'`,
    `teepod:      http://127.0.0.1:${home.ports.teepod}/   (token in ${home.path("teepod.token")})`,
    `tproxy:      http://127.0.0.1:${home.ports.tproxyAdmin}/   (token in ${home.path("tproxy.token")})`,
    "Next:",
    ...["ls", "proxy ls", `logs -f ${id}`, `verify ${id}`, "down"].map((rest) => `  ${cliFor(home)} ${rest}`),
  ];
}
