import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { APP, BASE, connectTcp, connectThrough, startApp } from "../apps.js";
import { alertBytes, echo, answerTo, helloFor } from "./common.js";
import type { Start } from "./common.js";

/** Clients that try what the protocol does not ask of them. */
export function attackContract(start: Start): void {
  describe("a client that does more than it should", () => {
    it("P4: a refused one counts for its source until it is really gone", async () => {
      await using plane = await start({ limits: { connectionsPerSource: 2 } });
      const hello = helloFor(`x.${BASE}`);
      const comesIn = (): Promise<boolean> =>
        answerTo(plane, hello).then(
          (answer) => answer.equals(alertBytes("unrecognized_name")),
          () => false,
        );
      // Refused, and they stay: for a second at most, in which a slow machine may not come as far as the third.
      const comesInBesideTwo = async (): Promise<boolean> => {
        const refused = [await connectTcp(plane), await connectTcp(plane)];
        for (const socket of refused) socket.on("error", () => {}).write(hello);
        await Promise.all(refused.map((socket) => once(socket, "data")));
        const third = await comesIn();
        for (const socket of refused) socket.destroy();
        return third;
      };
      await expect.poll(comesInBesideTwo).toBe(false);
      await expect.poll(comesIn).toBe(true);
    });

    it("P4: cannot renegotiate TLS 1.2 to make us work", async () => {
      await using app = await startApp(echo);
      await using plane = await start();
      const client = await connectThrough(plane, `${APP}-${app.port}.${BASE}`, { maxVersion: "TLSv1.2" });
      const renegotiated = new Promise<Error | null>((resolve) => {
        client.once("error", resolve);
        client.renegotiate({ rejectUnauthorized: false }, resolve);
      });
      expect(await renegotiated).toMatchObject({ message: expect.stringMatching(/no renegotiation/) });
      client.destroy();
    });

    it("P1: names with NUL, other characters, too many or no labels reach nobody", async () => {
      const asked: string[] = [];
      await using plane = await start({
        lookup: (domain) => {
          asked.push(domain);
          return Promise.resolve(undefined);
        },
      });
      const names = [
        `a\0.${BASE}`,
        `a\r\nb.${BASE}`,
        `_x.${BASE}`,
        `..${BASE}`,
        `../${BASE}`,
        `${"a".repeat(250)}.com`,
      ];
      for (const name of [...names, "127.0.0.1", "[::1]", "localhost", "", "xn--\u00fc.example.org"]) {
        expect(await answerTo(plane, helloFor(name)), name).toEqual(alertBytes("unrecognized_name"));
      }
      expect(asked).toEqual([]);
    });
  });
}
