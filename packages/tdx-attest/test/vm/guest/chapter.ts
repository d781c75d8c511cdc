/** A part of what the VM asserts. The test on the host reads the names, the VM runs the rest. */
export interface Chapter {
  readonly title: string;
  /** Loads modules and starts servers; what it starts stays until the VM ends. */
  readonly start: () => Promise<void>;
  /** Ends the faults of one assertion, however it went, so that the next one does not suffer from them. */
  readonly heal: () => void;
  /** In the order they run. */
  readonly assertions: Readonly<Record<string, () => Promise<void>>>;
}

/** One line of the VM's second serial port. */
export type Line =
  | { readonly chapter: string; readonly assertion: string; readonly ms: number; readonly error?: string }
  | { readonly evidence: string; readonly quote: string; readonly eventLog?: string };

export function report(line: Line): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
