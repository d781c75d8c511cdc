import { randomUUID } from "node:crypto";
import { type TestServer, startServer } from "./http-server.js";

export interface Row {
  id: string;
  type: string;
  name: string;
  content: string;
  ttl: number;
  proxied?: boolean;
  data?: { flags: number; tag: string; value: string };
}

export interface CloudflareServer extends TestServer {
  rows: Row[];
  token: string;
}

const PAGE = 2;
const ok = (result: unknown, info?: object): { body: string } => ({
  body: JSON.stringify({ success: true, errors: [], messages: [], result, result_info: info }),
});
const fail = (status: number, code: number, message: string): { status: number; body: string } => ({
  status,
  body: JSON.stringify({ success: false, errors: [{ code, message }], messages: [], result: null }),
});

/**
 * Cloudflare's API as far as we use it: zones by name, pages (of two, whatever is asked), refusal of duplicates and of
 * TTLs below 60, content in quotes.
 * @param onChange told the records of a name after each change
 */
export async function startCloudflare(
  zones: readonly { id: string; name: string }[],
  onChange: (name: string, rows: Row[]) => Promise<void> | void = () => {},
): Promise<CloudflareServer> {
  const token = randomUUID();
  const rows: Row[] = [];
  const changed = async (name: string): Promise<void> => {
    await onChange(
      name,
      rows.filter((row) => row.name === name),
    );
  };
  const page = (all: readonly unknown[], url: URL): { body: string } => {
    const number = Number(url.searchParams.get("page") ?? 1);
    const info = {
      page: number,
      per_page: PAGE,
      total_pages: Math.ceil(all.length / PAGE),
      count: all.length,
    };
    return ok(all.slice((number - 1) * PAGE, number * PAGE), info);
  };
  const server = await startServer(async ({ method, url, headers, body }) => {
    if (headers.authorization !== `Bearer ${token}`) return fail(403, 10000, "Authentication error");
    if (url.pathname === "/zones") {
      const name = url.searchParams.get("name");
      return page(
        zones.filter((zone) => name === null || zone.name === name),
        url,
      );
    }
    const [, zoneId, rowId] = /^\/zones\/([^/]+)\/dns_records(?:\/([^/]+))?$/.exec(url.pathname) ?? [];
    const zone = zones.find(({ id }) => id === zoneId);
    if (zone === undefined)
      return fail(404, 7003, "Could not route to /zones, perhaps your object identifier is invalid?");
    if (method === "GET") {
      const wanted = (row: Row): boolean =>
        row.type === url.searchParams.get("type") && row.name === url.searchParams.get("name");
      return page(rows.filter(wanted), url);
    }
    if (method === "POST") {
      const given = JSON.parse(body) as Omit<Row, "id">;
      if (!given.name.endsWith(zone.name)) return fail(400, 9005, "Content for record is not in this zone.");
      if (given.ttl < 60 && given.ttl !== 1)
        return fail(400, 9021, "TTL must be between 60 and 86400 seconds.");
      const { flags, tag, value } = given.data ?? { flags: 0, tag: "", value: "" };
      const content = given.type === "CAA" ? `${flags} ${tag} "${value}"` : given.content;
      const same = (row: Row): boolean =>
        row.type === given.type && row.name === given.name && row.content === content;
      if (rows.some(same)) return fail(400, 81058, "An identical record already exists.");
      const addresses = ["A", "AAAA", "CNAME"];
      const taken = (row: Row): boolean =>
        row.name === given.name &&
        addresses.includes(row.type) &&
        addresses.includes(given.type) &&
        (row.type === "CNAME" || given.type === "CNAME");
      if (rows.some(taken))
        return fail(400, 81053, "An A, AAAA, or CNAME record with that host already exists.");
      const row = { ...given, content, id: randomUUID() };
      rows.push(row);
      await changed(row.name);
      return ok(row);
    }
    const at = rows.findIndex(({ id }) => id === rowId);
    const known = rows[at];
    if (method === "PUT" && known !== undefined) {
      const row = { ...(JSON.parse(body) as Omit<Row, "id">), id: known.id };
      rows[at] = row;
      await changed(row.name);
      return ok(row);
    }
    const [gone] = at < 0 ? [] : rows.splice(at, 1);
    if (gone === undefined) return fail(404, 81044, "Record does not exist.");
    await changed(gone.name);
    return ok({ id: gone.id });
  });
  return Object.assign(server, { rows, token });
}
