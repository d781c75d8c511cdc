import { fileURLToPath } from "node:url";
import { build } from "vite";

/** Builds the dashboard; gives its files by their path, `index.html` and `assets/<name>`. Writes nothing. */
export async function buildPage() {
  const root = fileURLToPath(new URL(".", import.meta.url));
  const { output } = await build({
    root,
    configFile: `${root}vite.config.ts`,
    logLevel: "error",
    build: { write: false },
  });
  return new Map(
    output.map((file) => [file.fileName, Buffer.from(file.type === "chunk" ? file.code : file.source)]),
  );
}
