import { createHmac } from "node:crypto";
import { type DnsRecord, sameRecord } from "../../src/dns/provider.js";
import { type TestServer, startServer } from "./http-server.js";

/** A receiver of the DNS webhook as its documentation asks for it. */
export async function startWebhook(secret: string): Promise<TestServer> {
  let records: DnsRecord[] = [];
  return startServer(({ headers, body }) => {
    const signature = createHmac("sha256", secret).update(`${String(headers["x-dstack-timestamp"])}.${body}`);
    if (headers["x-dstack-signature"] !== signature.digest("hex"))
      return { status: 401, body: "bad signature" };
    const order = JSON.parse(body) as
      { action: "list"; type: string; name: string } | { action: "add" | "remove"; record: DnsRecord };
    if (order.action === "list") {
      const found = records.filter(({ type, name }) => type === order.type && name === order.name);
      return { body: JSON.stringify({ records: found }) };
    }
    records = records.filter((record) => !sameRecord(record, order.record));
    if (order.action === "add") records.push(order.record);
    return { body: "{}" };
  });
}
