import { once } from "node:events";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { text } from "node:stream/consumers";
import { expect, it } from "vitest";
import { digestOfNodes, tellNodes } from "../src/wireguard/tell-nodes.js";

it("G5: one guest that holds as many connections as it can keeps no other from hearing of nodes", async () => {
  const nodes = { list: () => [] };
  await using told = await tellNodes({ host: "127.0.0.1", port: 0 }, nodes);
  const ask = (localAddress: string, allowHalfOpen: boolean): Socket =>
    connect({ port: told.port, host: "127.0.0.1", localAddress, allowHalfOpen });
  const greedy = Array.from({ length: 300 }, () => ask("127.0.0.2", true).on("error", () => {}));
  await Promise.all(greedy.map((socket) => once(socket, "connect").catch(() => {})));
  expect(await text(ask("127.0.0.3", false))).toBe(`${digestOfNodes(nodes)}\n`);
  for (const socket of greedy) socket.destroy();
});
