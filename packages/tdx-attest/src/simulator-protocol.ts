/**
 * What the simulator service and its client say to each other: `POST /<operation>` over a unix socket, JSON in, JSON
 * out, bytes as hex.
 */
import { z } from "zod";
import { REPORT_DATA_BYTES, RTMR_BYTES } from "./lengths.js";
import { EventLogSchema, hexOf } from "./wire-schemas.js";

export const DEFAULT_SIMULATOR_SOCKET = "/run/dstack/simulator.sock";

const operations = {
  quote: {
    request: z.strictObject({ report_data: hexOf(REPORT_DATA_BYTES) }),
    response: z.strictObject({ quote: hexOf() }),
  },
  report: {
    request: z.strictObject({ report_data: hexOf(REPORT_DATA_BYTES) }),
    response: z.strictObject({ report: hexOf(1024) }),
  },
  read: {
    request: z.strictObject({ index: z.int().min(0).max(3) }),
    response: z.strictObject({ value: hexOf(RTMR_BYTES) }),
  },
  extend: {
    request: z.strictObject({ index: z.literal(3), digest: hexOf(RTMR_BYTES) }),
    response: z.strictObject({}),
  },
  events: { request: z.strictObject({}), response: z.strictObject({ events: EventLogSchema }) },
};

export type SimulatorOperation = keyof typeof operations;
export type SimulatorRequest<Op extends SimulatorOperation> = z.infer<(typeof operations)[Op]["request"]>;
export type SimulatorResponse<Op extends SimulatorOperation> = z.infer<(typeof operations)[Op]["response"]>;

type Schemas = {
  readonly [Op in SimulatorOperation]: {
    readonly request: z.ZodType<SimulatorRequest<Op>>;
    readonly response: z.ZodType<SimulatorResponse<Op>>;
  };
};
export const SIMULATOR_OPERATIONS: Schemas = operations;
