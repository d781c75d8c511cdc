const FIRST_RETRY_MS = 60_000;
const MAX_RETRY_MS = 1800_000;
/** Part of the interval by which waits differ, so that many ingresses do not ask a CA at the same moment. */
const JITTER = 0.1;

/**
 * How long to wait after a pass, ms: the interval, or after failures in a row one minute, two, four … up to half an
 * hour; each up to a tenth shorter.
 * @param random 0 to 1
 */
export function waitAfter(failures: number, intervalMs: number, random: number): number {
  const whole =
    failures === 0 ? intervalMs : Math.min(intervalMs, MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** (failures - 1));
  return whole * (1 - JITTER * random);
}
