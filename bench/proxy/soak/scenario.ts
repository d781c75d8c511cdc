import type { Ends } from "../ends.js";
import type { Site } from "../site.js";

/** What the scenarios work with. */
export interface SoakParts {
  readonly ends: Ends;
  readonly site: Site;
  /** How long steady load, and killing, go on. */
  readonly minutes: number;
}

/** What a scenario has shown. */
export interface Finding {
  readonly passed: boolean;
  /** The numbers, in a sentence. */
  readonly facts: string;
}

export type Scenario = (parts: SoakParts) => Promise<Finding>;

export const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
