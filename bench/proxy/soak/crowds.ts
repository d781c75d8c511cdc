import { connect } from "node:net";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { ours } from "../contenders/ours.js";
import { residentBytes } from "../machine.js";
import { namesOf } from "../site.js";
import { mib } from "./scenario.js";
import type { Finding, Scenario } from "./scenario.js";
import { onStage } from "./stage.js";
import type { Stage } from "./stage.js";

/** Each takes two of the 20,000 descriptors that a process may have here; others need some beside them. */
const IDLE_CONNECTIONS = 9_500;
/** How long the proxy may take to let go of all of them. */
const RELEASE_MS = 5_000;
const MAX_IDLE_BYTES_EACH = 640;
const SMALL = { speech: "canned", atOnce: 32, requestsEach: 1, answerBytes: 200 } as const;

/** Nearly ten thousand connections that say nothing take little, are let go of again, and others are served beside them. */
export const idleConnections: Scenario = {
  about: "9,500 connections that come at once and say nothing: memory, and others beside and after them",
  run: () => onStage(holdIdle),
};

async function holdIdle({ ends, site }: Stage): Promise<Finding> {
  await using proxy = await ours("native").start(site, { pinned: false, busy: false });
  const name = namesOf(site.ids[0] ?? "").canned;
  await ends.run(proxy.port("pass"), name, { ...SMALL, connections: 500 });
  const before = residentBytes(proxy.pids());
  const held = await ends.hold(proxy.port("pass"), name, {
    ...SMALL,
    atOnce: IDLE_CONNECTIONS,
    connections: IDLE_CONNECTIONS,
  });
  const full = residentBytes(proxy.pids());
  await ends.run(proxy.port("pass"), name, { ...SMALL, connections: 1_000 });
  await held[Symbol.asyncDispose]();
  await sleep(RELEASE_MS);
  await ends.run(proxy.port("pass"), name, { ...SMALL, connections: 1_000 });
  const each = (full - before) / IDLE_CONNECTIONS;
  return {
    passed: each <= MAX_IDLE_BYTES_EACH,
    facts: `${IDLE_CONNECTIONS} idle connections took ${each.toFixed(0)} bytes each; 1,000 others were served beside and after them`,
  };
}

const SLOW_WRITERS = 2_000;
const BYTE_EVERY_MS = 500;
/** The ClientHello is to be whole within 5 s; a busy machine is late. */
const MAX_LIFE_MS = 15_000;
const MAX_SLOW_BYTES = 16 * 2 ** 20;

/** Two thousand clients that send their ClientHello byte by byte are ended in time, and others are served meanwhile. */
export const slowWriters: Scenario = {
  about: "2,000 clients that send their ClientHello byte by byte: memory, their end, and others beside them",
  run: () => onStage(writeSlowly),
};

async function writeSlowly({ ends, site }: Stage): Promise<Finding> {
  await using proxy = await ours("native").start(site, { pinned: false, busy: false });
  const name = namesOf(site.ids[0] ?? "").canned;
  await ends.run(proxy.port("pass"), name, { ...SMALL, connections: 500 });
  const before = residentBytes(proxy.pids());
  const began = performance.now();
  const lives = Array.from({ length: SLOW_WRITERS }, () => trickle(proxy.port("pass")));
  await sleep(2 * BYTE_EVERY_MS);
  const growth = residentBytes(proxy.pids()) - before;
  await ends.run(proxy.port("pass"), name, { ...SMALL, connections: 1_000 });
  await Promise.all(lives);
  const tookMs = performance.now() - began;
  return {
    passed: tookMs <= MAX_LIFE_MS && growth <= MAX_SLOW_BYTES,
    facts: `${SLOW_WRITERS} slow writers took ${mib(growth)} and were all ended after ${(tookMs / 1000).toFixed(1)} s; 1,000 others were served meanwhile`,
  };
}

/** Resolves when the proxy has ended it. */
async function trickle(port: number): Promise<void> {
  const socket: Socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  const hello = Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
  let sent = 0;
  const timer = setInterval(() => {
    socket.write(hello.subarray(sent, sent + 1));
    sent = Math.min(sent + 1, hello.length - 1);
  }, BYTE_EVERY_MS);
  socket.resume();
  await new Promise((resolve) => socket.once("close", resolve));
  clearInterval(timer);
}
