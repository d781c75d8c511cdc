import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { PassThrough, Readable } from "node:stream";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { curl } from "./support/curl.js";
import { frame } from "./support/fake-engine.js";
import type { FakeEngine } from "./support/fake-engine.js";
import { bootGuest } from "./support/tappd-fixture.js";
import type { Guest } from "./support/tappd-fixture.js";

const NAME = "zk-provider-server";

let guest: Guest;
let engine: FakeEngine;
let port: number;
let url: string;

beforeAll(async () => {
  guest = await bootGuest({ compose: { public_logs: true } });
  engine = guest.engine;
  port = (await guest.start()).external.port;
  url = `http://127.0.0.1:${port}/logs/${NAME}`;
});
afterAll(() => guest[Symbol.asyncDispose]());
beforeEach(() => {
  engine.queries = [];
  engine.setLog(NAME, frame(1, "Initializing\n"), frame(2, "\u001b[31mfailed\u001b[0m ü\n"));
});

describe("GET /logs/<container>", () => {
  it("takes the seed's parameters as printed", async () => {
    const query = "since=0&until=0&follow=true&text=true&timestamps=true&bare=true";
    const { text } = await curl(`${url}?${query}`);
    expect(text).toBe("Initializing\nfailed ü\n");
    expect(engine.queries).toEqual([
      {
        container: NAME,
        query: {
          ...{ since: 0, until: 0, tail: "all", follow: true, text: true, timestamps: true, bare: true },
          ansi: false,
        },
      },
    ]);
  });

  it("prints the seed's form: one JSON object a line, the newline in the message", async () => {
    engine.setLog(
      NAME,
      frame(1, "2024-09-29T03:05:45.209507046Z Initializing Rust backend...\n"),
      frame(1, "2024-09-29T03:05:45.209543047Z Calling Rust function: init\n"),
    );
    const { headers, text } = await curl(`${url}?text&timestamps`);
    expect(text).toBe(
      '{"channel":"stdout","message":"2024-09-29T03:05:45.209507046Z Initializing Rust backend...\\n"}\n' +
        '{"channel":"stdout","message":"2024-09-29T03:05:45.209543047Z Calling Rust function: init\\n"}\n',
    );
    expect(headers.get("content-type")).toBe("application/x-ndjson");
    expect(headers.get("x-content-type-options")).toBe("nosniff");
  });

  it("gives base64 of the exact bytes without text", async () => {
    const { text } = await curl(url);
    expect(text).toBe(
      `{"channel":"stdout","message":"${btoa("Initializing\n")}"}\n` +
        `{"channel":"stderr","message":"${Buffer.from("\u001b[31mfailed\u001b[0m ü\n").toString("base64")}"}\n`,
    );
  });

  it("gives the exact bytes with bare alone, and terminal sequences with text and ansi", async () => {
    expect((await curl(`${url}?bare`)).text).toBe("Initializing\n\u001b[31mfailed\u001b[0m ü\n");
    expect((await curl(`${url}?text&ansi&bare`)).text).toBe("Initializing\n\u001b[31mfailed\u001b[0m ü\n");
  });

  it("starts one hour ago unless told otherwise", async () => {
    const before = Math.floor(Date.now() / 1000);
    await curl(url);
    await curl(`${url}?since=30m&until=10m&tail=5`);
    const [first, second] = engine.queries.map(({ query }) => query);
    expect(first?.since).toBeGreaterThanOrEqual(before - 3600);
    expect(first?.since).toBeLessThan(before - 3590);
    expect(Number(second?.until) - Number(second?.since)).toBe(20 * 60);
    expect(second?.tail).toBe(5);
  });

  it.each([
    [`?follow=perhaps`, 400, "follow must be true or false"],
    [
      "?since=yesterday",
      400,
      "since must be a Unix time in seconds or a duration such as 90s, 10m, 1h or 1h30m",
    ],
    ["?tail=-1", 400, 'tail must be "all" or a number of lines up to 10000000'],
    ["?since=1&since=2", 400, "since must be given once"],
  ])("refuses %s", async (query, status, error) => {
    const answer = await curl(url + query);
    expect([answer.status, JSON.parse(answer.text)]).toEqual([status, { error }]);
  });

  it("answers 404 for a container nobody knows", async () => {
    const answer = await curl(`http://127.0.0.1:${port}/logs/nobody`);
    expect([answer.status, answer.text]).toEqual([404, '{"error":"no such container"}']);
  });

  it.each(["..%2f..%2finfo", "a%2fjson%3f", "%2e%2e", "-x", "a%20b"])(
    "never hands %j to the engine: it would become part of a path there",
    async (name) => {
      const answer = await curl("--path-as-is", `http://127.0.0.1:${port}/logs/${name}`);
      expect(answer.status).toBe(400);
      expect(engine.queries).toEqual([]);
    },
  );

  it("cuts a container with a terminal into lines", async () => {
    const stream = (): Readable =>
      Readable.from([Buffer.from("a\nb"), Buffer.from("c\r\nd")], { objectMode: false });
    engine.logs.set("tty", () => ({ hasTerminal: true, stream: stream() }));
    const { text } = await curl(`http://127.0.0.1:${port}/logs/tty?text`);
    const messages = text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as unknown);
    expect(messages).toEqual([
      { channel: "console", message: "a\n" },
      { channel: "console", message: "bc\r\n" },
      { channel: "console", message: "d" },
    ]);
  });

  it("cuts the connection when the engine's stream breaks, rather than pretending an end", async () => {
    engine.setLog(NAME, frame(1, "whole\n"), Buffer.from([9, 9, 9, 9, 9, 9, 9, 9]));
    await expect(curl(`${url}?text`)).rejects.toThrow(/curl/);
  });
});

describe("a followed log", () => {
  it("arrives line by line, and ends at the engine when the caller leaves, even in silence", async () => {
    const stream = new PassThrough();
    engine.logs.set("quiet", () => ({ hasTerminal: false, stream }));
    const client = spawn("curl", ["-sN", `http://127.0.0.1:${port}/logs/quiet?follow&text&bare`]);
    const closed = once(stream, "close");
    stream.write(frame(1, "first\n"));
    const [data] = (await once(client.stdout, "data")) as [Buffer];
    expect(data.toString()).toBe("first\n");
    stream.write(frame(2, "second\n"));
    const [more] = (await once(client.stdout, "data")) as [Buffer];
    expect(more.toString()).toBe("second\n");
    client.kill();
    await closed;
    expect(stream.destroyed).toBe(true);
  });

  it("is not read faster than the caller takes it", async () => {
    const line = frame(1, `${"x".repeat(8 * 1024 - 1)}\n`);
    let produced = 0;
    const endless = Readable.from(
      (async function* () {
        for (; produced < 64 * 1024; produced++) yield line; // 512 MiB
      })(),
      { objectMode: false },
    );
    engine.logs.set("flood", () => ({ hasTerminal: false, stream: endless }));
    const socket = connect(port, "127.0.0.1");
    socket.write("GET /logs/flood?bare HTTP/1.1\r\nhost: x\r\n\r\n");
    await once(socket, "readable"); // and never read on
    await expect
      .poll(
        async () => {
          const before = produced;
          await new Promise((resolve) => setImmediate(resolve));
          return before > 0 && produced === before;
        },
        { interval: 100 },
      )
      .toBe(true);
    expect(produced * line.length).toBeLessThan(32 * 2 ** 20); // kernel buffers and ours
    const closed = once(endless, "close");
    socket.destroy();
    await closed;
  });
});
