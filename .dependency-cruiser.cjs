// Arrows only point down: level 0 at the bottom, see docs/architecture.md. scripts/check-dependencies.mjs applies these
// rules and shows for each that it catches what it forbids.
const LEVELS = [
  ["core", "proto"],
  ["daemon", "prpc", "attestation", "app-compose", "wireguard-tools-wrapper", "tls-proxy", "acme", "ct"],
  ["tdx-attest", "ra-tls", "dashboard", "store"],
  ["ra-rpc"],
];
const PACKAGE = "(^|/)packages";

/** Packages of a level may import packages of lower levels, and nothing of their own level but themselves. */
const levelRules = LEVELS.map((names, level) => ({
  name: `level-${level}-imports-only-below`,
  severity: "error",
  from: { path: `${PACKAGE}/(${names.join("|")})/src/` },
  to: {
    path: `${PACKAGE}/(${LEVELS.slice(level).flat().join("|")}|testbed)/`,
    pathNot: `${PACKAGE}/$2/`,
  },
}));

/** @type {import("dependency-cruiser").IConfiguration} */
module.exports = {
  forbidden: [
    ...levelRules,
    {
      name: "packages-do-not-import-apps",
      severity: "error",
      from: { path: `${PACKAGE}/`, pathNot: `${PACKAGE}/testbed/` },
      to: { path: "(^|/)apps/" },
    },
    {
      name: "apps-do-not-import-each-other",
      severity: "error",
      from: { path: "(^|/)apps/([^/]+)/src/" },
      to: { path: "(^|/)apps/", pathNot: "(^|/)apps/$2/" },
    },
    {
      name: "nobody-imports-the-testbed",
      severity: "error",
      from: { path: "(^|/)(packages|apps)/", pathNot: `${PACKAGE}/testbed/` },
      to: { path: `${PACKAGE}/testbed/` },
    },
    {
      name: "attestation-is-pure",
      comment: "verification is a function of bytes, collateral and a clock that is handed in",
      severity: "error",
      from: { path: `${PACKAGE}/attestation/src/` },
      to: {
        path: "^(node:)?(fs|net|http|https|http2|tls|dgram|dns|child_process|worker_threads|timers)(/|$)",
      },
    },
    {
      name: "source-does-not-import-tests",
      severity: "error",
      from: { path: "(^|/)src/", pathNot: `${PACKAGE}/testbed/` },
      to: { path: "(^|/)test/" },
    },
    {
      name: "no-cycles",
      severity: "error",
      from: { path: "(^|/)src/" },
      to: { circular: true },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "(^|/)(dist|build|gen|node_modules)/" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "node", "default"],
      extensions: [".ts", ".js"],
    },
  },
};
