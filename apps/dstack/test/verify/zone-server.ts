import { createSocket } from "node:dgram";
import { once } from "node:events";

const CNAME = 5;
const CAA = 257;

export interface ZoneServer extends AsyncDisposable {
  /** `ip:port` */
  readonly address: string;
}

const encodeName = (name: string): Buffer =>
  Buffer.concat([
    ...name.split(".").map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label)])),
    Buffer.of(0),
  ]);

function readName(message: Buffer): { name: string; end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = message[at] ?? 0; length > 0; length = message[at] ?? 0) {
    labels.push(message.toString("latin1", at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join(".").toLowerCase(), end: at + 1 };
}

/**
 * A DNS server (RFC 1035) that, as authoritative ones do, follows no alias into another zone: of an alias it says where it
 * leads, whatever is asked.
 * @param caa `issue` values by name
 */
export async function startZoneServer(
  aliases: Readonly<Record<string, string>>,
  caa: Readonly<Record<string, string>>,
): Promise<ZoneServer> {
  const socket = createSocket("udp4");
  socket.on("message", (query, { port, address }) => {
    const { name, end } = readName(query);
    const type = query.readUInt16BE(end);
    const answers: Buffer[] = [];
    const answer = (kind: number, data: Buffer): void => {
      const head = Buffer.alloc(10);
      head.writeUInt16BE(kind, 0);
      head.writeUInt16BE(1, 2);
      head.writeUInt16BE(data.length, 8);
      answers.push(Buffer.concat([encodeName(name), head, data]));
    };
    const [target, value] = [aliases[name], caa[name]];
    if (target !== undefined) answer(CNAME, encodeName(target));
    else if (type === CAA && value !== undefined) {
      answer(CAA, Buffer.concat([Buffer.of(0, 5), Buffer.from(`issue${value}`)]));
    }
    const header = Buffer.alloc(12);
    query.copy(header, 0, 0, 2);
    header.writeUInt16BE(0x8400, 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(answers.length, 6);
    socket.send(Buffer.concat([header, query.subarray(12, end + 4), ...answers]), port, address);
  });
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  return {
    address: `127.0.0.1:${socket.address().port}`,
    async [Symbol.asyncDispose]() {
      socket.close();
      await once(socket, "close");
    },
  };
}
