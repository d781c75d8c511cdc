import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { errorCode } from "@dstack/core";

/** The files of the built page by their path in it, `index.html` and `assets/<name>`. */
export type PageFiles = ReadonlyMap<string, Buffer>;

/**
 * The page as `vite build` left it in `dist/web`; empty when it has not been built. scripts/bundle.mjs puts the files
 * themselves in place of this module: the program is one file.
 */
export async function pageFiles(): Promise<PageFiles> {
  return readPage(join(import.meta.dirname, "../../dist/web"));
}

/** Reads a built page. */
export async function readPage(dir: string): Promise<PageFiles> {
  try {
    const names = (await readdir(dir, { recursive: true, withFileTypes: true })).filter((e) => e.isFile());
    const paths = names.map((entry) => join(entry.parentPath, entry.name));
    return new Map(
      await Promise.all(
        paths.map(async (path) => [path.slice(dir.length + 1), await readFile(path)] as const),
      ),
    );
  } catch (err) {
    if (errorCode(err) === "ENOENT") return new Map();
    throw err;
  }
}
