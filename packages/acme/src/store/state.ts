import { readRegularFileIfAny, writeFileAtomic } from "@dstack/core";
import { z } from "zod";

const MAX_FILE_BYTES = 64 * 1024;
const time = z.iso.datetime();

const Form = z.strictObject({
  /** Until when a CA must not be asked, by its name. */
  pauses: z.record(z.string(), time).default({}),
  lastFailure: z.strictObject({ at: time, message: z.string() }).optional(),
  /** Id of the certificate the renew hook has run for. */
  hookDoneFor: z.string().optional(),
  /** The CA's last word on when to renew a certificate. */
  renewalInfo: z
    .strictObject({ id: z.string(), start: time, end: time, askAgainAt: time.optional() })
    .optional(),
});
/** What is remembered between runs and may be lost without harm. */
export type State = z.infer<typeof Form>;

/** A file that is missing or cannot be read is an empty state: nothing in it protects anything. */
export async function readState(path: string): Promise<State> {
  try {
    const bytes = await readRegularFileIfAny(path, MAX_FILE_BYTES);
    return Form.parse(bytes === undefined ? {} : JSON.parse(Buffer.from(bytes).toString("utf8")));
  } catch {
    return { pauses: {} };
  }
}

export async function updateState(path: string, change: (state: State) => State): Promise<void> {
  const state = change(await readState(path));
  await writeFileAtomic(path, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 });
}
