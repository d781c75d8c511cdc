// One namespace a .proto file: message and service names repeat between them (AppId, Info, …).
export * as kms from "./gen/kms_pb.js";
export * as tproxy from "./gen/tproxy_pb.js";
export * as tproxyAdmin from "./gen/tproxy_admin_pb.js";
export * as teepod from "./gen/teepod_pb.js";
export * as tappd from "./gen/tappd_pb.js";
export * as dstackGuest from "./gen/dstack_guest_pb.js";
export { ProtoErrorSchema } from "./gen/prpc_pb.js";
export type { ProtoError } from "./gen/prpc_pb.js";
export { EmptySchema } from "@bufbuild/protobuf/wkt";
export type { Empty } from "@bufbuild/protobuf/wkt";
