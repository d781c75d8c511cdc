import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, readFile, readdir, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { INTEL_ROOT, runtimeEvent } from "@dstack/attestation";
import { createApp, createLogger, listenHttp, silentLogger } from "@dstack/daemon";
import { RpcError, createClient, implement, mountPrpc } from "@dstack/prpc";
import { kms, tappd } from "@dstack/proto";
import { listenRaRpc } from "@dstack/ra-rpc";
import { CertificateAuthority } from "@dstack/ra-tls";
import { bareLaunch } from "@dstack/tdx-attest";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { KmsConfig, issueServerCert, startKms } from "../src/index.js";
import type { Kms } from "../src/index.js";
import { onboardReplica } from "../src/onboard/replica.js";
import { OnboardTokens } from "../src/onboard/tokens.js";
import {
  bootGuest,
  callRaw,
  evidenceOf,
  guestClient,
  guestTransport,
  install,
  start,
  verifierOf,
} from "./guest.js";
import type { Guest, GuestOptions, Installation } from "./guest.js";
import { tempDir } from "./temp.js";

const REPLICA = "the replica's compose document";
const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));

let installation: Installation;
let server: Kms;
let tokens: OnboardTokens;
const logged: string[] = [];
const MINUTE_MS = 60_000;

beforeAll(async () => {
  installation = await install({}, [REPLICA]);
  const log = createLogger({ name: "kms", destination: { write: (line) => void logged.push(line) } });
  server = await start(installation, { log });
  tokens = await OnboardTokens.open(join(installation.dir, "tokens"));
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

/** A VM whose app runs: what a container of it gets from tappd. */
const vmOf = (options: Partial<GuestOptions> = {}): Promise<Guest> =>
  bootGuest({
    caPem: installation.caPem,
    compose: REPLICA,
    edit: (events) => [...events, runtimeEvent("system-ready", new Uint8Array())],
    ...options,
  });

/** The socket that tappd offers to the containers of a VM. */
async function serveTappd(guest: Guest): Promise<AsyncDisposable & { path: string }> {
  const app = createApp({ log: silentLogger() });
  const unused = async (): Promise<never> => {
    throw new RpcError("not_found", "not here");
  };
  mountPrpc(app, [
    implement(tappd.Tappd, {
      rawQuote: ({ reportData }) => evidenceOf(guest, reportData),
      tdxQuote: unused,
      deriveKey: unused,
      info: unused,
    }),
  ]);
  const path = join(await tempDir(), "tappd.sock");
  const listener = await listenHttp({ app, address: { path, mode: 0o600 } });
  return { path, [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose]() };
}

interface Attempt {
  guest?: Guest;
  token?: string;
  from?: string;
  caPem?: string;
}

async function onboard(attempt: Attempt = {}): Promise<string> {
  await using socket = await serveTappd(attempt.guest ?? (await vmOf()));
  const dir = join(await tempDir(), "certs");
  await onboardReplica({
    from: attempt.from ?? server.adminUrl ?? "",
    caPem: attempt.caPem ?? installation.caPem,
    token: attempt.token ?? (await tokens.create()),
    tappdSocket: socket.path,
    dir,
    altNames: ["127.0.0.1"],
  });
  return dir;
}

const refused = (message: RegExp): unknown =>
  expect.objectContaining({ code: "permission_denied", message: expect.stringMatching(message) as string });

async function handovers(): Promise<unknown[]> {
  const text = await readFile(join(installation.dir, "log", "issued.log"), "utf8").catch(() => "");
  const lines = text.split("\n").slice(0, -1);
  const entries = lines.map((line) => JSON.parse(line.slice(65)) as Record<string, unknown>);
  return entries.filter((entry) => entry["kind"] === "root-handover");
}

describe("K6: handing the root key over", () => {
  it("makes a replica that gives the same apps the same keys", async () => {
    const vm = await vmOf();
    const dir = await onboard({ guest: vm });
    expect((await stat(join(dir, "root-ca.key"))).mode & 0o777).toBe(0o600);
    const { core, tls } = installation.config;
    const config = KmsConfig.parse({
      ...installation.config,
      admin: undefined,
      tls: { ...tls, key: join(dir, "server.key"), certs: join(dir, "server.pem") },
      core: {
        ...core,
        root_ca_cert: join(dir, "root-ca.pem"),
        root_ca_key: join(dir, "root-ca.key"),
        cert_log_dir: join(dir, "log"),
      },
    });
    await using replica = await startKms(config, { log: silentLogger(), verifier: await verifierOf() });
    const guest = await bootGuest({ caPem: installation.caPem });
    await using one = await guestClient(installation, server, guest);
    await using two = await guestClient(installation, replica, guest);
    const [keys, same] = [await one.getAppKey(), await two.getAppKey()];
    expect(same.appKey).toBe(keys.appKey);
    expect(same.diskCryptKey).toEqual(keys.diskCryptKey);
    expect(same.k256Key).toEqual(keys.k256Key);
  });

  it("K6, K5: is in the issue log, in the daemon's log and in the metrics; the key is in none of them", async () => {
    const before = (await handovers()).length;
    const vm = await vmOf({ instance: "the logged one" });
    await onboard({ guest: vm });
    const entries = await handovers();
    expect(entries.length).toBe(before + 1);
    expect(entries.at(-1)).toMatchObject({ instance_id: vm.instanceId, anchor: "simulated" });
    expect(logged.join("")).toContain("ROOT KEY handed over");
    expect(logged.join("")).toContain(vm.instanceId);
    const { body } = await callRaw(server, installation.caPem, "/metrics");
    expect(body).toMatch(/kms_root_key_handovers_total [1-9]/);
    const key = await readFile(installation.config.core.root_ca_key, "utf8");
    const secret = key.split("\n")[1] ?? "";
    expect(secret.length).toBeGreaterThan(40);
    expect(logged.join("")).not.toContain(secret);
    expect(JSON.stringify(entries)).not.toContain(secret);
  });

  it("K6: a wrong token, none, or one that was used", async () => {
    const before = (await handovers()).length;
    await expect(onboard({ token: "wrong" })).rejects.toEqual(refused(/token is not valid/));
    await expect(onboard({ token: "" })).rejects.toEqual(refused(/token is not valid/));
    await expect(onboard({ token: "../tokens" })).rejects.toEqual(refused(/token is not valid/));
    const token = await tokens.create();
    await onboard({ token });
    await expect(onboard({ token })).rejects.toEqual(refused(/token is not valid/));
    expect((await handovers()).length).toBe(before + 1);
  });

  it("K6: one token for two replicas at the same time is good for one", async () => {
    const token = await tokens.create();
    const results = await Promise.allSettled([1, 2, 3].map(() => onboard({ token })));
    expect(results.filter(({ status }) => status === "fulfilled").length).toBe(1);
  });

  it("K6: a token is good for 15 minutes, and its file does not tell it", async () => {
    const dir = await tempDir();
    const own = await OnboardTokens.open(join(dir, "tokens"));
    const token = await own.create();
    expect(token.length).toBeGreaterThanOrEqual(43);
    const [file = ""] = await readdir(join(dir, "tokens"));
    expect(file).not.toContain(token);
    expect(await readFile(join(dir, "tokens", file), "utf8")).toBe("");
    const made = new Date(Date.now() - 15 * MINUTE_MS);
    await utimes(join(dir, "tokens", file), made, made);
    expect(await own.take(token, Date.now())).toBe(false);
    const fresh = await own.create();
    expect(await own.take(fresh, Date.now() + 14 * MINUTE_MS)).toBe(true);
    expect(await own.take(fresh, Date.now())).toBe(false);
  });

  it("K6: who can write the token directory could make tokens: it does not start", async () => {
    const open = await install({}, [REPLICA]);
    await (await start(open))[Symbol.asyncDispose]();
    await chmod(join(open.dir, "tokens"), 0o770);
    await expect(start(open)).rejects.toThrow(/may be written by others/);
  });

  it("K6: good evidence of a VM that is no replica, with a good token", async () => {
    const token = await tokens.create();
    const tenant = await vmOf({ compose: "some tenant's app" });
    await expect(onboard({ guest: tenant, token })).rejects.toEqual(refused(/not one of a replica/));
    // Its containers call Onboard without a challenge, too.
    await using transport = await guestTransport(installation.caPem, server.adminUrl ?? "", tenant);
    const client = createClient(kms.KMSAdmin, transport);
    await expect(client.onboard({ token })).rejects.toEqual(refused(/not one of a replica/));
    // An upgrade of an app whose id is the replica's is another document all the same.
    const upgraded = await vmOf({ compose: "evil", firstCompose: REPLICA });
    await expect(onboard({ guest: upgraded, token })).rejects.toEqual(refused(/not one of a replica/));
    await onboard({ token });
  });

  it("K6: a replica in a VM whose disk is under the keys of somebody else's KMS", async () => {
    const token = await tokens.create();
    const theirs = await install();
    const guest = await vmOf({ caPem: theirs.caPem });
    await expect(onboard({ guest, token })).rejects.toEqual(refused(/CA certificate of another KMS/));
    await onboard({ token });
  });

  it("K6: no list of replicas, no replica", async () => {
    const none = await install({}, []);
    await using daemon = await start(none);
    const token = await (await OnboardTokens.open(join(none.dir, "tokens"))).create();
    const guest = await vmOf({ caPem: none.caPem });
    const attempt = onboard({ guest, token, caPem: none.caPem, from: daemon.adminUrl ?? "" });
    await expect(attempt).rejects.toEqual(refused(/not one of a replica/));
  });

  it("K6: a peer whose evidence the KMS's policy refuses", async () => {
    const token = await tokens.create();
    const image = await vmOf({ parts: { launch: bareLaunch("another image") } });
    await expect(onboard({ guest: image, token })).rejects.toEqual(refused(/evidence refused/));
    const debug = await vmOf({ parts: { td: { tdAttributes: Uint8Array.of(1, 0, 0, 0x10, 0, 0, 0, 0) } } });
    await expect(onboard({ guest: debug, token })).rejects.toEqual(refused(/evidence refused/));
    const strict = await install({}, [REPLICA]);
    await using daemon = await start(strict, { verifier: await verifierOf({ anchors: [INTEL_ROOT] }) });
    const simulated = onboard({ caPem: strict.caPem, from: daemon.adminUrl ?? "" });
    await expect(simulated).rejects.toEqual(refused(/evidence refused/));
    const body = JSON.stringify({ token });
    const unfinished = { "content-length": "1000" };
    const adminServer = { ...server, url: server.adminUrl ?? "" };
    expect(
      (await callRaw(adminServer, installation.caPem, "/prpc/KMSAdmin.Onboard?json", body, unfinished))
        .status,
    ).toBe(401);
    // None of them used the token up.
    await onboard({ token });
  });

  it("K6, E13: evidence that is not fresh, or fresh for something else", async () => {
    const token = await tokens.create();
    const vm = await vmOf();
    await using transport = await guestTransport(installation.caPem, server.adminUrl ?? "", vm);
    await transport.withSession(async (session) => {
      const client = createClient(kms.KMSAdmin, session);
      await expect(client.onboard({ token })).rejects.toEqual(refused(/fresh evidence only/));
      const { challenge } = await client.getChallenge();
      const forKeys = await evidenceOf(vm, session.freshReportData("kms-challenge", challenge));
      const freshEvidence = { challenge, ...forKeys };
      await expect(client.onboard({ token, freshEvidence })).rejects.toEqual(refused(/other report data/));
    });
  });

  it("K6: is on the admin listener only", async () => {
    const { status } = await callRaw(server, installation.caPem, "/prpc/KMSAdmin.Onboard?json", "{}");
    expect(status).toBe(404);
    const bare = await install();
    await using daemon = await start(bare);
    expect(daemon.adminUrl).toBeUndefined();
  });
});

describe("K6: the replica's side", () => {
  it("takes the key from nobody but a KMS of its CA", async () => {
    const other = await install({}, [REPLICA]);
    await using stranger = await start(other);
    const token = await (await OnboardTokens.open(join(other.dir, "tokens"))).create();
    await expect(onboard({ from: stranger.adminUrl ?? "", token })).rejects.toMatchObject({
      code: "unavailable",
    });
  });

  it("takes no other root than the one it was told", async () => {
    const evil = await CertificateAuthority.create({ commonName: "evil" });
    const evilKey = evil.key.export({ type: "pkcs8", format: "pem" }).toString();
    const out = { outCert: join(installation.dir, "evil.pem"), outKey: join(installation.dir, "evil.key") };
    await issueServerCert(join(installation.dir, "certs"), {
      ...out,
      commonName: "tproxy",
      altNames: ["127.0.0.1"],
    });
    const nothing = async (): Promise<object> => ({});
    for (const rootCaKey of [evilKey, "no key"]) {
      await using impostor = await listenRaRpc({
        host: "127.0.0.1",
        port: 0,
        key: await readFile(out.outKey, "utf8"),
        certChain: await readFile(out.outCert, "utf8"),
        log: silentLogger(),
        services: [
          implement(kms.KMSAdmin, {
            getChallenge: async () => ({ challenge: new Uint8Array(32) }),
            onboard: async () => ({ rootCaKey }),
            getLogHead: nothing,
            getInclusionProof: nothing,
            getConsistencyProof: nothing,
          }),
        ],
      });
      await expect(onboard({ from: impostor.url, token: "t" })).rejects.toThrow(/handed over cannot be used/);
    }
  });

  it("K6, K4: the token comes from a file or standard input, never from the arguments", async () => {
    await using socket = await serveTappd(await vmOf());
    const dir = await tempDir();
    const program = async (args: string[], input = ""): Promise<{ code: number | null; stderr: string }> => {
      const child = spawn(process.execPath, ["--import", "tsx", main, "onboard", ...args]);
      let stderr = "";
      child.stderr.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk));
      child.stdin.end(input);
      const [code] = (await once(child, "exit")) as [number | null];
      return { code, stderr };
    };
    const token = await tokens.create();
    const common = [
      ...["--from", server.adminUrl ?? "", "--ca", installation.config.core.root_ca_cert],
      ...["--tappd", socket.path, "--alt-name", "127.0.0.1"],
    ];
    const inArguments = await program([
      ...common,
      "--dir",
      join(dir, "a"),
      "--token-file",
      "-",
      "--token",
      token,
    ]);
    expect(inArguments).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("unknown option") as string,
    });
    await writeFile(join(dir, "token"), token, { mode: 0o644 });
    const readable = await program([...common, "--dir", join(dir, "a"), "--token-file", join(dir, "token")]);
    expect(readable).toMatchObject({ code: 1, stderr: expect.stringContaining("chmod 600") as string });
    const piped = await program([...common, "--dir", join(dir, "a"), "--token-file", "-"], `${token}\n`);
    expect(piped).toEqual({ code: 0, stderr: "" });
    // Beside an installation nothing is asked for, so that no token is lost.
    const next = await tokens.create();
    const again = await program([...common, "--dir", join(dir, "a"), "--token-file", "-"], next);
    expect(again.stderr).toContain("never overwrites");
    expect(await tokens.take(next, Date.now())).toBe(true);
  });
});
