import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, expect, it } from "vitest";

const REPOSITORY = fileURLToPath(new URL("../../..", import.meta.url));

let dir = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "run-vitest-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** Runs files, given by name, as `scripts/test` does. */
async function runFiles(files: Readonly<Record<string, string>>, ...more: string[]) {
  const root = await mkdtemp(join(dir, "files-"));
  for (const [name, text] of Object.entries(files)) await writeFile(join(root, `${name}.test.js`), text);
  const out = join(root, "out");
  const options = ["--root", root, "--globals", ...more, "--", "a.test", "b.test", "c.test"];
  const { all } = await execa("node", ["scripts/run-vitest.mjs", out, ...options], {
    cwd: REPOSITORY,
    all: true,
    env: { MARK: join(root, "mark"), NO_COLOR: "1" },
  });
  const read = (name: string) => readFile(join(out, name), "utf8");
  return { said: all, counts: await read("counts"), flaky: await read("flaky") };
}

const ONCE = `
  import { existsSync, writeFileSync } from "node:fs";
  it("one", () => {});
  it("fails once", () => {
    const before = existsSync(process.env.MARK);
    writeFileSync(process.env.MARK, "");
    expect(before, "why it failed").toBe(true);
  });
  it("three", () => {});`;

it("runs a file once more in which a test failed: what passes then is flaky, and no failure", async () => {
  const files = { a: ONCE, b: `it("four", () => {}); it.skip("five", () => {});` };
  // After the first failure, vitest may not begin with the other one.
  const { said, counts, flaky } = await runFiles(files, "--bail", "1");
  expect(counts).toBe("4 0\n");
  expect(flaky).toMatch(/^flaky: failed beside the others, passed alone: \S*a\.test\.js > fails once\n$/);
  expect(said).toContain("why it failed");
  expect(said).toContain("out: 4 passed, 0 failed, 1 skipped");
});

it("what fails twice is a failure, and so is a file that cannot be loaded or fails outside of its tests", async () => {
  const { said, counts, flaky } = await runFiles({
    a: `it("fails", () => expect(1).toBe(2)); it("passes", () => {});`,
    b: `import "./nothing.js";`,
    c: `it("passes", () => {}); afterAll(() => { throw new Error("no end") });`,
  });
  expect(counts).toBe("2 3\n");
  expect(said.match(/^failed: .*/gm)?.map((line) => line.replace(/^.*\//, ""))).toEqual([
    "a.test.js > fails",
    "b.test.js",
    "c.test.js",
  ]);
  expect(flaky).toBe("");
});

it("a run of nothing is a failure, and so is one that vitest does not like", async () => {
  expect((await runFiles({})).counts).toBe("0 1\n");
  const late = await runFiles({
    a: `it("passes", () => new Promise((done) => { setTimeout(done, 100); Promise.reject(new Error("unhandled")); }));`,
  });
  expect(late.counts).toBe("1 1\n");
});
