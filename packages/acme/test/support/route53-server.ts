import { createHash, createHmac } from "node:crypto";
import { type Exchange, type TestServer, startServer } from "./http-server.js";

const CREDENTIALS = { accessKeyId: "AKIDTEST", secretAccessKey: "secret/of+test" };
const NS = 'xmlns="https://route53.amazonaws.com/doc/2013-04-01/"';

interface RecordSet {
  name: string;
  type: string;
  ttl: string;
  values: string[];
}
export interface Route53Server extends TestServer {
  credentials: typeof CREDENTIALS;
  sets: RecordSet[];
}

const xml = (body: string, status = 200): { status: number; body: string } => ({
  status,
  body: `<?xml version="1.0"?>\n${body}`,
});
const inner = (text: string, name: string): string[] =>
  [...text.matchAll(new RegExp(`<${name}>(.*?)</${name}>`, "gs"))].map(([, part = ""]) => part);
const unescape = (text: string): string =>
  text.replace(/&#(\d+);/g, (_, code: string) => String.fromCodePoint(Number(code)));
const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("<", "&lt;");

/** AWS Signature Version 4, recomputed from what arrived. */
function isSigned({ method, url, headers, body }: Exchange): boolean {
  const [, scope = "", names = "", signature] =
    /Credential=AKIDTEST\/([^,]+), SignedHeaders=([^,]+), Signature=(\w+)/.exec(
      headers.authorization ?? "",
    ) ?? [];
  const hash = (text: string): string => createHash("sha256").update(text).digest("hex");
  const query = url.search.slice(1).split("&").toSorted().join("&").replaceAll("+", "%20");
  const signed = names.split(";").map((name) => `${name}:${String(headers[name])}`);
  const canonical = [method, url.pathname, query, ...signed, "", names, hash(body)].join("\n");
  const text = ["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, hash(canonical)].join("\n");
  const key = scope
    .split("/")
    .reduce<string | Buffer>(
      (k, part) => createHmac("sha256", k).update(part).digest(),
      `AWS4${CREDENTIALS.secretAccessKey}`,
    );
  return createHmac("sha256", key).update(text).digest("hex") === signature;
}

/** Route 53's API as far as we use it: zones in pages of one, record sets, change batches that are refused as a whole. */
export async function startRoute53(
  zones: readonly { id: string; name: string; isPrivate?: boolean }[],
): Promise<Route53Server> {
  const sets: RecordSet[] = [];
  const server = await startServer((exchange) => {
    const { method, url, body } = exchange;
    if (!isSigned(exchange)) {
      return xml(
        "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error></ErrorResponse>",
        403,
      );
    }
    if (url.pathname === "/2013-04-01/hostedzone") {
      const at = Number(url.searchParams.get("marker") ?? 0);
      const { id, name, isPrivate = false } = zones[at] ?? { id: "", name: "" };
      const next = at + 1 < zones.length ? `<NextMarker>${at + 1}</NextMarker>` : "";
      const zone = `<HostedZone><Id>/hostedzone/${id}</Id><Name>${name}.</Name><Config><PrivateZone>${isPrivate}</PrivateZone></Config></HostedZone>`;
      return xml(
        `<ListHostedZonesResponse ${NS}><HostedZones>${zone}</HostedZones>${next}</ListHostedZonesResponse>`,
      );
    }
    const zone = zones.find(({ id }) => url.pathname.startsWith(`/2013-04-01/hostedzone/${id}/rrset`));
    if (zone === undefined || zone.isPrivate === true) {
      return xml(
        "<ErrorResponse><Error><Code>NoSuchHostedZone</Code><Message>no such zone</Message></Error></ErrorResponse>",
        404,
      );
    }
    if (method === "GET") {
      const from = `${url.searchParams.get("name")} ${url.searchParams.get("type")}`;
      const found = sets
        .filter((set) => `${set.name} ${set.type}` >= from)
        .toSorted((a, b) => (a.name + a.type < b.name + b.type ? -1 : 1));
      const text = found
        .slice(0, 1)
        .map(
          ({ name, type, ttl, values }) =>
            `<ResourceRecordSet><Name>${name}</Name><Type>${type}</Type><TTL>${ttl}</TTL><ResourceRecords>${values.map((value) => `<ResourceRecord><Value>${escape(value)}</Value></ResourceRecord>`).join("")}</ResourceRecords></ResourceRecordSet>`,
        );
      return xml(
        `<ListResourceRecordSetsResponse ${NS}><ResourceRecordSets>${text.join("")}</ResourceRecordSets></ListResourceRecordSetsResponse>`,
      );
    }
    const next = [...sets];
    for (const change of inner(body, "Change")) {
      const set = {
        name: inner(change, "Name")[0] ?? "",
        type: inner(change, "Type")[0] ?? "",
        ttl: inner(change, "TTL")[0] ?? "",
        values: inner(change, "Value").map(unescape),
      };
      const at = next.findIndex(({ name, type }) => name === set.name && type === set.type);
      const same = at >= 0 && JSON.stringify(next[at]) === JSON.stringify(set);
      const isDelete = change.includes("<Action>DELETE</Action>");
      if (isDelete ? !same : at >= 0) {
        const message = `Tried to ${isDelete ? "delete" : "create"} resource record set [${set.name}] but it does not match`;
        return xml(
          `<InvalidChangeBatch ${NS}><Messages><Message>${message}</Message></Messages></InvalidChangeBatch>`,
          400,
        );
      }
      if (isDelete) next.splice(at, 1);
      else next.push(set);
    }
    sets.splice(0, sets.length, ...next);
    return xml(
      `<ChangeResourceRecordSetsResponse ${NS}><ChangeInfo><Status>PENDING</Status></ChangeInfo></ChangeResourceRecordSetsResponse>`,
    );
  });
  return Object.assign(server, { credentials: CREDENTIALS, sets });
}
