import { differenceLines, explainMeasurements, info, leavesOf, parseEventLog } from "@dstack/attestation";
import type { AnchorKind, CheckNode, EventLogEntry, Explanation } from "@dstack/attestation";
import { InputError, hex } from "@dstack/core";
import { measureImage, readLaunch } from "@dstack/tdx-attest";
import type { GivenImage } from "./given-image.js";

type RefusedQuote = NonNullable<Explanation["quote"]>;

/**
 * Where the start of a VM that is refused for its image first differs from the given image: a fact for people, which
 * decides nothing. Nothing when it was not refused for that, or when the log is not the quote's.
 * @param eventLog JSON array text
 */
export async function firstDifference(
  image: GivenImage,
  { tree, quote, identity }: Explanation,
  eventLog: string,
): Promise<readonly CheckNode[]> {
  const isRefused = leavesOf(tree, "fail").some(({ code }) => code === "measurement_refused");
  if (!isRefused || quote === undefined || identity === undefined) return [];
  const told = await DIFFERENCES[quote.anchor](image, quote, parseEventLog(eventLog));
  return told === undefined ? [] : [info(`first difference from ${image.name}`, told)];
}

type Difference = (
  image: GivenImage,
  quote: RefusedQuote,
  log: readonly EventLogEntry[],
) => Promise<string | undefined>;

const DIFFERENCES: Readonly<Record<AnchorKind, Difference>> = {
  intel: async ({ dir }, { body }, log) => {
    try {
      const { difference } = explainMeasurements(await readLaunch(dir), { log, body });
      return difference && differenceLines(difference).join(" ");
    } catch (err) {
      if (err instanceof InputError) return undefined; // An image that starts no TD: the comparison has told it.
      throw err;
    }
  },
  simulated: async ({ dir }, { body }, log) => {
    const { mrtd, events } = await measureImage(dir);
    if (hex(body.mrTd) !== mrtd) return "MRTD: the firmware is not the image's";
    const boot = log.filter(({ imr }) => imr !== 3);
    const index = Array.from({ length: Math.max(events.length, boot.length) }, (_, i) => i).find(
      (i) => events[i]?.digest !== boot[i]?.digest || events[i]?.imr !== boot[i]?.imr,
    );
    if (index === undefined) return undefined;
    const describe = (entry: EventLogEntry | undefined): string =>
      entry === undefined ? "nothing" : `${entry.event} ${entry.digest} in RTMR${entry.imr}`;
    return `event ${index + 1} of the boot: expected ${describe(events[index])}, found ${describe(boot[index])}`;
  },
};
