import { isIP } from "node:net";
import { Agent, request } from "undici";

export interface FetchAppOptions {
  /** `<app id>[-<port>].<base domain>`, for `Host` and, if it is no address, SNI. */
  host: string;
  /** Where tproxy listens. */
  address: string;
  port: number;
  /** PEM of the CA that the proxy's certificate must lead to; without it any will do, for answers that prove themselves. */
  ca?: string;
  path: string;
  signal: AbortSignal;
}

/** Much more than a quote with its event log. */
const MAX_BODY_BYTES = 4 * 1024 * 1024;

/** One HTTPS request through tproxy, which is dialled by address whatever DNS says; the name goes into SNI and `Host`. */
export async function fetchApp(options: FetchAppOptions): Promise<{ status: number; body: string }> {
  const agent = new Agent({
    connect: {
      ...(options.ca === undefined ? { rejectUnauthorized: false } : { ca: options.ca }),
      host: options.address,
      ...(isIP(options.host) === 0 ? { servername: options.host } : {}),
      timeout: 10_000,
    },
    maxResponseSize: MAX_BODY_BYTES,
  });
  try {
    const answer = await request(`https://${options.address}:${options.port}${options.path}`, {
      dispatcher: agent,
      headers: { host: options.host },
      signal: options.signal,
    });
    return { status: answer.statusCode, body: await answer.body.text() };
  } finally {
    await agent.destroy();
  }
}
