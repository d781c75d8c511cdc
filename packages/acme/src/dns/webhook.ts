import { createHmac } from "node:crypto";
import { z } from "zod";
import { DnsError } from "../errors.js";
import { callDnsApi } from "./api.js";
import { type DnsProvider, type DnsRecord, recordText } from "./provider.js";

export interface WebhookOptions {
  url: string;
  /** Key of the HMAC-SHA256 over `<timestamp>.<body>` in `x-dstack-signature`. */
  secret: string;
}

const ListAnswer = z.object({
  records: z.array(
    z.discriminatedUnion("type", [
      z.object({ type: z.literal("TXT"), name: z.string(), text: z.string() }),
      z.object({
        type: z.literal("CAA"),
        name: z.string(),
        flags: z.number(),
        tag: z.string(),
        value: z.string(),
      }),
    ]),
  ),
});

/**
 * Any other provider, through a service of the operator's: POST of `{"action":"add"|"remove","record":{…}}` or
 * `{"action":"list","type":…,"name":…}`, answered 2xx, `list` with `{"records":[…]}`. Adding what is there and removing
 * what is not must succeed. `x-dstack-timestamp` is Unix seconds, `x-dstack-signature` hex; a receiver refuses what is
 * more than five minutes old.
 */
export class WebhookDns implements DnsProvider {
  readonly name = "DNS webhook";

  constructor(private readonly options: WebhookOptions) {}

  async list<T extends DnsRecord["type"]>(
    type: T,
    name: string,
    signal: AbortSignal,
  ): Promise<Extract<DnsRecord, { type: T }>[]> {
    const text = await this.#post({ action: "list", type, name }, `listing ${type} of ${name}`, signal);
    try {
      return ListAnswer.parse(JSON.parse(text)).records.filter(
        (record): record is Extract<DnsRecord, { type: T }> => record.type === type && record.name === name,
      );
    } catch (err) {
      throw new DnsError(
        "refused",
        "the DNS webhook's list is not of the documented form",
        {},
        { cause: err },
      );
    }
  }

  async add(record: DnsRecord, signal: AbortSignal): Promise<void> {
    await this.#post({ action: "add", record }, `adding ${recordText(record)}`, signal);
  }

  async remove(record: DnsRecord, signal: AbortSignal): Promise<void> {
    await this.#post({ action: "remove", record }, `removing ${recordText(record)}`, signal);
  }

  async #post(order: object, what: string, signal: AbortSignal): Promise<string> {
    const body = JSON.stringify(order);
    const timestamp = String(Math.floor(Date.now() / 1000));
    const signature = createHmac("sha256", this.options.secret).update(`${timestamp}.${body}`).digest("hex");
    const answer = await callDnsApi(this.name, this.options.url, {
      method: "POST",
      signal,
      body,
      headers: {
        "content-type": "application/json",
        "x-dstack-timestamp": timestamp,
        "x-dstack-signature": signature,
      },
    });
    if (answer.status >= 200 && answer.status < 300) return answer.text;
    const said = answer.text.slice(0, 200);
    throw new DnsError("refused", `the DNS webhook refused ${what}: ${answer.status} ${said}`);
  }
}
