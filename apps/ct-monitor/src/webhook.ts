import { createHmac } from "node:crypto";
import { withDeadline } from "@dstack/core";
import { request } from "undici";
import type { Alert } from "./alerts.js";
import { HttpError } from "./http.js";

const LIMIT_MS = 15_000;

export interface WebhookOptions {
  readonly url: string;
  /** Key of the HMAC-SHA256 over `<timestamp>.<body>` in `x-dstack-signature`. */
  readonly secret?: string | undefined;
}

/**
 * Tells one alert: POST of `{"domain","alert"}`, taken when the answer is 2xx. At least once: a crash in between tells it
 * again, and the alert's id is the same.
 * @throws when it was not taken
 */
export async function tellWebhook(
  { url, secret }: WebhookOptions,
  domain: string,
  alert: Alert,
  signal: AbortSignal,
): Promise<void> {
  const { told: _, ...told } = alert;
  const body = JSON.stringify({ domain, alert: told });
  const timestamp = String(Math.floor(Date.now() / 1000));
  const signature =
    secret === undefined
      ? {}
      : { "x-dstack-signature": createHmac("sha256", secret).update(`${timestamp}.${body}`).digest("hex") };
  await withDeadline(
    "telling the webhook",
    LIMIT_MS,
    async (limit) => {
      const answer = await request(url, {
        method: "POST",
        body,
        headers: { "content-type": "application/json", "x-dstack-timestamp": timestamp, ...signature },
        signal: limit,
      });
      // What it says does not matter, and may be endless.
      await answer.body.dump({ limit: 65_536, signal: limit });
      if (answer.statusCode < 200 || answer.statusCode > 299) {
        throw new HttpError("status", `the webhook answers with status ${answer.statusCode}`, {
          statusCode: answer.statusCode,
        });
      }
    },
    signal,
  );
}
