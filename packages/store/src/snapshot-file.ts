import { readRegularFileIfAny, writeFileAtomic } from "@dstack/core";
import { z } from "zod";
import type { History } from "./etcd-history.js";
import type { Records, StoreEntry } from "./store.js";

/** Some 65,536 instances with all their records. */
const MAX_FILE_BYTES = 64 * 2 ** 20;

const Snapshot = z.strictObject({
  version: z.literal(1),
  records: z.record(z.string(), z.strictObject({ value: z.string(), revision: z.int().positive() })),
  history: z.strictObject({ cluster: z.string(), revision: z.int().min(0), asOf: z.int().min(0) }).optional(),
});

/** What a node of a cluster knew last, for a start while the store cannot be reached. */
export class SnapshotFile {
  constructor(readonly path: string) {}

  /** @returns undefined where there is none @throws one that cannot be read */
  async read(): Promise<{ records: Records; history: History | undefined } | undefined> {
    const bytes = await readRegularFileIfAny(this.path, MAX_FILE_BYTES);
    if (bytes === undefined) return undefined;
    const { records, history } = Snapshot.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
    return { records: new Map(Object.entries(records)), history };
  }

  async write(records: Iterable<readonly [string, StoreEntry]>, history: History | undefined): Promise<void> {
    const file: z.input<typeof Snapshot> = {
      version: 1,
      records: Object.fromEntries(records),
      ...(history === undefined ? {} : { history }),
    };
    await writeFileAtomic(this.path, `${JSON.stringify(file)}\n`, { mode: 0o600 });
  }
}
