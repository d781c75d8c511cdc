import { InputError } from "@dstack/core";
import { z } from "zod";

/** Logs that take certificates, or have taken ones that are still valid. Retired and rejected ones may be gone. */
const STATES = ["usable", "qualified", "readonly"];

const Log = z.object({
  description: z.string(),
  key: z.string(),
  mmd: z.number().positive().default(86_400),
  state: z.record(z.string(), z.unknown()).optional(),
  temporal_interval: z.object({ end_exclusive: z.iso.datetime() }).optional(),
});
const LogList = z.object({
  operators: z.array(
    z.object({
      name: z.string(),
      logs: z.array(Log.extend({ url: z.url() })).default([]),
      tiled_logs: z.array(Log.extend({ submission_url: z.url(), monitoring_url: z.url() })).default([]),
    }),
  ),
});

/**
 * The `[[log]]` tables for a browser's log list (version 3 of Chrome's form): all logs that certificates valid at `now` can be in.
 * @throws {InputError} not a log list, or one without such logs
 */
export function logTables(list: unknown, now: Date): string {
  const parsed = LogList.safeParse(list);
  if (!parsed.success) {
    const { path = [], message = "" } = parsed.error.issues[0] ?? {};
    throw new InputError(`this is no log list of version 3: ${path.join(".")}: ${message}`);
  }
  const tables = parsed.data.operators.flatMap(({ name, logs, tiled_logs: tiled }) => [
    ...tiled
      .filter((log) => isOfUse(log, now))
      .map((log) => table(name, log, log.submission_url, log.monitoring_url)),
    ...logs.filter((log) => isOfUse(log, now)).map((log) => table(name, log, log.url)),
  ]);
  if (tables.length === 0) throw new InputError("no log of this list takes certificates that are valid now");
  return tables.join("\n");
}

function isOfUse({ state = {}, temporal_interval: interval }: z.infer<typeof Log>, now: Date): boolean {
  const inUse = STATES.some((name) => name in state);
  return inUse && (interval === undefined || Date.parse(interval.end_exclusive) > now.getTime());
}

function table(operator: string, log: z.infer<typeof Log>, url: string, monitoringUrl?: string): string {
  // A string in JSON is one in TOML, and has no line breaks.
  const lines = [
    "[[log]]",
    `# ${JSON.stringify(`${operator}: ${log.description}`)}, for certificates that end before ${log.temporal_interval?.end_exclusive ?? "any time"}`,
    `url = ${JSON.stringify(url)}`,
    ...(monitoringUrl === undefined ? [] : [`monitoring_url = ${JSON.stringify(monitoringUrl)}`]),
    `public_key = ${JSON.stringify(log.key)}`,
    `mmd_secs = ${log.mmd}`,
  ];
  return `${lines.join("\n")}\n`;
}
