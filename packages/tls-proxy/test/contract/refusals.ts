import { describe, expect, it } from "vitest";
import type { ConnectionReport } from "../../src/index.js";
import { APP, BASE, startApp } from "../apps.js";
import { helloMessage, records } from "../hello.js";
import { alertBytes, echo, answerTo, helloFor } from "./common.js";
import type { Start } from "./common.js";

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

    it("answers plain HTTP with a page that says what is wrong", async () => {
      await using plane = await start();
      const answer = String(await answerTo(plane, Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n")));
      expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
      const [head = "", body = ""] = answer.split("\r\n\r\n");
      expect(head).toContain(`Content-Length: ${body.length}`);
      expect(body).toContain("https://");
    });

    it("closes on bytes that are no TLS and answers decode_error to a broken hello", async () => {
      await using plane = await start();
      const sslv2 = Buffer.from("802e0100020015000000100100800300800700c0", "hex");
      expect(await answerTo(plane, sslv2)).toEqual(Buffer.alloc(0));
      expect(await answerTo(plane, Buffer.from([0, 1, 2, 3]))).toEqual(Buffer.alloc(0));
      expect(await answerTo(plane, Buffer.from("1603010000", "hex"))).toEqual(alertBytes("decode_error"));
    });

    it("answers internal_error when the app's port is closed and TLS is the app's", async () => {
      const app = await startApp(echo);
      await app[Symbol.asyncDispose]();
      await using plane = await start();
      const answer = await answerTo(plane, helloFor(`${APP}-${app.port}s.${BASE}`));
      expect(answer).toEqual(alertBytes("internal_error"));
    });
  });
}
