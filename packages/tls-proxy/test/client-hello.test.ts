import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ClientHelloReader, MAX_CLIENT_HELLO_BYTES, parseClientHello } from "../src/index.js";
import { helloMessage, messageOf, records, serverNameExtension } from "./hello.js";

const name = "app.example.org";
const found = { kind: "hello", hello: { serverName: name, alpn: ["h2", "http/1.1"] } };
const shape = { serverName: name, alpn: ["h2", "http/1.1"] };

describe("ClientHello", () => {
  it.each([
    ["one record", records(helloMessage(shape))],
    ["two records", records(helloMessage(shape), 100)],
    ["records of one byte", records(helloMessage(shape), 1)],
    ["1.8 KB, as with a post-quantum key share", records(helloMessage({ ...shape, padding: 1700 }))],
    ["15 KB in one record, name last", records(helloMessage({ ...shape, padding: 15_000 }))],
    ["20 KB in two records", records(helloMessage({ ...shape, padding: 20_000 }))],
    ["60 KB in four records", records(helloMessage({ ...shape, padding: 60_000 }))],
    ["upper case and trailing dot", records(helloMessage({ ...shape, serverName: "APP.Example.ORG." }))],
  ])("P1: reads %s", (_, bytes) => {
    expect(parseClientHello(bytes)).toEqual(found);
    const reader = new ClientHelloReader();
    for (const [index, byte] of bytes.entries()) {
      const result = reader.push(Uint8Array.of(byte));
      expect(result.kind).toBe(index === bytes.length - 1 ? "hello" : "more");
    }
  });

  it("P1: stops reading at 64 KiB", () => {
    const tooLong = records(helloMessage({ ...shape, padding: 65_400 }), 400);
    const reader = new ClientHelloReader();
    let pushed = 0;
    for (let at = 0; at < tooLong.length; at += 1000) {
      pushed = at + 1000;
      if (reader.push(tooLong.subarray(at, pushed)).kind !== "more") break;
    }
    expect(reader.push(new Uint8Array(0))).toEqual({ kind: "bad", reason: "ClientHello is too long" });
    expect(pushed).toBeLessThanOrEqual(MAX_CLIENT_HELLO_BYTES + 1000);
  });

  it("P1: refuses a length beyond 64 KiB from its first four bytes", () => {
    expect(parseClientHello(Buffer.from("16030100040101ffff", "hex"))).toMatchObject({ kind: "bad" });
  });

  it.each([
    ["plain HTTP", Buffer.from("GET / HTTP/1.1\r\n\r\n"), "not_tls"],
    ["SSH", Buffer.from("SSH-2.0-OpenSSH\r\n"), "not_tls"],
    ["an SSLv2 hello", Buffer.from("802e0100020015", "hex"), "not_tls"],
    ["an alert", Buffer.from("15030300020100", "hex"), "not_tls"],
    ["another major version", Buffer.from("1602000001", "hex"), "not_tls"],
    ["an empty record", Buffer.from("1603010000", "hex"), "bad"],
    ["a record over 16 KiB", Buffer.from("1603014001", "hex"), "bad"],
    ["a ServerHello", records(messageOf(helloMessage(shape).subarray(4), 2)), "bad"],
    [
      "a second message in the record",
      records(Buffer.concat([helloMessage(shape), helloMessage(shape)])),
      "bad",
    ],
    [
      "bytes after the extensions",
      records(messageOf(Buffer.concat([helloMessage(shape).subarray(4), Buffer.alloc(1)]))),
      "bad",
    ],
    [
      "two name extensions",
      records(helloMessage({ ...shape, after: [[0, serverNameExtension("b.example.org")]] })),
      "bad",
    ],
    [
      "two host names",
      records(helloMessage({ before: [[0, serverNameExtension(name, "b.example.org")]] })),
      "bad",
    ],
    [
      "a cut name list",
      records(helloMessage({ before: [[0, serverNameExtension(name).subarray(0, -1)]] })),
      "bad",
    ],
  ])("P1: refuses %s", (_, bytes, kind) => {
    expect(parseClientHello(bytes).kind).toBe(kind);
  });

  it.each([
    "",
    "localhost",
    "10.0.0.1",
    "::1",
    "a..example.org",
    "-a.example.org",
    "a-.example.org",
    "a_b.example.org",
    "a b.example.org",
    "a\n.example.org",
    "a\u0000.example.org",
    "é.example.org",
    "*.example.org",
    `${"a".repeat(64)}.example.org`,
    `${"a.".repeat(125)}example`,
  ])("P1: takes no server name from %j", (bad) => {
    expect(parseClientHello(records(helloMessage({ serverName: bad })))).toEqual({
      kind: "hello",
      hello: { serverName: undefined, alpn: [] },
    });
  });

  it("reads a hello without extensions and one without a name", () => {
    const none = { kind: "hello", hello: { serverName: undefined, alpn: [] } };
    const body = helloMessage().subarray(4);
    expect(parseClientHello(records(messageOf(body)))).toEqual(none);
    expect(parseClientHello(records(messageOf(body.subarray(0, -2))))).toEqual(none);
  });

  it("P1: never throws and never reads on after random or cut input", () => {
    const valid = records(helloMessage({ ...shape, padding: 300 }), 200);
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 400 }),
        fc.nat(valid.length),
        fc.nat(255),
        (noise, at, value) => {
          parseClientHello(noise);
          expect(parseClientHello(valid.subarray(0, at)).kind).toBe(at === valid.length ? "hello" : "more");
          const changed = Buffer.from(valid);
          changed[Math.min(at, valid.length - 1)] = value;
          parseClientHello(changed);
        },
      ),
      { numRuns: 300 },
    );
  });
});
