import { Etcd3 } from "etcd3";
import { noop } from "cockatiel";

/** How to reach and enter etcd. */
export interface EtcdAccess {
  /** `http://host:port` or `https://host:port`; one of them is used at a time. */
  readonly endpoints: readonly string[];
  /** Keys of ours begin so. */
  readonly prefix: string;
  /** PEM; for `https`. */
  readonly ca?: Buffer;
  /** PEM of our own certificate and its key, where etcd asks for one. */
  readonly cert?: Buffer;
  readonly key?: Buffer;
  readonly auth?: { readonly username: string; readonly password: string };
  /** No answer is larger: one has all records. */
  readonly maxBytes: number;
}

/** One question to etcd waits this long: it answers in milliseconds, after an election within two seconds. */
const CALL_MS = 2_000;
const DIAL_MS = 2_000;

/**
 * A client of one etcd member. The library's own fail-over is switched off: it takes a member at random for every
 * call, so that one dead member of three fails every third call, and a watch may sit on another than the calls.
 */
export function etcdClient(access: EtcdAccess, endpoint: string): Etcd3 {
  return new Etcd3({
    hosts: endpoint,
    dialTimeout: DIAL_MS,
    defaultCallOptions: ({ isStream }) => (isStream ? {} : { deadline: Date.now() + CALL_MS }),
    faultHandling: { host: () => noop, global: noop },
    // No keepalive pings: etcd drops who pings more often than every five seconds, and EtcdStore finds out by itself.
    grpcOptions: { "grpc.max_receive_message_length": access.maxBytes },
    ...(access.ca === undefined
      ? {}
      : {
          credentials: {
            rootCertificate: access.ca,
            ...(access.key === undefined ? {} : { privateKey: access.key }),
            ...(access.cert === undefined ? {} : { certChain: access.cert }),
          },
        }),
    ...(access.auth === undefined ? {} : { auth: { ...access.auth } }),
  });
}
