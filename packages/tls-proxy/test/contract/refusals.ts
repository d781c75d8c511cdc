import { describe, expect, it } from "vitest";
import type { ConnectionReport } from "../../src/index.js";
import { APP, BASE, closeOf, connectTcp } from "../apps.js";
import { closedPort } from "../../../core/test/support/ports.js";
import { helloMessage, records } from "../hello.js";
import { alertBytes, answerTo, helloFor } from "./common.js";
import type { AlertName, Start } from "./common.js";

/** What those hear who are not let through. */
export function refusalsContract(start: Start): void {
  describe("refusals", () => {
    it("answers unrecognized_name to every name that leads nowhere, and the same to each", async () => {
      const seen: ConnectionReport[] = [];
      await using plane = await start({ onConnection: (report) => seen.push(report) });
      for (const name of [
        `${"0".repeat(40)}.${BASE}`, // P3: not registered
        `${APP}-22.${BASE}`, // P3: port not allowed
        `x.${BASE}`,
        BASE,
        "shop.example.com",
        "10.0.0.1",
      ]) {
        expect(await answerTo(plane, helloFor(name)), name).toEqual(alertBytes("unrecognized_name"));
      }
      expect(await answerTo(plane, records(helloMessage()))).toEqual(alertBytes("unrecognized_name"));
      await expect
        .poll(() => seen.map((report) => report.outcome).toSorted()) // several threads tell of them
        .toEqual([
          ...["no_name", "no_name", "port_not_allowed"],
          ...["unknown_name", "unknown_name", "unknown_name", "unknown_name"],
        ]);
    });

    it.each(["GET", "get", "PRI", "x-y"])(
      "answers plain HTTP with a page that says what is wrong: %s",
      async (method) => {
        await using plane = await start();
        const answer = String(await answerTo(plane, Buffer.from(`${method} / HTTP/1.1\r\nHost: x\r\n\r\n`)));
        expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
        const [head = "", body = ""] = answer.split("\r\n\r\n");
        expect(head).toContain(`Content-Length: ${body.length}`);
        expect(body).toContain("https://");
      },
    );

    it.each<[string, string, AlertName]>([
      ["an SSLv2 hello", "802e0100020015000000100100800300800700c0", "protocol_version"],
      ["a record of another version", "1602000005", "protocol_version"],
      ["an alert in place of a hello", "15030100020228", "unexpected_message"],
      [
        "another record in the middle of the hello",
        "160301000401000100" + "1503010002022a",
        "unexpected_message",
      ],
      ["application data", `1703030010${"00".repeat(16)}`, "unexpected_message"],
      ["garbage", "00010203", "unexpected_message"],
      ["one byte", "00", "unexpected_message"],
      ["an empty record", "1603010000", "decode_error"],
    ])("P1: says what is wrong with %s by an alert, and closes", async (_, bytes, alert) => {
      const seen: ConnectionReport[] = [];
      await using plane = await start({ onConnection: (report) => seen.push(report) });
      expect(await answerTo(plane, Buffer.from(bytes, "hex"))).toEqual(alertBytes(alert));
      await expect.poll(() => seen.map(({ outcome }) => outcome)).toHaveLength(1);
      expect(seen[0]?.outcome).toBe(alert === "decode_error" ? "bad_hello" : "not_tls");
    });

    it("P1: an alert is all that endless garbage gets, and it ends", async () => {
      await using plane = await start();
      const client = await connectTcp(plane);
      client.on("error", () => {});
      const flood = setInterval(() => client.write(Buffer.alloc(64 << 10)), 5);
      await closeOf(client);
      clearInterval(flood);
      expect(client.bytesRead).toBeLessThanOrEqual(alertBytes("unexpected_message").length);
      await expect.poll(() => plane.stats().open).toBe(0);
    });

    it("answers internal_error when the app's port is closed and TLS is the app's", async () => {
      await using closed = await closedPort();
      await using plane = await start();
      const answer = await answerTo(plane, helloFor(`${APP}-${closed.port}s.${BASE}`));
      expect(answer).toEqual(alertBytes("internal_error"));
    });
  });
}
