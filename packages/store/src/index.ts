export { ALIVE, MAX_CHANGE_KEYS, StoreError } from "./store.js";
export type { Change, Records, Store, StoreEntry } from "./store.js";
export { FileStore } from "./file-store.js";
export { NodeName, etcdConfig } from "./etcd-config.js";
export type { EtcdConfig } from "./etcd-config.js";
export { openEtcd } from "./open-etcd.js";
export type { EtcdOptions } from "./open-etcd.js";
export type { Restore } from "./etcd-history.js";
export { leaderOf, whileLeading } from "./leader.js";
