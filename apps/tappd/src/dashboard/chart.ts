import { html } from "@dstack/daemon";
import type { Html } from "@dstack/daemon";
import { formatDuration } from "./format.js";

/** One value at a time (Unix milliseconds). */
export interface Point {
  readonly at: number;
  readonly value: number;
}

export interface ChartOptions {
  readonly title: string;
  /** Oldest first; what is older than the span is left out. */
  readonly points: readonly Point[];
  /** From the left edge to the right one, which is the newest point. */
  readonly spanMs: number;
  /** Top of the chart. */
  readonly max: number;
  readonly format: (value: number) => string;
}

const WIDTH = 600;
const HEIGHT = 100;

/** A line over time as SVG, with its numbers in words for those who do not see it. */
export function chart({ title, points: given, spanMs, max, format }: ChartOptions): Html {
  const newest = given.at(-1);
  if (newest === undefined)
    return html`<figure>
      <figcaption>${title}</figcaption>
      <p class="empty">The first values come in a few seconds.</p>
    </figure> `;
  const points = given.filter(({ at }) => newest.at - at <= spanMs);
  const x = ({ at }: Point): number => Math.round(WIDTH * (1 - (newest.at - at) / spanMs));
  const y = ({ value }: Point): number => Math.round(HEIGHT * (1 - Math.min(Math.max(value / max, 0), 1)));
  const line = points.map((point) => `${x(point)},${y(point)}`).join(" ");
  const span = formatDuration(spanMs / 1000);
  const highest = format(Math.max(...points.map(({ value }) => value)));
  const summary = `${title}: ${format(newest.value)} now, ${highest} at most within ${span}`;
  return html`<figure>
    <figcaption>${title}: ${format(newest.value)}</figcaption>
    <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${summary}">
      <line class="grid" x1="0" y1="0" x2="${WIDTH}" y2="0" />
      <line class="grid" x1="0" y1="${HEIGHT / 2}" x2="${WIDTH}" y2="${HEIGHT / 2}" />
      <polygon class="area" points="${x(points[0] ?? newest)},${HEIGHT} ${line} ${WIDTH},${HEIGHT}" />
      <polyline class="line" points="${line}" />
    </svg>
    <div class="axis">
      <span>${span} ago</span><span>at most ${highest} of ${format(max)}</span><span>now</span>
    </div>
  </figure> `;
}
