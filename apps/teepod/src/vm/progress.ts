import { join } from "node:path";
import { InputError, errorCode, readRegularFileIfAny } from "@dstack/core";
import { z } from "zod";
import { cleanLine } from "./text.js";

/** How far the guest says its boot has come. Claims of the guest, made harmless for display. */
export interface BootProgress {
  /** The last step, "kms: asking for keys"; "ready" at the end. */
  readonly progress?: string;
  /** The first step that failed, "kms: no key: measurement is not allowed". */
  readonly error?: string;
  readonly ready: boolean;
}

export const PROGRESS_FILE = "progress.jsonl";

/** A boot writes some forty lines. */
const MAX_FILE_BYTES = 256 * 1024;
const MAX_LINES = 2_000;
const MAX_STEP_LENGTH = 40;
const MAX_MESSAGE_LENGTH = 400;

const Line = z.object({
  step: z.string().min(1),
  state: z.enum(["start", "done", "error", "info"]),
  message: z.string().optional(),
});

const NOTHING: BootProgress = { ready: false };

function describe(step: string, message: string): string {
  if (message === "") return step;
  return message.startsWith(`${step}: `) ? message : `${step}: ${message}`;
}

/** Reads the lines the guest's boot wrote. A line that is not as it should be, such as a half-written last one, is skipped. */
export function parseProgress(text: string): BootProgress {
  let progress: string | undefined;
  let error: string | undefined;
  let ready = false;
  for (const raw of text.split("\n", MAX_LINES)) {
    let json: unknown;
    try {
      json = JSON.parse(raw);
    } catch {
      continue;
    }
    const line = Line.safeParse(json);
    if (!line.success) continue;
    const step = cleanLine(line.data.step, MAX_STEP_LENGTH);
    const message = cleanLine(line.data.message ?? "", MAX_MESSAGE_LENGTH);
    if (line.data.state === "error") {
      error ??= describe(step, message === "" ? "failed" : message);
    } else if (line.data.state === "done" && step !== "ready") {
      progress = describe(`${step} done`, message);
    } else {
      progress = describe(step, message);
      if (step === "ready") ready = true;
    }
  }
  return {
    ...(progress !== undefined && { progress }),
    ...(error !== undefined && { error }),
    ready,
  };
}

/** Reads the progress file in a status directory the guest can write to. */
export async function readProgress(statusDir: string): Promise<BootProgress> {
  try {
    const bytes = await readRegularFileIfAny(join(statusDir, PROGRESS_FILE), MAX_FILE_BYTES);
    return bytes === undefined ? NOTHING : parseProgress(new TextDecoder().decode(bytes));
  } catch (err) {
    if (err instanceof InputError)
      return { ready: false, error: `the guest's progress file is unusable: ${err.message}` };
    // Whatever else the guest made of that name tells nothing, and must not spoil the list of all VMs.
    if (errorCode(err) !== undefined) return NOTHING;
    throw err;
  }
}
