// Checks the direction of imports, and that every rule still catches what it forbids: for each rule a small
// tree with one forbidden import is written to a temporary directory and must fail by exactly that rule.
import { cruise } from "dependency-cruiser";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const config = createRequire(import.meta.url)("../.dependency-cruiser.cjs");

/** rule → [importing file, imported file or module]; "cycle" makes two files import each other. */
const MUST_FAIL = {
  "level-0-imports-only-below": ["packages/core/src/a.ts", "packages/prpc/src/b.ts"],
  "level-1-imports-only-below": ["packages/attestation/src/a.ts", "packages/ra-tls/src/b.ts"],
  "level-2-imports-only-below": ["packages/ra-tls/src/a.ts", "packages/tdx-attest/src/b.ts"],
  "level-3-imports-only-below": ["packages/ra-rpc/src/a.ts", "packages/testbed/src/b.ts"],
  "packages-do-not-import-apps": ["packages/ra-rpc/src/a.ts", "apps/kms/src/b.ts"],
  "apps-do-not-import-each-other": ["apps/kms/src/a.ts", "apps/tproxy/src/b.ts"],
  "nobody-imports-the-testbed": ["apps/kms/src/a.ts", "packages/testbed/src/b.ts"],
  "attestation-is-pure": ["packages/attestation/src/a.ts", "node:fs"],
  "source-does-not-import-tests": ["packages/core/src/a.ts", "packages/core/test/b.ts"],
  "no-cycles": ["packages/core/src/a.ts", "cycle"],
};

async function violations(baseDir, paths) {
  const { output } = await cruise(
    paths,
    {
      ...config.options,
      ruleSet: { forbidden: config.forbidden },
      validate: true,
      baseDir,
      tsConfig: undefined,
    },
    { extensions: [".ts", ".js"], conditionNames: ["import", "node", "default"] },
  );
  return output.summary;
}

function write(dir, path, text) {
  mkdirSync(dirname(join(dir, path)), { recursive: true });
  writeFileSync(join(dir, path), text);
}

function importOf(from, to) {
  return to.includes(":")
    ? to
    : relative(dirname(from), to)
        .replace(/^(?!\.)/, "./")
        .replace(/\.ts$/, ".js");
}

let failed = false;
const fail = (message) => {
  failed = true;
  console.error(`FAIL ${message}`);
};

const real = await violations(root, ["packages", "apps"]);
for (const v of real.violations) fail(`${v.rule.name}: ${v.from} → ${v.to}`);
if (real.totalCruised < 20) fail(`only ${real.totalCruised} modules were read`);
console.log(`${real.totalCruised} modules, ${real.totalDependenciesCruised} imports checked`);

for (const rule of config.forbidden) {
  const fixture = MUST_FAIL[rule.name];
  if (fixture === undefined) {
    fail(`${rule.name}: has no import that must fail it`);
    continue;
  }
  const dir = mkdtempSync(join(tmpdir(), "layering-"));
  try {
    const [from, to] = fixture;
    const target = to === "cycle" ? join(dirname(from), "b.ts") : to;
    write(dir, from, `import ${JSON.stringify(importOf(from, target))};\nexport {};\n`);
    if (!target.includes(":")) {
      write(
        dir,
        target,
        to === "cycle" ? `import ${JSON.stringify(importOf(target, from))};\nexport {};\n` : "export {};\n",
      );
    }
    const found = (await violations(dir, [dirname(from).split("/")[0]])).violations.map((v) => v.rule.name);
    if (!found.includes(rule.name))
      fail(`${rule.name}: does not catch ${from} → ${to} (found: ${found.join(", ") || "nothing"})`);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
console.log(`${config.forbidden.length} rules, each shown to catch what it forbids`);
process.exitCode = failed ? 1 : 0;
