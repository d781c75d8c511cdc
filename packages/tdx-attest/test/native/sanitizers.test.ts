import { execFile } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";

const run = promisify(execFile);
const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const native = here("../../native");
const DEVICE = "/dev/tdx_guest_of_the_shim";

let work = "";
afterAll(() => rm(work, { recursive: true, force: true }));

async function output(file: string, ...args: string[]): Promise<string> {
  return (await run(file, args)).stdout.trim();
}

/** Builds the addon with checks that end the process at the first bad access, and the shim that plays the device. */
async function build(): Promise<{ addon: string; shim: string }> {
  work = await mkdtemp(join(tmpdir(), "dstack-tdx-asan-"));
  const [addon, shim] = [join(work, "addon.node"), join(work, "shim.so")];
  const headers = await output("node", "-p", 'require("node-api-headers").include_dir');
  const sources = (await readdir(native))
    .filter((name) => name.endsWith(".c"))
    .map((name) => join(native, name));
  await run("cc", [
    ...["-std=c11", "-g", "-O1", "-fPIC", "-shared", "-D_GNU_SOURCE", `-I${headers}`],
    ...["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"],
    ...["-o", addon, ...sources],
  ]);
  await run("cc", ["-shared", "-fPIC", "-o", shim, here("shim.c"), "-ldl"]);
  return { addon, shim };
}

describe("the addon under AddressSanitizer and UndefinedBehaviorSanitizer", () => {
  it("E11: survives arguments of every kind, buffers that go away, and threads that end", async () => {
    const { addon, shim } = await build();
    const libraries = await Promise.all(
      ["libasan.so", "libubsan.so"].map((name) => output("cc", `-print-file-name=${name}`)),
    );
    const { stdout, stderr } = await run("node", [here("hostile-calls.cjs"), addon, DEVICE], {
      env: {
        ...process.env,
        LD_PRELOAD: [...libraries, shim].join(" "),
        ASAN_OPTIONS: "detect_leaks=0", // Node itself leaves memory behind at its end
        SHIM_DEVICE: DEVICE,
      },
      timeout: 400_000,
    });
    expect(stderr).toBe("");
    expect(stdout).toMatch(/^survived \d{3,} calls\n$/);
  });
});
