import { describe, expect, it, onTestFinished, vi } from "vitest";
import { hideValues } from "../../src/boot/linux/hide-values.js";
import { runCommand } from "../../src/boot/linux/run-command.js";

const SECRET = 'hunter2-"quoted"\\and\nof two lines';

/** Runs a script of Node with these variables; what went to the console, and what was wrong. */
async function run(script: string, environment: Record<string, string>) {
  const console_: string[] = [];
  const spy = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    console_.push(String(text));
    return true;
  });
  onTestFinished(() => spy.mockRestore());
  const options = { signal: AbortSignal.timeout(60_000), environment, echo: true };
  const failure = await runCommand(process.execPath, ["-e", script], options).then(
    () => "",
    (err: unknown) => (err instanceof Error ? err.message : String(err)),
  );
  spy.mockRestore();
  return { console: console_.join(""), failure };
}

describe("runCommand", () => {
  it("G4: what a program says of the app's variables goes to the host without their values", async () => {
    const script = `
      const { TOKEN, PORT } = process.env;
      const half = TOKEN.length / 2;
      process.stdout.write("port " + PORT + ", token " + TOKEN.slice(0, half));
      setTimeout(() => {
        process.stdout.write(TOKEN.slice(half) + " is told\\nno end of line, " + JSON.stringify(TOKEN));
        process.stderr.write("an invalid port: " + JSON.stringify(TOKEN));
        process.exitCode = 1;
      }, 50);`;
    const told = await run(script, { TOKEN: SECRET, PORT: "8080" });
    expect(told.console).toContain("port 8080, token [hidden] is told\n");
    expect(told.console).toContain('no end of line, "[hidden]"');
    expect(told.failure).toMatch(/failed: an invalid port: "\[hidden\]"$/);
    expect(told.console + told.failure).not.toMatch(/hunter2|two lines/);
  });

  it("takes the longer of two values first, and leaves words that stand everywhere", () => {
    const hide = hideValues({ A: "abcdef", B: "abcdefgh", C: "up", D: "", E: "$& $1 x" });
    expect(hide("abcdefgh abcdef up $& $1 x")).toBe("[hidden] [hidden] up [hidden]");
  });
});
