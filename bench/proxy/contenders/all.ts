import type { Contender } from "./contender.js";
import { haproxy } from "./haproxy.js";
import { nginx } from "./nginx.js";
import { ours } from "./ours.js";
import { sniproxy } from "./sniproxy.js";

/**
 * Who is measured. HAProxy three times: what is best for it differs from row to row, and a ratio is to the best.
 */
export const CONTENDERS: readonly Contender[] = [
  ours("native"),
  ours("js"),
  haproxy("haproxy", { pass: 7101, end: 7102 }, { splice: false, bufferBytes: 16_384 }),
  haproxy("haproxy-64k", { pass: 7111, end: 7112 }, { splice: false, bufferBytes: 65_536 }),
  haproxy("haproxy-splice", { pass: 7121, end: 7122 }, { splice: true, bufferBytes: 16_384 }),
  nginx,
  sniproxy,
];
