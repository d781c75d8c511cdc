import { signal } from "@preact/signals";
import { ApiError, request, wordsOf } from "@dstack/dashboard/web";
import { AnsiLines } from "./ansi.js";
import type { Span } from "./ansi.js";

export interface Line {
  readonly key: number;
  readonly text: string;
  readonly spans: readonly Span[];
}

/** So many lines are kept; a browser with more becomes slow. */
export const MAX_LINES = 5_000;
/** Of a line without an end, as a guest may write one. */
const MAX_LINE_LENGTH = 4_000;
const RETRY_MS = 1_000;

/** The console of one VM as it is written. */
export class ConsoleLog {
  readonly lines = signal<readonly Line[]>([]);
  readonly state = signal<"following" | "paused" | "lost">("following");
  readonly problem = signal("");
  #ansi = new AnsiLines();
  #rest = "";
  #key = 0;
  #stop = new AbortController();

  constructor(readonly id: string) {}

  /** Reads from the last lines on and goes on until {@link pause}. */
  async follow(): Promise<void> {
    this.#stop = new AbortController();
    const { signal: stopped } = this.#stop;
    while (!stopped.aborted) {
      try {
        await this.#read(stopped);
        this.state.value = "lost";
      } catch (err) {
        if (stopped.aborted) return;
        this.state.value = "lost";
        if (err instanceof ApiError && err.status !== 0) {
          this.problem.value = wordsOf(err);
          return;
        }
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  pause(): void {
    this.#stop.abort();
    this.state.value = "paused";
  }

  async #read(stopped: AbortSignal): Promise<void> {
    const query = new URLSearchParams({
      id: this.id,
      follow: "true",
      ansi: "true",
      lines: String(MAX_LINES),
    });
    const answer = await request(`/logs?${query}`, { signal: stopped });
    this.#begin();
    const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const chunk = await reader?.read();
      if (chunk === undefined || chunk.done) return;
      this.#take(chunk.value);
    }
  }

  #begin(): void {
    this.#ansi = new AnsiLines();
    this.#rest = "";
    this.lines.value = [];
    this.problem.value = "";
    this.state.value = "following";
  }

  #take(text: string): void {
    const parts = (this.#rest + text).split("\n");
    this.#rest = (parts.pop() ?? "").slice(-MAX_LINE_LENGTH);
    if (parts.length === 0) return;
    const fresh = parts.slice(-MAX_LINES).map((part) => this.#line(part.slice(0, MAX_LINE_LENGTH)));
    this.lines.value = [...this.lines.value, ...fresh].slice(-MAX_LINES);
  }

  #line(text: string): Line {
    const spans = this.#ansi.line(text);
    return { key: this.#key++, text: spans.map((span) => span.text).join(""), spans };
  }
}
