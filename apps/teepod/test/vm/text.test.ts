import { describe, expect, it } from "vitest";
import { TerminalStripper, cleanLine, stripTerminal } from "../../src/vm/text.js";

const ESC = "\u001b";

describe("text of a guest", () => {
  it("T6: loses escape sequences and control characters", () => {
    const text = `${ESC}[1;31mred${ESC}[0m ${ESC}]8;;http://x${ESC}\\link${ESC}]8;;\u0007 ${ESC}(B${ESC}Pq#0${ESC}\\end\u0000\u0008`;
    expect(stripTerminal(text)).toBe("red link end");
    expect(stripTerminal("a\tb\r\nc")).toBe("a\tb\r\nc");
    expect(stripTerminal("\u202egnp.exe")).toBe("gnp.exe");
  });

  it("is stripped wherever the stream breaks", () => {
    const text = `a${ESC}[31mb${ESC}]0;title\u0007c${ESC}(Bd${ESC}[0mé\n`;
    const bytes = Buffer.from(text);
    for (let cut = 0; cut <= bytes.length; cut++) {
      const stripper = new TerminalStripper();
      expect(stripper.push(bytes.subarray(0, cut)) + stripper.push(bytes.subarray(cut))).toBe("abcdé\n");
    }
    const slow = new TerminalStripper();
    expect([...bytes].map((byte) => slow.push(Uint8Array.of(byte))).join("")).toBe("abcdé\n");
  });

  it("is not held back for ever by a sequence that does not end", () => {
    const stripper = new TerminalStripper();
    let out = stripper.push(Buffer.from(`${ESC}]0;`));
    for (let i = 0; i < 100; i++) out += stripper.push(Buffer.from("0123456789"));
    out += stripper.push(Buffer.from("\u0007 visible\n"));
    expect(out).toContain("visible\n");
  });

  it("becomes one line of limited length", () => {
    expect(cleanLine(`  ${ESC}[2Ja\r\nb\u0000 `, 100)).toBe("a  b");
    expect(cleanLine("x".repeat(50), 10)).toBe(`${"x".repeat(9)}…`);
  });
});
