/** What a scenario has shown. */
export interface Finding {
  readonly passed: boolean;
  /** The numbers, in a sentence. */
  readonly facts: string;
}

export interface Scenario {
  /** For `--help`. */
  readonly about: string;
  /** How long it goes on unless it is told otherwise; without it, until it is through. */
  readonly minutes?: number;
  readonly run: (minutes: number) => Promise<Finding>;
}

export const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
