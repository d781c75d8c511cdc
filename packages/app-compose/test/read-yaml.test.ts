import { describe, expect, it } from "vitest";
import { toAppComposeText } from "../src/index.js";
import { readYaml } from "../src/read-yaml.js";

const nested = Array.from({ length: 350 }, (_, i) => `${" ".repeat(i)}a:`).join("\n");
const keys = Array.from({ length: 3000 }, (_, i) => `  a${i}:`).join("\n");

describe("T6: a compose file that would take long to read, or all of the stack", () => {
  it.each([
    ["brackets", "[".repeat(60_000), "nested deeper"],
    ["lists in one line", "- ".repeat(30_000), "nested deeper"],
    ["keys in one line", "? ".repeat(30_000), "nested deeper"],
    ["tags in one line", "- !x ".repeat(12_000), "nested deeper"],
    ["indentation", nested, "nested deeper"],
    ["many keys", `services:\n${keys}`, "too many keys"],
    ["aliases of aliases", `a: &a [x]\n${"b: &b [*a,*a]\n".repeat(1)}c: [${"*b,".repeat(200)}]`, "alias"],
    ["errors at each place", "a: ]\n".repeat(2000), "not YAML"],
  ])("%s", (_, text, why) => {
    const options = { name: "x", publicLogs: false, publicSysinfo: false, allowedEnvs: [] };
    expect(() => readYaml(text)).toThrow(why);
    expect(() => toAppComposeText(text, options)).toThrow(why);
    const document = JSON.stringify({ runner: "docker-compose", docker_compose_file: text });
    expect(() => toAppComposeText(document, options)).toThrow(why);
  });
});

describe("a compose file that only looks costly", () => {
  it.each([
    [
      "JSON in quotes",
      `a: '${JSON.stringify(Object.fromEntries(keys.split("\n").slice(0, 200).entries()))}'`,
    ],
    ["brackets in quotes", `a: "${"[".repeat(500)}"`],
    ["a shell script", `a: |\n${"  [[ -n x ]] && { - - - ? : ; } && \n".repeat(500)}`],
    ["far to the right, in a text", `a: |\n  x\n${" ".repeat(400)}y`],
    ["a long list in one line", `a: [${"{x: 1, y: [2]}, ".repeat(300)}]`],
  ])("%s is read", (_, text) => {
    expect(readYaml(text)).toHaveProperty("a");
  });

  it("a mistake is told with its place, and a key that is there twice is one", () => {
    expect(() => readYaml("services:\n  web: [")).toThrow(
      /^the compose file is not YAML: .* at line 2, column \d+$/,
    );
    expect(() => readYaml("a: 1\nb: 2\na: 3")).toThrow(/must be unique at line 3, column 1$/);
  });
});
