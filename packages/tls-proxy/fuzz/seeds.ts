import { routesCommand } from "../src/native/commands.js";
import { APP, BASE, backend, routesTo } from "../test/apps.js";
import { helloMessage, messageOf, records, serverNameExtension } from "../test/hello.js";
import { proxyHeaders } from "../test/proxy-headers.js";

const name = "app.example.org";
const shape = { serverName: name, alpn: ["h2", "http/1.1"] };

/** ClientHellos, and what is none. */
export const helloSeeds: readonly Buffer[] = [
  records(helloMessage(shape)),
  records(helloMessage(shape), 100),
  records(helloMessage(shape), 1),
  records(helloMessage({ ...shape, padding: 1_700 })),
  records(helloMessage({ ...shape, padding: 20_000 })),
  records(helloMessage({ ...shape, padding: 60_000 })),
  records(helloMessage({ ...shape, padding: 65_300 })),
  records(helloMessage({ serverName: "APP.Example.ORG." })),
  records(helloMessage({ serverName: `${APP}-8080s.${BASE}` })),
  records(helloMessage({ serverName: `${APP}-65536g.${BASE}` })),
  records(helloMessage({ serverName: `${"a.".repeat(126)}a` })),
  records(helloMessage({ serverName: "10.0.0.1" })),
  records(helloMessage({ serverName: "a\0.example.org" })),
  records(helloMessage()),
  records(messageOf(helloMessage().subarray(4, -2))),
  records(helloMessage({ ...shape, after: [[0, serverNameExtension("b.example.org")]] })),
  records(helloMessage({ before: [[0, serverNameExtension(name, "b.example.org")]] })),
  records(Buffer.concat([helloMessage(shape), helloMessage(shape)])),
  Buffer.concat([records(helloMessage(shape)), Buffer.from("1403030001011703030000", "hex")]),
  Buffer.from("GET / HTTP/1.1\r\n\r\n"),
  Buffer.from("802e0100020015", "hex"),
  Buffer.from("16030100040101ffff", "hex"),
  Buffer.alloc(0),
];

/** Where the mutations of each target begin. */
export const fuzzSeeds: Readonly<Record<string, readonly Buffer[]>> = {
  hello_target: helloSeeds,
  proxy_header_target: proxyHeaders.map(([, bytes]) => bytes),
  routes_target: [
    routesCommand(
      routesTo(
        backend(),
        { ...backend("::ffff:10.0.3.2", "c".repeat(40)), proxyProtocolPorts: [80, 443] },
        {
          ...backend("10.0.3.3", "d".repeat(40)),
          publicPorts: [80, 8090],
        },
      ),
      new Map(),
    ).subarray(5),
    routesCommand(routesTo(), new Map([[APP, [backend()]]])).subarray(5),
  ],
};
