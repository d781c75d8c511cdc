import type { Command } from "commander";
import type { tproxyAdmin } from "@dstack/proto";
import { CliError, columns, printResult } from "../output.js";
import { proxyClient } from "../tproxy-admin.js";
import type { ProxyOptions } from "../tproxy-admin.js";

type Client = Awaited<ReturnType<typeof proxyClient>>;

/** An instance id; anything else is the name of a node. */
const isInstance = (text: string): boolean => /^[0-9a-f]{40}$/.test(text);
const ago = (ms: number): string => `${Math.max(0, Math.round((Date.now() - ms) / 1000))} s`;

/** `dstack proxy`: what operators do with a tproxy. */
export function registerProxy(program: Command): void {
  const proxy = program.command("proxy").description("look after a tproxy: instances, nodes, connections");
  const add = (
    name: string,
    description: string,
    run: (client: Client, what: string, options: ProxyOptions) => Promise<void>,
  ) =>
    proxy
      .command(name)
      .description(description)
      .option(
        "--admin <address>",
        "URL or socket of tproxy's [admin] (default: $DSTACK_TPROXY_ADMIN, else the local one)",
      )
      .option(
        "--token-file <file>",
        "file of the token (default: the token in $DSTACK_TPROXY_TOKEN, else the local one)",
      )
      .action(async (...args: unknown[]) => {
        const command = args.at(-1) as Command;
        const options = command.optsWithGlobals<ProxyOptions>();
        await run(await proxyClient(options), command.args[0] ?? "", options);
      });

  add("ls", "list instances and nodes", list);
  add("connections", "list the connections open on a node, the newest first", connections);
  add("reload", "have tproxy read its certificate now", reload);
  add("drain <what>", "no new connections for an instance (its id) or a node (its name)", change("drain"));
  add("resume <what>", "new connections again", change("resume"));
  add("rm <what>", "take an instance or a node out, and end the instance's connections", change("remove"));
}

async function list(client: Client, _what: string, options: ProxyOptions): Promise<void> {
  const [{ instances }, { nodes }] = [await client.listInstances({}), await client.listNodes({})];
  const value = {
    nodes: nodes.map(({ name, ip, endpoint, alive, draining, removed }) => ({
      name,
      ip,
      endpoint,
      alive,
      draining,
      removed,
    })),
    instances: instances.map((instance) => ({
      id: instance.id,
      app_id: instance.appId,
      ip: instance.ip,
      draining: instance.draining,
      latest_handshake: Number(instance.latestHandshake),
      num_connections: instance.numConnections,
    })),
  };
  printResult(options, value, () =>
    [
      columns([
        ["NODE", "STATE", "ADDRESS", "ENDPOINT"],
        ...nodes.map((node) => [node.name, nodeState(node), node.ip, node.endpoint]),
      ]),
      columns([
        ["INSTANCE", "APP", "ADDRESS", "HEARD", "OPEN", ""],
        ...instances.map((instance) => [
          instance.id,
          instance.appId,
          instance.ip === "" ? "none" : instance.ip,
          instance.latestHandshake === 0n ? "never" : ago(Number(instance.latestHandshake) * 1000),
          String(instance.numConnections),
          // Without an address it is not registered: its drain waits for it.
          instance.draining ? "drained" : "",
        ]),
      ]),
    ].join("\n\n"),
  );
}

function nodeState({ removed, alive, draining }: tproxyAdmin.NodeInfo): string {
  if (removed) return "removed";
  return `${alive ? "up" : "down"}${draining ? ", drained" : ""}`;
}

async function connections(client: Client, _what: string, options: ProxyOptions): Promise<void> {
  const { connections: open } = await client.listConnections({});
  const value = open.map((connection) => ({
    source: connection.source,
    server_name: connection.serverName,
    instance_id: connection.instanceId,
    state: connection.state,
    since: new Date(Number(connection.since)).toISOString(),
    bytes_to_app: Number(connection.bytesToApp),
    bytes_to_client: Number(connection.bytesToClient),
  }));
  printResult(options, value, () =>
    columns([
      ["SOURCE", "STATE", "SINCE", "TO APP", "TO CLIENT", "NAME"],
      ...value.map((connection) => [
        connection.source,
        connection.state,
        ago(Date.parse(connection.since)),
        String(connection.bytes_to_app),
        String(connection.bytes_to_client),
        connection.server_name,
      ]),
    ]),
  );
}

async function reload(client: Client, _what: string, options: ProxyOptions): Promise<void> {
  const { refusal } = await client.reloadCertificate({});
  if (refusal !== "")
    throw new CliError(`the new certificate is refused, the old one stays in use: ${refusal}`);
  printResult(options, { reloaded: true }, () => "the certificate in use is the one in its files");
}

function change(verb: "drain" | "resume" | "remove") {
  return async (client: Client, what: string, options: ProxyOptions): Promise<void> => {
    if (isInstance(what)) await client[`${verb}Instance`]({ id: what });
    else await client[`${verb}Node`]({ name: what });
    const done = { drain: "drained", resume: "resumed", remove: "removed" }[verb];
    printResult(options, { [done]: what }, () => `${what} is ${done}`);
  };
}
