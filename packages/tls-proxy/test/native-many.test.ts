import { expect, it } from "vitest";
import { run } from "./many-connections.js";

it("P4: takes little memory for connections that are idle, and for clients that write slowly", async () => {
  const { idleBytes, writerBytes, carried } = await run({ idle: 1_000, writers: 500 });
  expect(idleBytes).toBeLessThan(1_024); // 500 and what a process's memory rounds up to; what opens a connection is given back
  expect(writerBytes).toBeLessThan(16_384); // what has come of a ClientHello is kept
  expect(carried).toBe(500);
});
