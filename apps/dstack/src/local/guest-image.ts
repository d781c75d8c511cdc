import { errorCode } from "@dstack/core";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { z } from "zod";
import { CliError, printable } from "../output.js";
import type { Progress } from "../output.js";
import { checkoutDir } from "./programs.js";

const Metadata = z.looseObject({ name: z.string(), is_dev: z.boolean() });

export const imagesDir = (): string => join(checkoutDir(), "images", "out");

/** The build tells its own time (`[  12s] …`), and we tell ours. */
export const withoutTime = (line: string): string => line.replace(/^\[ *\d+s\] /, "");

/**
 * Builds the development image, or finds that nothing has changed since it was built.
 * @returns its name, a directory under `images/out`
 * @throws {CliError} with the end of the build's output
 */
export async function ensureDevImage(progress: Progress, signal: AbortSignal): Promise<string> {
  const child = spawn(join(checkoutDir(), "scripts", "build-image"), ["--dev"], {
    stdio: ["ignore", "pipe", "pipe"],
    signal,
  });
  const lines: string[] = [];
  const read = async (stream: NodeJS.ReadableStream): Promise<void> => {
    for await (const line of createInterface({ input: stream })) {
      lines.push(line);
      if (stream === child.stderr) progress.step(printable(withoutTime(line)));
    }
  };
  const [[code]] = await Promise.all([
    once(child, "close") as Promise<[number | null]>,
    read(child.stdout),
    read(child.stderr),
  ]);
  if (code !== 0) throw new CliError(`building the guest image failed:\n  ${lines.slice(-8).join("\n  ")}`);
  const names = await readdir(imagesDir());
  for (const name of names.toSorted().toReversed()) {
    try {
      const metadata = Metadata.parse(
        JSON.parse(await readFile(join(imagesDir(), name, "metadata.json"), "utf8")),
      );
      if (metadata.is_dev) return name;
    } catch (err) {
      if (errorCode(err) !== "ENOENT" && errorCode(err) !== "ENOTDIR") throw err;
    }
  }
  throw new CliError("the image build ended well but left no development image in images/out");
}
