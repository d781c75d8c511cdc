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

const MAX_TIME_LENGTH = 40;

const Line = z.object({
  at: z.string().default(""),
  step: z.string().min(1),
  state: z.enum(["start", "done", "error", "info"]),
  message: z.string().default(""),
});

/** One line of the guest's boot, made harmless for display. */
export interface BootStep {
  /** By the guest's clock; empty where it is no time. */
  readonly at: string;
  readonly step: string;
  readonly state: "start" | "done" | "error" | "info";
  readonly message: string;
}

function describe(step: string, message: string): string {
  if (message === "") return step;
  return message.startsWith(`${step}: `) ? message : `${step}: ${message}`;
}

/** Reads the lines the guest's boot wrote. A line that is not as it should be, such as a half-written last one, is skipped. */
export function parseBootSteps(text: string): BootStep[] {
  return text.split("\n", MAX_LINES).flatMap((raw) => {
    let json: unknown;
    try {
      json = JSON.parse(raw);
    } catch {
      return [];
    }
    const line = Line.safeParse(json);
    if (!line.success) return [];
    const { at, step, state, message } = line.data;
    const time = at.length > MAX_TIME_LENGTH ? Number.NaN : Date.parse(at);
    return [
      {
        at: Number.isNaN(time) ? "" : new Date(time).toISOString(),
        step: cleanLine(step, MAX_STEP_LENGTH),
        state,
        message: cleanLine(message, MAX_MESSAGE_LENGTH),
      },
    ];
  });
}

/** What the lines come to. */
export function parseProgress(text: string): BootProgress {
  let progress: string | undefined;
  let error: string | undefined;
  let ready = false;
  for (const { step, state, message } of parseBootSteps(text)) {
    if (state === "error") {
      error ??= describe(step, message === "" ? "failed" : message);
    } else if (state === "done" && step !== "ready") {
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

/** The progress file's text in a status directory the guest can write to; empty when there is none that can be read. */
async function readProgressFile(statusDir: string): Promise<string> {
  try {
    const bytes = await readRegularFileIfAny(join(statusDir, PROGRESS_FILE), MAX_FILE_BYTES);
    return bytes === undefined ? "" : new TextDecoder().decode(bytes);
  } catch (err) {
    // Whatever else the guest made of that name tells nothing, and must not spoil the list of all VMs.
    if (!(err instanceof InputError) && errorCode(err) !== undefined) return "";
    throw err;
  }
}

/** How far the boot is, by the file in a status directory. */
export async function readProgress(statusDir: string): Promise<BootProgress> {
  try {
    return parseProgress(await readProgressFile(statusDir));
  } catch (err) {
    if (!(err instanceof InputError)) throw err;
    return { ready: false, error: `the guest's progress file is unusable: ${err.message}` };
  }
}

/**
 * All lines of the boot.
 * @throws {InputError} the file is none that could be read
 */
export async function readBootSteps(statusDir: string): Promise<BootStep[]> {
  return parseBootSteps(await readProgressFile(statusDir));
}
