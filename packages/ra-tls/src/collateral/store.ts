import type { CollateralKeys } from "@dstack/attestation";
import { Serial, errorCode, readRegularFileIfAny, writeFileAtomic } from "@dstack/core";
import { mkdir, readdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { DOCUMENT_KINDS, mapDocuments, newest, slotOf } from "./documents.js";
import type { Document, DocumentKind, Documents, Mark } from "./documents.js";

/** TCB infos kept. Intel publishes some dozens; a site has a handful. */
const MAX_PLATFORMS = 64;
const MAX_FILE_BYTES = 32 * 1024 * 1024;

const DOCUMENTS_FILE = "documents.json";
const SEEN_FILE = "seen.json";

const Seconds = z.int().min(0);
const DocumentsFile = z.strictObject({
  version: z.literal(1),
  documents: z.record(
    z.string().max(64),
    z.strictObject({ fetchedAt: Seconds, fields: z.record(z.string(), z.string()) }),
  ),
});
const SeenFile = z.strictObject({
  version: z.literal(1),
  seen: z.record(
    z.string().max(128),
    z.strictObject({
      issued: Seconds,
      number: z
        .string()
        .regex(/^\d{1,50}$/)
        .optional(),
    }),
  ),
});

/**
 * The newest documents, and how new the newest ever seen were, in memory and in two files. Each file is replaced whole,
 * so that a crash leaves the old or the new one. Nothing read from disk is trusted: documents are verified before each
 * use, and marks can only make us refuse more.
 */
export class DocumentStore {
  readonly #documents = new Map<string, Document>();
  readonly #seen = new Map<string, Mark>();
  readonly #writes = new Serial();

  /** @param dir where to keep it over a restart; made when missing. One process at a time. */
  constructor(private readonly dir: string | undefined) {}

  /**
   * Reads what an earlier process left. A file that cannot be read is as good as none.
   * @param onUnusable told why
   */
  async load(onUnusable: (error: unknown) => void): Promise<void> {
    if (this.dir === undefined) return;
    const dir = this.dir;
    await removeLeftovers(dir).catch(onUnusable);
    await readJson(join(dir, SEEN_FILE), SeenFile).then((file) => this.#raise(file?.seen ?? {}), onUnusable);
    await readJson(join(dir, DOCUMENTS_FILE), DocumentsFile).then((file) => {
      for (const [slot, document] of Object.entries(file?.documents ?? {}))
        this.#documents.set(slot, document);
    }, onUnusable);
  }

  /** A platform's documents; undefined unless there are all. */
  find(keys: CollateralKeys): Documents | undefined {
    const found = mapDocuments((kind) => this.#documents.get(slotOf(kind, keys)));
    return Object.values(found).includes(undefined) ? undefined : (found as Documents);
  }

  get(kind: DocumentKind, keys: CollateralKeys): Document | undefined {
    return this.#documents.get(slotOf(kind, keys));
  }

  /** How new the newest document of this name was. */
  seen(name: string): Mark | undefined {
    return this.#seen.get(name);
  }

  /** Takes documents and marks over. The caller has verified them. */
  put(keys: CollateralKeys, documents: Documents, marks: Readonly<Record<string, Mark>>): void {
    for (const kind of DOCUMENT_KINDS) {
      const slot = slotOf(kind, keys);
      this.#documents.delete(slot);
      this.#documents.set(slot, documents[kind]);
    }
    const platforms = [...this.#documents.keys()].filter((slot) => slot.startsWith("tcb_info:"));
    for (const slot of platforms.slice(0, -MAX_PLATFORMS)) this.#documents.delete(slot);
    this.#raise(marks);
  }

  /** Writes both files. Documents first: a crash in between leaves marks that are too low, not ones nothing meets. */
  save(): Promise<void> {
    const { dir } = this;
    if (dir === undefined) return Promise.resolve();
    return this.#writes.run(async () => {
      await mkdir(dir, { recursive: true, mode: 0o700 });
      const documents = { version: 1, documents: Object.fromEntries(this.#documents) };
      await writeFileAtomic(join(dir, DOCUMENTS_FILE), JSON.stringify(documents), { mode: 0o600 });
      // Whoever else wrote here may have seen newer ones.
      const other = await readJson(join(dir, SEEN_FILE), SeenFile).catch(() => undefined);
      this.#raise(other?.seen ?? {});
      const seen = { version: 1, seen: Object.fromEntries(this.#seen) };
      await writeFileAtomic(join(dir, SEEN_FILE), JSON.stringify(seen), { mode: 0o600 });
    });
  }

  #raise(marks: Readonly<Record<string, Mark>>): void {
    for (const [name, mark] of Object.entries(marks)) {
      this.#seen.set(name, newest(mark, this.#seen.get(name)));
    }
  }
}

async function readJson<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const bytes = await readRegularFileIfAny(path, MAX_FILE_BYTES);
  if (bytes === undefined) return undefined;
  try {
    return schema.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
  } catch (err) {
    throw new Error(`${path} is damaged and not used`, { cause: err });
  }
}

/** What a process that was killed while it wrote has left: {@link writeFileAtomic}'s temporary files. */
async function removeLeftovers(dir: string): Promise<void> {
  const names = await readdir(dir).catch((err: unknown) => {
    if (errorCode(err) === "ENOENT") return [];
    throw err;
  });
  const leftovers = names.filter((name) => /^\.(?:documents|seen)\.json\.[0-9a-f]+\.tmp$/.test(name));
  await Promise.all(leftovers.map((name) => unlink(join(dir, name))));
}
