import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseClientHello } from "../src/index.js";
import { parseProxyHeader } from "../src/proxy-header.js";
import { fuzzSeeds, helloSeeds } from "../fuzz/seeds.js";
import { proxyHeaders } from "./proxy-headers.js";
import { buildWithParsers, temporaryDirectory } from "./native-engine.js";

const run = promisify(execFile);

let directory = "";
let oracle = "";

beforeAll(async () => {
  directory = await temporaryDirectory();
  oracle = await buildWithParsers(directory, "hello_oracle");
});

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
    const inputs = [...helloSeeds, ...fc.sample(changesOf(helloSeeds, 600), 5_000)];
    const expected = inputs.map(parseInTypeScript);
    expect(new Set(expected.map((line) => line.split(" ")[0]))).toEqual(
      new Set(["more", "hello", "not_tls", "bad"]),
    );
    expect(await parseInC(oracle, inputs)).toEqual(expected);
    expect(await parseInC(oracle, inputs, "cut")).toEqual(expected);
  });

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
  });

  it.each(Object.entries(fuzzSeeds))("P1: %s stands mutated input", async (target, seeds) => {
    const program = await buildWithParsers(directory, target, "driver");
    const files = await Promise.all(
      seeds.map(async (bytes, index) => {
        const path = join(directory, `${target}-${index}`);
        await writeFile(path, bytes);
        return path;
      }),
    );
    const { stdout } = await run(program, ["50000", String(Date.now()), ...files]);
    expect(stdout).toBe("50000 inputs\n");
  });
});
