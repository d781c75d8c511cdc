import { request } from "node:https";
import type { RequestOptions } from "node:https";
import type { ConnectionOptions } from "node:tls";
import { ca } from "./site.js";

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly text: string;
}

/** One request, trusting the test CA; `servername` goes into SNI where the host is an address. */
export function getText(
  url: string,
  path: string,
  options: RequestOptions & Pick<ConnectionOptions, "ALPNProtocols"> & { body?: string } = {},
): Promise<HttpAnswer> {
  const { body, ...rest } = options;
  return new Promise((resolve, reject) => {
    const call = request(new URL(path, url), { ca: ca.certPem, agent: false, ...rest }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (text += chunk));
      response.on("error", reject);
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
      );
    });
    call.on("error", reject);
    call.end(body);
  });
}
