import { once } from "node:events";
import type { Socket } from "node:net";
import { describe, expect, it } from "vitest";
import {
  APP,
  BASE,
  closeOf,
  connectTcp,
  connectThrough,
  readAll,
  sessionOf,
  startApp,
  startTlsApp,
} from "../apps.js";
import { helloMessage, records } from "../hello.js";
import { echo, answerAfterEnd, expectWholeExchange, resuming, helloFor } from "./common.js";
import type { Start } from "./common.js";

/** Bytes of names whose TLS is the app's own. */
export function passthroughContract(start: Start): void {
  describe("passthrough", () => {
    it.each<[string, (hello: Buffer) => Buffer[]]>([
      ["one piece", (hello) => [hello]],
      ["three segments", (hello) => [hello.subarray(0, 3), hello.subarray(3, 90), hello.subarray(90)]],
      ["a byte a segment", (hello) => [...hello].map((byte) => Buffer.of(byte))],
      ["two records", (hello) => [records(hello.subarray(5), 100)]],
      ["records of one byte", (hello) => [records(hello.subarray(5), 1)]],
    ])(
      "P1: carries a ClientHello in %s to the app, and 200 KB up, a half-close and 100 KB back",
      async (_, cut) => {
        await using app = await startTlsApp(answerAfterEnd);
        await using plane = await start();
        const client = await connectThrough(plane, `${APP}-${app.port}s.${BASE}`, { cut });
        expect(client.getPeerCertificate().subject.CN).toBe("app.internal");
        await expectWholeExchange(client);
      },
    );

    it("P1: carries a ClientHello of 40 KB, as one with hybrid key shares of many groups would be", async () => {
      await using app = await startApp(
        (socket) => void readAll(socket).then((got) => socket.end(String(got.length))),
      );
      await using plane = await start();
      const hello = records(helloMessage({ serverName: `${APP}-${app.port}s.${BASE}`, padding: 40_000 }));
      const client = await connectTcp(plane);
      client.end(hello);
      expect(String(await readAll(client))).toBe(String(hello.length));
    });

    it("passes the end of an app's answer on while the client still sends", async () => {
      let received: Buffer = Buffer.alloc(0);
      await using app = await startApp((socket) => {
        socket.end("that is all");
        void readAll(socket).then((got) => (received = got));
      });
      await using plane = await start();
      const hello = helloFor(`${APP}-${app.port}s.${BASE}`);
      const client = await connectTcp(plane);
      client.write(hello);
      expect(String(await readAll(client))).toBe("that is all");
      client.end("and more");
      await expect.poll(() => String(received.subarray(hello.length))).toBe("and more");
    });

    it("leaves ALPN and resumption to the app", async () => {
      await using app = await startTlsApp(echo, ["weird/1"]);
      await using plane = await start();
      const name = `${APP}-${app.port}s.${BASE}`;
      const client = await connectThrough(plane, name, { ALPNProtocols: ["weird/1"] });
      expect(client.alpnProtocol).toBe("weird/1");
      client.write("x");
      await expect.poll(() => sessionOf(client)).toBeDefined();
      client.destroy();
      const again = await connectThrough(plane, name, { ...resuming(client), ALPNProtocols: ["weird/1"] });
      expect(again.isSessionReused()).toBe(true);
      again.destroy();
    });

    it("means every name on a listener that never terminates", async () => {
      await using app = await startTlsApp(answerAfterEnd);
      await using plane = await start({ listeners: [{ host: "127.0.0.1", port: 0, passthroughOnly: true }] });
      const client = await connectThrough(plane, `${APP}-${app.port}.${BASE}`);
      expect(client.getPeerCertificate().subject.CN).toBe("app.internal");
      await expectWholeExchange(client);
    });

    it("passes a reset on as a reset, in both directions", async () => {
      await using app = await startApp(() => {});
      await using plane = await start();
      const hello = helloFor(`${APP}-${app.port}s.${BASE}`);
      const connected = async (): Promise<[Socket, Socket]> => {
        const client = await connectTcp(plane);
        client.write(hello);
        await expect.poll(() => app.sockets.length).toBe(1);
        const inside = app.sockets.pop() as Socket;
        await once(inside, "data");
        return [client, inside];
      };
      const [client1, inside1] = await connected();
      client1.resetAndDestroy();
      expect(await closeOf(inside1)).toBe("reset");
      const [client2, inside2] = await connected();
      inside2.resetAndDestroy();
      expect(await closeOf(client2)).toBe("reset");
    });

    it("P4: stops reading from an app whose client does not read", async () => {
      let sent = 0;
      await using app = await startApp((socket) => {
        const block = Buffer.alloc(1 << 20);
        const more = (): void => {
          if (sent >= 200 << 20) return;
          sent += block.length;
          socket.write(block, more);
        };
        more();
      });
      await using plane = await start();
      const client = await connectTcp(plane);
      client.pause();
      client.write(helloFor(`${APP}-${app.port}s.${BASE}`));
      let before = -1;
      await expect
        .poll(
          () => {
            const still = sent > 0 && sent === before;
            before = sent;
            return still;
          },
          { interval: 300 },
        )
        .toBe(true);
      // What the kernel's socket buffers on the way may hold; far from 200 MB.
      expect(sent).toBeLessThan(40 << 20);
      client.destroy();
    });
  });
}
