import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { QmpClient } from "../../src/hypervisor/qmp.js";
import type { QmpEvent } from "../../src/hypervisor/qmp.js";

const GREETING = '{"QMP": {"version": {}, "capabilities": []}}\r\n';

describe("QmpClient", () => {
  let dir: string;
  let close: () => void = () => {};
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "teepod-qmp-"));
  });
  afterEach(async () => {
    close();
    await rm(dir, { recursive: true, force: true });
  });

  /** A monitor that answers each line with what `answer` makes of its command. */
  async function monitor(
    answer: (command: string, id: number, socket: Socket) => void,
    options: { greeting?: string; cwd?: string } = {},
  ): Promise<void> {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.write(options.greeting ?? GREETING);
      let rest = "";
      socket.setEncoding("utf8").on("data", (text: string) => {
        rest += text;
        for (let end = rest.indexOf("\n"); end !== -1; end = rest.indexOf("\n")) {
          const { execute, id } = JSON.parse(rest.slice(0, end)) as { execute: string; id: number };
          rest = rest.slice(end + 1);
          if (execute === "qmp_capabilities") socket.write(`{"return": {}, "id": ${id}}\r\n`);
          else answer(execute, id, socket);
        }
      });
    });
    const before = process.cwd();
    process.chdir(options.cwd ?? dir);
    try {
      await new Promise<void>((resolve) => server.listen("qmp.sock", resolve));
    } finally {
      process.chdir(before);
    }
    close = () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    };
  }

  it("matches answers to commands and passes events on, however the bytes are cut", async () => {
    const events: QmpEvent[] = [];
    await monitor((command, id, socket) => {
      const text = `{"event": "STOP", "timestamp": {}}\r\n{"return": {"command": "${command}"}, "id": ${id}}\r\n`;
      for (const char of text) socket.write(char);
    });
    const qmp = await QmpClient.connect(dir, "qmp.sock", (event) => events.push(event));
    expect(await Promise.all([qmp.execute("one"), qmp.execute("two")])).toEqual([
      { command: "one" },
      { command: "two" },
    ]);
    expect(events).toEqual([
      { event: "STOP", data: {} },
      { event: "STOP", data: {} },
    ]);
    qmp.close();
  });

  it("connects in a directory whose path is longer than a socket address", async () => {
    const deep = join(dir, "a".repeat(100), "b".repeat(100));
    await mkdir(deep, { recursive: true });
    await monitor((_command, id, socket) => socket.write(`{"return": 1, "id": ${id}}\n`), { cwd: deep });
    const qmp = await QmpClient.connect(deep, "qmp.sock", () => {});
    expect(await qmp.execute("x")).toBe(1);
    qmp.close();
  });

  it("rejects what QEMU refuses, with its words", async () => {
    await monitor((_command, id, socket) => {
      socket.write(`{"error": {"class": "GenericError", "desc": "no such thing"}, "id": ${id}}\n`);
    });
    const qmp = await QmpClient.connect(dir, "qmp.sock", () => {});
    await expect(qmp.execute("x")).rejects.toThrow("QEMU refused: no such thing");
    qmp.close();
  });

  it("rejects what is open when the monitor goes away", async () => {
    await monitor((_command, _id, socket) => socket.destroy());
    const qmp = await QmpClient.connect(dir, "qmp.sock", () => {});
    await expect(qmp.execute("quit")).rejects.toMatchObject({ code: "closed" });
    await qmp.closed;
    await expect(qmp.execute("again")).rejects.toMatchObject({ code: "closed" });
  });

  it("refuses a line that is not JSON and one without end", async () => {
    await monitor(() => {}, { greeting: "hello\n" });
    await expect(QmpClient.connect(dir, "qmp.sock", () => {})).rejects.toMatchObject({ code: "protocol" });
    close();
    await rm(join(dir, "qmp.sock"), { force: true });
    await monitor(() => {}, { greeting: "x".repeat(2 * 1024 * 1024) });
    await expect(QmpClient.connect(dir, "qmp.sock", () => {})).rejects.toMatchObject({ code: "protocol" });
  });

  it("reports that nobody listens yet as the system does", async () => {
    await expect(QmpClient.connect(dir, "qmp.sock", () => {})).rejects.toMatchObject({ code: "ENOENT" });
  });
});
