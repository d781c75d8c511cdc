import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface CrtShServer extends AsyncDisposable {
  readonly url: string;
  readonly asked: string[];
  /** @returns its id */
  add(pem: string): number;
  /** Answers in place of the truth; a number is a status. */
  lie: ((url: URL) => string | number | undefined) | undefined;
}

/** crt.sh as far as a monitor uses it: a search by identity, `%` for anything, and certificates by id. */
export async function startCrtSh(): Promise<CrtShServer> {
  const certificates = new Map<number, X509Certificate>();
  const search = (query: string): object[] => {
    const pattern = new RegExp(
      `^${query
        .toLowerCase()
        .replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
        .replaceAll("%", ".*")}$`,
    );
    return [...certificates].flatMap(([id, certificate]) => {
      const names = (certificate.subjectAltName ?? "").replaceAll("DNS:", "").split(", ");
      if (!names.some((name) => pattern.test(name.toLowerCase()))) return [];
      return [
        {
          id,
          issuer_ca_id: 1,
          issuer_name: certificate.issuer,
          common_name: "x",
          name_value: names.join("\n"),
          not_before: "2026-01-01T00:00:00",
          not_after: "2026-04-01T00:00:00",
          serial_number: certificate.serialNumber.toLowerCase(),
          result_count: 1,
          entry_timestamp: "2026-01-01T00:00:00.1",
        },
      ];
    });
  };
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://crt.sh");
    crtSh.asked.push(url.search);
    const lie = crtSh.lie?.(url);
    if (typeof lie === "number") return response.writeHead(lie).end();
    if (lie !== undefined) return response.end(lie);
    const id = url.searchParams.get("d");
    const query = url.searchParams.get("q");
    if (query !== null) return response.end(JSON.stringify(search(query)));
    const certificate = certificates.get(Number(id));
    return certificate === undefined ? response.writeHead(404).end() : response.end(certificate.toString());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const crtSh: CrtShServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked: [],
    lie: undefined,
    add(pem) {
      const id = 14_705_660_000 + certificates.size;
      certificates.set(id, new X509Certificate(pem));
      return id;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return crtSh;
}
