import { html } from "@dstack/daemon";
import type { Html } from "@dstack/daemon";

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** "0 bytes", "1.5 GiB", "512 MiB". */
export function formatBytes(bytes: bigint | number | undefined): string {
  let value = Number(bytes ?? 0);
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit] ?? ""}`;
}

/** "42 s", "3 min", "5 h 7 min", "12 d 3 h". */
export function formatDuration(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (minutes === 0) return `${Math.floor(seconds)} s`;
  if (hours === 0) return `${minutes} min`;
  if (hours < 24) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** Unix milliseconds as "2026-03-01 11:59:00 UTC". */
export function formatTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** Name and value of a description list. */
export function entry(name: string, value: string | Html): Html {
  return html`<dt>${name}</dt>
    <dd>${value}</dd> `;
}

/** The same for hashes, ids and registers. */
export function codeEntry(name: string, value: string): Html {
  return entry(name, html`<code>${value}</code>`);
}

/** With a capital letter and a full stop. */
export function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}
