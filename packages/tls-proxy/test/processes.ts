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

/** How often a process, all threads together, has slept and was woken since its start. */
export async function wakeUpsOf(pid: number): Promise<number> {
  const threads = await readdir(`/proc/${pid}/task`);
  const texts = await Promise.all(
    threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/status`, "utf8")),
  );
  return texts.reduce((sum, text) => sum + Number(/^voluntary_ctxt_switches:\s*(\d+)$/m.exec(text)?.[1]), 0);
}
