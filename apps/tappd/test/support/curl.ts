import { execFile } from "node:child_process";

export interface CurlAnswer {
  status: number;
  /** Lower-case names. */
  headers: Map<string, string>;
  body: Buffer;
  text: string;
}

/** Runs curl as a user would; the answer's head is taken apart. */
export function curl(...args: string[]): Promise<CurlAnswer> {
  return new Promise((resolve, reject) => {
    execFile(
      "curl",
      ["--silent", "--show-error", "--include", "--max-time", "20", ...args],
      { encoding: "buffer", maxBuffer: 64 * 2 ** 20 },
      (err, stdout, stderr) => {
        if (err !== null) return reject(new Error(`curl: ${stderr.toString()}`, { cause: err }));
        const end = stdout.indexOf("\r\n\r\n");
        const [statusLine = "", ...lines] = stdout.toString("latin1", 0, end).split("\r\n");
        const body = stdout.subarray(end + 4);
        resolve({
          status: Number(statusLine.split(" ")[1]),
          headers: new Map(
            lines.map((line) => {
              const colon = line.indexOf(":");
              return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
            }),
          ),
          body,
          text: body.toString(),
        });
      },
    );
  });
}

/** A JSON answer. */
export async function curlJson(...args: string[]): Promise<Record<string, unknown>> {
  const answer = await curl(...args);
  const value: unknown = JSON.parse(answer.text);
  if (typeof value !== "object" || value === null) throw new Error(`not an object: ${answer.text}`);
  return value as Record<string, unknown>;
}
