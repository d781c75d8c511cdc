import { z } from "zod";

/** Lower-case hex text, of a fixed number of bytes if one is given. */
export function hexOf(bytes?: number): z.ZodString {
  const digits = bytes === undefined ? "(?:[0-9a-f]{2})*" : `[0-9a-f]{${2 * bytes}}`;
  return z
    .string()
    .regex(new RegExp(`^${digits}$`), bytes === undefined ? "must be hex" : `must be ${bytes} bytes of hex`);
}

/** Shape of an event log; what it proves is for verifiers to find out. */
export const EventLogSchema = z
  .array(
    z.strictObject({
      imr: z.int().min(0).max(3),
      event_type: z.int().min(0).max(0xffffffff),
      digest: hexOf(48),
      event: z.string().max(128),
      event_payload: hexOf(),
    }),
  )
  .max(1024);

/** Registers in hex and the events that replay to them, as {@link LaunchMeasurements}. */
export const LaunchSchema = z.strictObject({
  mrtd: hexOf(48),
  rtmr0: hexOf(48),
  rtmr1: hexOf(48),
  rtmr2: hexOf(48),
  events: EventLogSchema,
});

/** `simulator.json` of the host share: which platform to imitate, and how this VM was launched. */
export const SimulatorFileSchema = z.strictObject({ seed: hexOf(32), launch: LaunchSchema.optional() });
