import { NOW } from "../../support/platform.js";
import { at } from "./row.js";
import type { Row } from "./row.js";

/** Times that a caller should not, or cannot, verify at. */
export const CLOCK: readonly Row[] = [
  at("after nextUpdate", NOW + 40 * 86_400, "not_in_date", "refused"),
  at("before issueDate", NOW - 3 * 86_400, "not_in_date", "refused"),
  at("no number", NaN, "input_invalid", "UpToDate", "it compares with NaN"),
  at("half a second", NOW + 0.5, "input_invalid", "UpToDate", "it takes any number"),
  at("milliseconds", NOW * 1000, "not_in_date", "refused"),
  at("never", Infinity, "input_invalid", "refused"),
];
