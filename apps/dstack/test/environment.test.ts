import { describe, expect, it } from "vitest";
import { mergeVariables, parseEnvFile, parseVariable } from "../src/environment.js";

describe("variables for an app", () => {
  it("come as NAME=value, or by name from this shell", () => {
    expect(parseVariable("A=b=c d")).toEqual({ key: "A", value: "b=c d" });
    expect(parseVariable("A=")).toEqual({ key: "A", value: "" });
    expect(parseVariable("A", { A: "here" })).toEqual({ key: "A", value: "here" });
    expect(() => parseVariable("A", {})).toThrow("A is not set here: give A=<value>");
    expect(() => parseVariable("1A=x")).toThrow('"1A" cannot be the name of a variable');
  });

  it("come from a file, of which comments and empty lines are no part", () => {
    expect(parseEnvFile("# first\nA=1\r\n\nB=x # y\n")).toEqual([
      { key: "A", value: "1" },
      { key: "B", value: "x # y" },
    ]);
  });

  it("are set once: the last one wins", () => {
    const both = [parseVariable("A=1"), parseVariable("B=2"), parseVariable("A=3")];
    expect(mergeVariables(both)).toEqual([parseVariable("A=3"), parseVariable("B=2")]);
  });
});
