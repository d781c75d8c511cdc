const UNITS = ["B", "KB", "MB", "GB", "TB"] as const;

/** A number of bytes for people: `0 B`, `12.3 MB`. */
export function bytes(count: number): string {
  let [value, unit] = [count, 0];
  while (value >= 1000 && unit < UNITS.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}
