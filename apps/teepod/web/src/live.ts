import { batch, computed, effect, signal } from "@preact/signals";
import type { Hello } from "../../src/dashboard/events.js";
import type { VmSummary } from "../../src/dashboard/vm-summary.js";
import { ApiError, request, signedIn } from "./api.js";
import { EventReader } from "./event-reader.js";

/** What teepod said of itself and of whoever is logged in. */
export const hello = signal<Hello | undefined>(undefined);
/** All VMs, oldest first; `undefined` until teepod has told them. */
export const vms = signal<readonly VmSummary[] | undefined>(undefined);
export const connection = signal<"connecting" | "live" | "lost">("connecting");
/** teepod was started again under this page. */
export const restarted = signal(false);
/** Once a second, for what is shown as time passed. */
export const now = signal(Date.now());
export const mayChange = computed(() => hello.value?.you.role === "operator");

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 3_000;
/** teepod says something every fifteen seconds; one that says nothing for so long is gone. */
const SILENCE_MS = 40_000;

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Follows what happens on the host, for as long as the page is open. */
export async function follow(): Promise<never> {
  setInterval(() => (now.value = Date.now()), 1000);
  let retryMs = FIRST_RETRY_MS;
  for (;;) {
    try {
      await listen(() => (retryMs = FIRST_RETRY_MS));
      connection.value = "lost";
    } catch (err) {
      if (err instanceof ApiError && err.status === 401) {
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
  batch(() => {
    connection.value = "connecting";
    hello.value = undefined;
    vms.value = undefined;
  });
  await new Promise<void>((resolve) => {
    const stop = effect(() => {
      if (signedIn.value !== "yes") return;
      queueMicrotask(() => stop());
      resolve();
    });
  });
}

/** Listens until the connection ends. */
async function listen(onAnswer: () => void): Promise<void> {
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

function take(type: string, data: unknown): void {
  batch(() => {
    if (type === "hello") greet(data as Hello);
    else if (type === "vms") vms.value = data as VmSummary[];
    else if (type === "vm") vms.value = replaced(vms.value ?? [], data as VmSummary);
    else if (type === "gone") vms.value = vms.value?.filter(({ id }) => id !== data);
  });
}

function greet(said: Hello): void {
  restarted.value = restarted.value || (hello.value !== undefined && hello.value.run !== said.run);
  hello.value = said;
  signedIn.value = "yes";
  connection.value = "live";
}

function replaced(list: readonly VmSummary[], vm: VmSummary): readonly VmSummary[] {
  return list.some(({ id }) => id === vm.id)
    ? list.map((old) => (old.id === vm.id ? vm : old))
    : [...list, vm];
}
