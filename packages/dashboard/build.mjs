import { fileURLToPath } from "node:url";
import { build } from "vite";

/**
 * Builds a dashboard; gives its files by their path, `index.html` and `assets/<name>`. Writes nothing.
 * @param directory of its `index.html`, as a file URL that ends with a slash
 */
export async function buildPage(directory) {
  const { output } = await build({
    root: fileURLToPath(directory),
    configFile: false,
    logLevel: "error",
    build: {
      write: false,
      target: "es2022",
      // Everything is a file of its own: the policy of the page allows nothing inline.
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
    },
    // Browsers are given our sources, ours alone are transformed: JSX for Preact.
    oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  });
  return new Map(
    output.map((file) => [file.fileName, Buffer.from(file.type === "chunk" ? file.code : file.source)]),
  );
}
