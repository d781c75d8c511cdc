import { batch, effect, signal } from "@preact/signals";
import type { Signal } from "@preact/signals";
import type { Hello } from "../src/events.js";
import { ApiError, request, signedIn } from "./api.js";
import { EventReader } from "./event-reader.js";

export const connection = signal<"connecting" | "live" | "lost">("connecting");
/** The daemon was started again under this page. */
export const restarted = signal(false);
/** Once a second, for what is shown as time passed. */
export const now = signal(Date.now());

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 3_000;
/** The daemon says something at least twice in this time; one that says nothing for so long is gone. */
const SILENCE_MS = 40_000;

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

interface Item {
  readonly id: string;
}

/** What a daemon tells of itself and of its things, as it is now. */
export interface Live<H extends Hello, I extends Item> {
  /** What it said of itself and of whoever is logged in. */
  readonly hello: Signal<H | undefined>;
  /** In the order they came; `undefined` until it has told them. */
  readonly items: Signal<readonly I[] | undefined>;
  /** Follows what happens, for as long as the page is open. */
  readonly follow: () => Promise<never>;
}

export function createLive<H extends Hello, I extends Item>(): Live<H, I> {
  const hello = signal<H | undefined>(undefined);
  const items = signal<readonly I[] | undefined>(undefined);

  function take(type: string, data: unknown): void {
    batch(() => {
      if (type === "hello") greet(data as H);
      else if (type === "all") items.value = data as I[];
      else if (type === "item") items.value = replaced(items.value ?? [], data as I);
      else if (type === "gone") items.value = items.value?.filter(({ id }) => id !== data);
    });
  }

  function greet(said: H): void {
    restarted.value = restarted.value || (hello.value !== undefined && hello.value.run !== said.run);
    hello.value = said;
    signedIn.value = "yes";
    connection.value = "live";
  }

  function forget(): void {
    batch(() => {
      connection.value = "connecting";
      hello.value = undefined;
      items.value = undefined;
    });
  }

  return { hello, items, follow: () => follow(take, forget) };
}

async function follow(take: (type: string, data: unknown) => void, forget: () => void): Promise<never> {
  setInterval(() => (now.value = Date.now()), 1000);
  let retryMs = FIRST_RETRY_MS;
  for (;;) {
    try {
      await listen(take, () => (retryMs = FIRST_RETRY_MS));
      connection.value = "lost";
    } catch (err) {
      if (err instanceof ApiError && err.status === 401) {
        forget();
        await untilSignedIn();
        retryMs = FIRST_RETRY_MS;
        continue;
      }
      connection.value = "lost";
    }
    await wait(retryMs);
    retryMs = Math.min(2 * retryMs, LONGEST_RETRY_MS);
  }
}

async function untilSignedIn(): Promise<void> {
  await new Promise<void>((resolve) => {
    const stop = effect(() => {
      if (signedIn.value !== "yes") return;
      queueMicrotask(() => stop());
      resolve();
    });
  });
}

/** Listens until the connection ends. */
async function listen(take: (type: string, data: unknown) => void, onAnswer: () => void): Promise<void> {
  const silence = new AbortController();
  const answer = await request("/events", { signal: silence.signal });
  const body = answer.body;
  if (body === null) return;
  onAnswer();
  const events = new EventReader(take);
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const timer = setTimeout(() => silence.abort(), SILENCE_MS);
    const { done, value } = await reader.read().finally(() => clearTimeout(timer));
    if (done) return;
    events.push(value);
  }
}

function replaced<I extends Item>(list: readonly I[], item: I): readonly I[] {
  return list.some(({ id }) => id === item.id)
    ? list.map((old) => (old.id === item.id ? item : old))
    : [...list, item];
}
