import { readFile, readdir } from "node:fs/promises";

/** Processes whose parent is `parent` and whose command line holds `text`. */
export async function childrenOf(parent: number, text: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const [stat, line] = await Promise.all(
      ["stat", "cmdline"].map((file) => readFile(`/proc/${name}/${file}`, "utf8").catch(() => "")),
    );
    // After the command's name in brackets: state, then parent.
    const ppid = /\) \S (\d+) /.exec(stat ?? "")?.[1];
    if (Number(ppid) === parent && line?.includes(text) === true) found.push(Number(name));
  }
  return found;
}
