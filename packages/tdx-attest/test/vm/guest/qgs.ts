/** The host's quote generation service, inside the VM: vsock port 4050 of CID 2, which the loopback transport serves. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { type Socket, createServer } from "node:net";
import { platform } from "./platform.js";

export const QGS_PORT = 4050;
const SOCKET = "/run/qgs.sock";
const HEAD_BYTES = 4 + 24;

/** What the service does with a request. */
export type QgsMood = "quotes" | "is silent" | "hangs up" | "hangs up in the middle" | "refuses" | "babbles";

export class TestQgs {
  mood: QgsMood = "quotes";

  /** Listens on vsock, through a relay. */
  async start(): Promise<void> {
    const server = createServer((socket) => {
      socket.on("error", () => socket.destroy());
      let asked = Buffer.alloc(0);
      socket.on("data", (chunk) => {
        asked = Buffer.concat([asked, chunk]);
        if (asked.length >= 4 && asked.length === 4 + asked.readUInt32BE(0)) this.#answer(socket, asked);
      });
    }).listen(SOCKET);
    await once(server, "listening");
    const relay = spawn("/bin/vsock-relay", [String(QGS_PORT), SOCKET], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(relay.stdout, "data");
  }

  #answer(socket: Socket, asked: Buffer): void {
    if (this.mood === "is silent") return;
    if (this.mood === "hangs up") return void socket.end();
    const refusal = this.mood === "refuses";
    const quote = refusal
      ? new Uint8Array()
      : platform.quoteReport(new Uint8Array(asked.subarray(HEAD_BYTES)));
    const answer = Buffer.alloc(HEAD_BYTES + quote.length);
    answer.writeUInt32BE(answer.length - 4, 0);
    answer.writeUInt16LE(1, 4);
    answer.writeUInt32LE(this.mood === "babbles" ? 77 : 1, 8);
    answer.writeUInt32LE(answer.length - 4, 12);
    answer.writeUInt32LE(refusal ? 0x12001 : 0, 16);
    answer.writeUInt32LE(quote.length, 24);
    answer.set(quote, HEAD_BYTES);
    if (this.mood === "hangs up in the middle") socket.end(answer.subarray(0, 1000));
    else socket.write(answer);
  }
}
