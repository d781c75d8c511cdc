import { createHash, createPrivateKey, X509Certificate } from "node:crypto";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, stat, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { parseEventLog, parseQuote, replayEventLog, verifyEvidence } from "@dstack/attestation";
import { fromHex, hex, sha512, utf8 } from "@dstack/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { curl, curlJson } from "./support/curl.js";
import { bootGuest, platform } from "./support/tappd-fixture.js";
import type { Guest } from "./support/tappd-fixture.js";

const text = (value: unknown): string => {
  if (typeof value !== "string") throw new Error(`not a text: ${JSON.stringify(value)}`);
  return value;
};
const reportDataOf = (answer: Record<string, unknown>): string =>
  hex(parseQuote(fromHex(text(answer["quote"]))).body.reportData);

let guest: Guest;
let tappdSocket: string;
let dstackSocket: string;

beforeAll(async () => {
  guest = await bootGuest();
  const { sockets } = await guest.start();
  tappdSocket = sockets.tappd;
  dstackSocket = sockets.dstack;
});
afterAll(() => guest[Symbol.asyncDispose]());

describe("tappd.sock", () => {
  it("answers the seed's quote command as printed", async () => {
    // curl -X POST --unix-socket /var/run/tappd.sock -d '{"report_data": "0x1234deadbeef"}' http://localhost/prpc/Tappd.TdxQuote?json | jq .
    const answer = await curlJson(
      ...["-X", "POST", "--unix-socket", tappdSocket, "-d", '{"report_data": "0x1234deadbeef"}'],
      "http://localhost/prpc/Tappd.TdxQuote?json",
    );
    const expected = sha512("app-data:", fromHex("1234deadbeef"));
    expect(reportDataOf(answer)).toBe(hex(expected));
  });

  it("gives quote and event log that pass full verification", async () => {
    const answer = await curlJson(
      ...["--unix-socket", tappdSocket, "-d", '{"report_data":"00ff","hash_algorithm":"sha3-256"}'],
      "http://localhost/prpc/Tappd.TdxQuote?json",
    );
    const now = Math.floor(Date.now() / 1000);
    const reportData = new Uint8Array(64);
    reportData.set(createHash("sha3-256").update("app-data:").update(fromHex("00ff")).digest());
    const verified = verifyEvidence({
      quote: fromHex(text(answer["quote"])),
      eventLog: text(answer["event_log"]),
      collateral: platform.collateral(now),
      now,
      anchors: [{ kind: "simulated", sha256: platform.rootSha256 }],
      reportData,
    });
    expect(verified.identity).toMatchObject({
      appId: guest.appId,
      instanceId: guest.instanceId,
      systemReady: true,
    });
  });

  it("takes up to 64 bytes as they are in RawQuote, padded on the right", async () => {
    const url = "http://localhost/prpc/Tappd.RawQuote?json";
    const answer = await curlJson("--unix-socket", tappdSocket, "-d", '{"report_data":"0102"}', url);
    expect(reportDataOf(answer)).toBe(`0102${"00".repeat(62)}`);
    const tooLong = `{"report_data":"${"00".repeat(65)}"}`;
    const refused = await curl("--unix-socket", tappdSocket, "-d", tooLong, url);
    expect([refused.status, refused.text]).toEqual([
      400,
      '{"error":"report_data must be at most 64 bytes, got 65"}',
    ]);
  });

  it.each([
    ['{"report_data":"00","hash_algorithm":"md5"}', /unknown hash_algorithm/],
    ['{"report_data":"00","hash_algorithm":"raw"}', /must be 64 bytes/],
    ['{"report_data":"0"}', /hex/],
    ["{", /JSON/],
  ])("refuses %s with 400 and one sentence", async (body, message) => {
    const answer = await curl(
      "--unix-socket",
      tappdSocket,
      "-d",
      body,
      "http://localhost/prpc/Tappd.TdxQuote?json",
    );
    expect(answer.status).toBe(400);
    expect((JSON.parse(answer.text) as { error: string }).error).toMatch(message);
  });

  it("answers GET with the request in the query", async () => {
    const answer = await curlJson(
      "--unix-socket",
      tappdSocket,
      "http://localhost/prpc/Tappd.RawQuote?report_data=0a",
    );
    expect(reportDataOf(answer)).toBe(`0a${"00".repeat(63)}`);
  });

  it("E5: hashes under app-data, so that no TdxQuote equals an identity quote", async () => {
    const claim = hex(utf8("ratls-cert:some key"));
    const answer = await curlJson(
      ...["--unix-socket", tappdSocket, "-d", JSON.stringify({ report_data: claim })],
      "http://localhost/prpc/Tappd.TdxQuote?json",
    );
    expect(reportDataOf(answer)).not.toBe(hex(sha512("ratls-cert:some key")));
  });

  it("E5: every quote comes with a log that holds system-ready", async () => {
    for (const path of ["Tappd.TdxQuote?json", "Tappd.RawQuote?json"]) {
      const data = JSON.stringify({ report_data: "00".repeat(64) });
      const answer = await curlJson(
        "--unix-socket",
        tappdSocket,
        "-d",
        data,
        `http://localhost/prpc/${path}`,
      );
      const events = parseEventLog(text(answer["event_log"]));
      const { body } = parseQuote(fromHex(text(answer["quote"])));
      expect(replayEventLog(events)).toEqual([...body.rtmr]);
      expect(events.map(({ event }) => event)).toContain("system-ready");
    }
  });

  it("derives the same key for a path, with a certificate that chains to the KMS root", async () => {
    const derive = async (path: string): Promise<{ key: string; certificate_chain: string[] }> => {
      const body = JSON.stringify({ path, subject: "app.example", alt_names: ["app.example", "10.0.0.7"] });
      const answer = await curl(
        "--unix-socket",
        tappdSocket,
        "-d",
        body,
        "http://localhost/prpc/Tappd.DeriveKey?json",
      );
      return JSON.parse(answer.text) as { key: string; certificate_chain: string[] };
    };
    const [first, again, other] = await Promise.all([derive("a"), derive("a"), derive("b")]);
    expect(again.key).toBe(first.key);
    expect(other.key).not.toBe(first.key);

    const [leaf, appCa, root] = first.certificate_chain.map((pem) => new X509Certificate(pem));
    if (leaf === undefined || appCa === undefined || root === undefined)
      throw new Error("chain is too short");
    expect(leaf.checkPrivateKey(createPrivateKey(first.key))).toBe(true);
    expect([leaf.subject, leaf.subjectAltName]).toEqual([
      "CN=app.example",
      "DNS:app.example, IP Address:10.0.0.7",
    ]);
    expect([leaf.ca, leaf.verify(appCa.publicKey), appCa.verify(root.publicKey)]).toEqual([
      false,
      true,
      true,
    ]);
    expect(root.raw).toEqual(new X509Certificate(guest.kms.ca.certPem).raw);
  });

  it("puts the app id where a subject is empty or too long for a certificate", async () => {
    for (const subject of ["", "s".repeat(65)]) {
      const body = JSON.stringify({ path: "p", subject });
      const answer = await curl(
        "--unix-socket",
        tappdSocket,
        "-d",
        body,
        "http://localhost/prpc/Tappd.DeriveKey?json",
      );
      const { certificate_chain } = JSON.parse(answer.text) as { certificate_chain: string[] };
      expect(new X509Certificate(certificate_chain[0] ?? "").subject).toBe(`CN=${guest.appId}`);
    }
  });

  it.each([
    { alt_names: ["not a name"] },
    { alt_names: Array.from({ length: 101 }, (_, index) => `h${index}.example`) },
    { path: "p".repeat(4097) },
  ])("refuses a certificate request that cannot be: %#", async (request) => {
    const answer = await curl(
      ...["--unix-socket", tappdSocket, "-d", JSON.stringify(request)],
      "http://localhost/prpc/Tappd.DeriveKey?json",
    );
    expect(answer.status).toBe(400);
  });

  it("K4: never shows more than the derived key", async () => {
    const keysFile = JSON.parse(await readFile(join(guest.dir, "appkeys.json"), "utf8")) as Record<
      string,
      string
    >;
    const secrets = [keysFile["app_key"]?.split("\n")[1], keysFile["k256_key"], keysFile["disk_crypt_key"]];
    for (const path of ["/prpc/Tappd.Info", "/Info", "/openapi.json", "/Version"]) {
      const answer = await curl("--unix-socket", tappdSocket, `http://localhost${path}`);
      expect(answer.text).not.toContain("PRIVATE KEY");
      for (const secret of secrets) expect(answer.text).not.toContain(text(secret));
    }
  });

  it("tells the app about itself, compose document and event log included", async () => {
    const info = await curlJson("--unix-socket", tappdSocket, "http://localhost/prpc/Tappd.Info");
    expect(info).toMatchObject({
      app_id: guest.appId,
      instance_id: guest.instanceId,
      app_name: "hello",
      public_logs: false,
      public_sysinfo: false,
    });
    const tcb = JSON.parse(text(info["tcb_info"])) as Record<string, unknown>;
    expect(tcb).toMatchObject({ app_compose: guest.composeText, os_image_hash: "cd".repeat(32) });
    expect(tcb["rtmr3"]).toBe(hex(await guest.provider.readRtmr(3)));
    expect(text(info["app_cert"])).toContain("BEGIN CERTIFICATE");
  });
});

describe("both sockets", () => {
  it("are there for every user", async () => {
    for (const path of [tappdSocket, dstackSocket]) {
      const { mode } = await stat(path);
      expect((mode & 0o777).toString(8)).toBe("666");
    }
  });

  it("answer in ASCII with Content-Length and not chunked", async () => {
    await using other = await bootGuest({ compose: { name: "größe – 尺寸" } });
    const { sockets } = await other.start();
    for (const path of [sockets.tappd, sockets.dstack]) {
      const answer = await curl("--unix-socket", path, "http://localhost/Info");
      expect(answer.headers.get("content-length")).toBe(String(answer.body.length));
      expect(answer.headers.has("transfer-encoding")).toBe(false);
      expect(answer.body.every((byte) => byte < 0x80)).toBe(true);
      expect(JSON.parse(answer.text)).toMatchObject({ app_name: "größe – 尺寸" });
    }
  });

  it("read a request whose Content-Length undercounts its text", async () => {
    const path = "schlüssel-尺寸";
    const payload = JSON.stringify({ path, subject: "x" });
    const raw = await new Promise<string>((resolve, reject) => {
      const socket = connect(tappdSocket, () => {
        socket.write(
          `POST /prpc/Tappd.DeriveKey HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${payload.length}\r\n\r\n`,
        );
        socket.write(payload);
      });
      let received = "";
      socket.on("data", (chunk) => {
        received += chunk.toString();
        if (received.includes("certificate_chain")) socket.end();
      });
      socket.on("end", () => resolve(received));
      socket.on("error", reject);
    });
    const whole = await curlJson(
      "--unix-socket",
      tappdSocket,
      "-d",
      payload,
      "http://localhost/prpc/Tappd.DeriveKey?json",
    );
    expect(raw).toContain(JSON.stringify(whole["key"]).slice(1, 100));
  });

  it("replace a socket that a dead tappd left, and refuse one that is served", async () => {
    await using other = await bootGuest();
    const path = other.config.sockets.tappd;
    const listen = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => console.log("up"))`;
    const process = spawn("node", ["-e", listen], { stdio: ["ignore", "pipe", "inherit"] });
    await once(process.stdout, "data");
    await expect(other.start()).rejects.toThrow(/already listens/);
    process.kill("SIGKILL");
    await once(process, "exit");
    expect((await stat(path)).isSocket()).toBe(true);
    await using running = await other.start();
    expect(await curlJson("--unix-socket", running.sockets.tappd, "http://localhost/Version")).toHaveProperty(
      "version",
    );
  });

  it("are gone after tappd has stopped", async () => {
    await using other = await bootGuest();
    const running = await other.start();
    await running[Symbol.asyncDispose]();
    for (const path of Object.values(running.sockets)) await expect(stat(path)).rejects.toThrow("ENOENT");
  });

  it("serve what tappd.sock and dstack.sock each promise", async () => {
    for (const [path, status] of [
      ["/prpc/DstackGuest.Info", [200, 200]],
      ["/Info", [200, 200]],
      ["/prpc/Tappd.Info", [200, 404]],
      ["/prpc/Worker.Info", [404, 404]],
      ["/logs/x", [404, 404]],
    ] as const) {
      const answers = await Promise.all(
        [tappdSocket, dstackSocket].map((socket) => curl("--unix-socket", socket, `http://localhost${path}`)),
      );
      expect([path, answers.map((answer) => answer.status)]).toEqual([path, status]);
    }
  });
});

describe("starting", () => {
  it("E5: refuses to open its sockets before system-ready is in the log", async () => {
    await using other = await bootGuest({ notReady: true });
    await expect(other.start()).rejects.toThrow(/system-ready/);
    await expect(stat(other.config.sockets.tappd)).rejects.toThrow("ENOENT");
  });

  it("refuses a compose document that is not the measured one", async () => {
    await using other = await bootGuest({ composeOnDisk: '{"public_logs":true}' });
    await expect(other.start()).rejects.toThrow(/not the one that was measured/);
  });

  it("refuses keys of another app", async () => {
    await using other = await bootGuest({ keysOnDisk: { app_id: "00".repeat(20) } });
    await expect(other.start()).rejects.toThrow(/another app/);
  });

  it("K4: says what is wrong with a keys file without quoting it", async () => {
    await using other = await bootGuest({ keysOnDisk: { app_key: 1 } });
    await expect(other.start()).rejects.toThrow("the app keys file has no usable app_key");
    await writeFile(join(other.dir, "appkeys.json"), "{secret");
    await expect(other.start()).rejects.toThrow("the app keys file is not JSON");
  });
});
