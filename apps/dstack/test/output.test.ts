import { describe, expect, it } from "vitest";
import { columns, explain, printable } from "../src/output.js";
import { dstack, fakeTeepod } from "./fake-teepod.js";

describe("T6: what others wrote steers no terminal", () => {
  it("T6: cells of a table are text on one line", () => {
    expect(
      columns([
        ["NAME", "STATE"],
        ["a\u001b]0;x\u0007", "up\nb  down"],
      ]),
    ).toBe("NAME           STATE\na\\x1b]0;x\\x07  up b  down");
  });

  it("T6: so are errors, whose text is the teepod's", () => {
    expect(explain(new Error("no \u001b[2Jscreen"))).toBe("no \\x1b[2Jscreen");
  });

  it("T6: a console of CRs alone is no work that grows with its square", () => {
    // With its square this would be hours.
    expect(printable(`${"\r".repeat(2_000_000)}x`)).toHaveLength(4 * 2_000_000 + 1);
    expect(printable("a\r\r\nb\rc")).toBe("a\nb\\x0dc");
  });

  it("T6: what turns text around or is not seen at all is shown", () => {
    expect(printable("pay\u202etxt.exe\u202c")).toBe("pay\\u{202e}txt.exe\\u{202c}");
    expect(printable("we\u200bb \u2066x\u2069 \ufeff\u00ad\u3164\u2028")).toBe(
      "we\\u{200b}b \\u{2066}x\\u{2069} \\u{feff}\\u{ad}\\u{3164}\\u{2028}",
    );
    expect(printable("web\u{e0041}\ufe0f\u{e0100}")).toBe("web\\u{e0041}\\u{fe0f}\\u{e0100}");
    // What people write stays as it is.
    const fine = "Grüße, مرحبا, שלום, 你好, 😀 ⚠\ufe0f ok\tdone";
    expect(printable(fine)).toBe(fine);
    expect(columns([["a\u202eb", "up"]])).toBe("a\\u{202e}b  up");
  });

  it("T6: a document, which goes byte for byte into a file", async () => {
    const composeFile = '{"name":"\u001b[2J"}';
    const vm = { id: "cb4bf9a0-a3d9-40d9-8be5-99560f557345", name: "web", configuration: { composeFile } };
    await using pod = await fakeTeepod({ status: async () => ({ vms: [vm] }) });
    const terminal = process.stdout.isTTY;
    try {
      for (const isTTY of [true, false]) {
        process.stdout.isTTY = isTTY;
        expect(await dstack("compose", "web", "--host", pod.url)).toBe(
          isTTY ? '{"name":"\\x1b[2J"}' : composeFile,
        );
      }
    } finally {
      process.stdout.isTTY = terminal;
    }
  });

  it("T6: an audit log and the names of variables", async () => {
    const composeFile = JSON.stringify({ allowed_envs: ["A\u001b[2J"] });
    await using pod = await fakeTeepod({
      getAuditLog: async () => ({
        entries: [{ at: "\u001b[1m", who: "\u001b[2m", from: "\u001b[3m", method: "\u009b4m" }],
      }),
      status: async () => ({
        vms: [{ id: "cb4bf9a0-a3d9-40d9-8be5-99560f557345", name: "web", configuration: { composeFile } }],
      }),
    });
    for (const args of [
      ["audit", "ls"],
      ["env", "list", "web"],
    ]) {
      const out = await dstack(...args, "--host", pod.url);
      expect(out).toContain("\\x1b[2");
      expect(out).not.toMatch(/[\u001b\u009b]/);
    }
  });
});
