// Bundles one program into one file: `node scripts/bundle.mjs <entry.ts> <out.mjs | out.cjs>`. The ending decides
// what it becomes: an ES module, or a CommonJS one, for which Node can be given a code cache (the guest image does).
// The dashboard in `web/`, where a program has one, is built and becomes part of the file.
// Native addons stay outside and are found by path at run time.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";

const [entry, out] = process.argv.slice(2);
if (entry === undefined || out === undefined) {
  console.error("usage: node bundle.mjs <entry.ts> <out.mjs | out.cjs>");
  process.exit(2);
}

/** zod brings its messages in fifty languages; ours are in English. */
const englishOnly = {
  name: "english-only",
  setup(pluginBuild) {
    pluginBuild.onLoad({ filter: /zod\/v4\/locales\/index\.js$/ }, () => ({
      contents: 'export { default as en } from "./en.js";',
      loader: "js",
    }));
  },
};

/** Parts of the Docker client that no program of ours uses: engines over ssh, and BuildKit sessions over gRPC. */
const localDockerOnly = {
  name: "local-docker-only",
  setup(pluginBuild) {
    pluginBuild.onLoad({ filter: /\/(docker-modem\/lib\/ssh|dockerode\/lib\/session)\.js$/ }, () => ({
      contents: 'module.exports = () => { throw new Error("this is not part of the bundle"); };',
      loader: "js",
    }));
  },
};

/** The etcd client reads its protocol from files beside its own; in a bundle there are none. */
const etcdProtocolInside = {
  name: "etcd-protocol-inside",
  setup(pluginBuild) {
    pluginBuild.onLoad({ filter: /\/etcd3\/lib\/connection-pool\.js$/ }, async ({ path }) => {
      const loader = createRequire(createRequire(path).resolve("@grpc/proto-loader"));
      const { Root } = loader("protobufjs");
      const file = join(dirname(path), "../proto/rpc.proto");
      const protocol = new Root().loadSync(file, { keepCase: true }).toJSON();
      const source = await readFile(path, "utf8");
      const call = "loadSync)(`${__dirname}/../proto/rpc.proto`";
      if (!source.includes(call)) throw new Error("the etcd client reads its protocol in another way now");
      return { contents: source.replace(call, `fromJSON)(${JSON.stringify(protocol)}`), loader: "js" };
    });
  },
};

/** Builds the dashboard of the program, if it has one, and puts its files in place of the module that stands for them. */
const dashboardInside = {
  name: "dashboard-inside",
  setup(pluginBuild) {
    pluginBuild.onLoad({ filter: /\/src\/dashboard\/files\.ts$/ }, async ({ path }) => {
      const { buildPage } = await import("../packages/dashboard/build.mjs");
      const files = [...(await buildPage(pathToFileURL(resolve(path, "../../../web/") + "/")))].map(
        ([name, bytes]) => [name, bytes.toString("base64")],
      );
      const contents = `const files = ${JSON.stringify(files)};
        export const pageFiles = async () =>
          new Map(files.map(([name, text]) => [name, Buffer.from(text, "base64")]));`;
      return { contents, loader: "js" };
    });
  },
};

const moduleFormat = out.endsWith(".cjs")
  ? {
      format: "cjs",
      define: { "import.meta.url": "__moduleUrl" },
      banner: { js: 'const __moduleUrl = require("node:url").pathToFileURL(__filename).href;' },
    }
  : {
      format: "esm",
      // CommonJS dependencies in an ES module bundle still expect these three.
      banner: {
        js: [
          "#!/usr/bin/env node",
          'import { createRequire as __createRequire } from "node:module";',
          'import { fileURLToPath as __fileURLToPath } from "node:url";',
          'import { dirname as __pathDirname } from "node:path";',
          "const require = __createRequire(import.meta.url);",
          "const __filename = __fileURLToPath(import.meta.url);",
          "const __dirname = __pathDirname(__filename);",
        ].join("\n"),
      },
    };

await build({
  ...moduleFormat,
  plugins: [englishOnly, localDockerOnly, etcdProtocolInside, dashboardInside],
  entryPoints: [entry],
  outfile: out,
  bundle: true,
  platform: "node",
  target: "node20",
  // Less text to parse at each start: it counts in a guest under emulation. Names stay for stack traces.
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: "none",
  logLevel: "warning",
  external: ["*.node", "cpu-features"],
});
