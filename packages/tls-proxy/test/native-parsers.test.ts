import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseClientHello } from "../src/index.js";
import { parseProxyHeader } from "../src/proxy-header.js";
import { routesCommand } from "../src/native/commands.js";
import { APP, BASE, backend, routesTo } from "./apps.js";
import { helloMessage, messageOf, records, serverNameExtension } from "./hello.js";
import { proxyHeaders } from "./proxy-headers.js";
import { buildWithParsers, temporaryDirectory } from "./native-engine.js";

const run = promisify(execFile);

let directory = "";
let oracle = "";

beforeAll(async () => {
  directory = await temporaryDirectory();
  oracle = await buildWithParsers(directory, "hello_oracle");
}, 60_000);

afterAll(() => rm(directory, { recursive: true, force: true }));

/** What the parser in C finds in each input. */
async function parseInC(program: string, inputs: readonly Buffer[], ...args: string[]): Promise<string[]> {
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  for (const input of inputs) {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(input.length);
    child.stdin.write(Buffer.concat([length, input]));
  }
  child.stdin.end();
  const [code] = (await once(child, "close")) as [number];
  expect(code).toBe(0);
  return Buffer.concat(chunks).toString("latin1").trimEnd().split("\n");
}

function parseInTypeScript(input: Buffer): string {
  const result = parseClientHello(input);
  if (result.kind !== "hello") return result.kind;
  return ["hello", result.hello.serverName ?? ""].join(" ").trimEnd();
}

const name = "app.example.org";
const shape = { serverName: name, alpn: ["h2", "http/1.1"] };

/** What both have to agree on, and where mutations begin. */
const corpus: readonly Buffer[] = [
  records(helloMessage(shape)),
  records(helloMessage(shape), 100),
  records(helloMessage(shape), 1),
  records(helloMessage({ ...shape, padding: 1_700 })),
  records(helloMessage({ ...shape, padding: 20_000 })),
  records(helloMessage({ ...shape, padding: 60_000 })),
  records(helloMessage({ ...shape, padding: 65_300 })),
  records(helloMessage({ serverName: "APP.Example.ORG." })),
  records(helloMessage({ serverName: `${APP}-8080s.${BASE}` })),
  records(helloMessage({ serverName: `${APP}-65536g.${BASE}` })),
  records(helloMessage({ serverName: `${"a.".repeat(126)}a` })),
  records(helloMessage({ serverName: "10.0.0.1" })),
  records(helloMessage({ serverName: "a\0.example.org" })),
  records(helloMessage()),
  records(messageOf(helloMessage().subarray(4, -2))),
  records(helloMessage({ ...shape, after: [[0, serverNameExtension("b.example.org")]] })),
  records(helloMessage({ before: [[0, serverNameExtension(name, "b.example.org")]] })),
  records(Buffer.concat([helloMessage(shape), helloMessage(shape)])),
  Buffer.concat([records(helloMessage(shape)), Buffer.from("1403030001011703030000", "hex")]),
  Buffer.from("GET / HTTP/1.1\r\n\r\n"),
  Buffer.from("802e0100020015", "hex"),
  Buffer.from("16030100040101ffff", "hex"),
  Buffer.alloc(0),
];

/** Takes a few changes to one of the seeds: a byte set, taken out, or put in, within the first `reach` bytes. */
function changesOf(seeds: readonly Buffer[], reach: number): fc.Arbitrary<Buffer> {
  const change = fc.tuple(fc.nat(reach), fc.nat(255), fc.nat(2));
  return fc
    .tuple(fc.nat(seeds.length - 1), fc.array(change, { maxLength: 3 }))
    .map(([index, changes]) => changes.reduce(applyChange, Buffer.from(seeds[index] ?? [])));
}

function applyChange(bytes: Buffer, [place, value, kind]: readonly [number, number, number]): Buffer {
  const at = Math.min(place, bytes.length);
  const rest = bytes.subarray(kind === 2 ? at : at + 1);
  return Buffer.concat([bytes.subarray(0, at), kind === 1 ? Buffer.alloc(0) : Buffer.of(value), rest]);
}

describe("native parsers", () => {
  it("P1: read a ClientHello as the parser in TypeScript does, in one piece and byte by byte", async () => {
    const inputs = [...corpus, ...fc.sample(changesOf(corpus, 600), 5_000)];
    const expected = inputs.map(parseInTypeScript);
    expect(new Set(expected.map((line) => line.split(" ")[0]))).toEqual(
      new Set(["more", "hello", "not_tls", "bad"]),
    );
    expect(await parseInC(oracle, inputs)).toEqual(expected);
    expect(await parseInC(oracle, inputs, "cut")).toEqual(expected);
  }, 60_000);

  it("P1: read a PROXY header as the parser in TypeScript does", async () => {
    const program = await buildWithParsers(directory, "proxy_header_oracle");
    const seeds = proxyHeaders.map(([, bytes]) => bytes);
    const inputs = [...seeds, ...fc.sample(changesOf(seeds, 60), 5_000)];
    const told = (bytes: Buffer): string => {
      const result = parseProxyHeader(bytes);
      if (result.kind !== "whole") return result.kind;
      if (result.addresses === undefined) return "none";
      const { source, destination } = result.addresses;
      return [source.address, source.port, destination.address, destination.port].join(" ");
    };
    expect(await parseInC(program, inputs)).toEqual(inputs.map(told));
  }, 60_000);

  it.each([
    ["hello_target", () => corpus],
    ["proxy_header_target", () => proxyHeaders.map(([, bytes]) => bytes)],
    [
      "routes_target",
      () => [
        routesCommand(
          routesTo(backend(), backend("::ffff:10.0.3.2", "c".repeat(40))),
          new Map(),
        ).command.subarray(5),
        routesCommand(routesTo(), new Map([[APP, Buffer.alloc(0)]])).command.subarray(5),
      ],
    ],
  ])(
    "P1: %s stands mutated input",
    async (target, seeds) => {
      const program = await buildWithParsers(directory, target, "driver");
      const files = await Promise.all(
        seeds().map(async (bytes, index) => {
          const path = join(directory, `${target}-${index}`);
          await writeFile(path, bytes);
          return path;
        }),
      );
      const inputs = process.env["FUZZ_INPUTS"] ?? "50000";
      const { stdout } = await run(program, [inputs, String(Date.now()), ...files]);
      expect(stdout).toBe(`${inputs} inputs\n`);
    },
    process.env["FUZZ_INPUTS"] === undefined ? 60_000 : 3_600_000,
  );
});
