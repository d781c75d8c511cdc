import { tappd } from "@dstack/proto";
import { implement } from "@dstack/prpc";
import type { ServiceImpl } from "@dstack/prpc";
import type { TappdContext } from "../../context.js";
import { workerInfo } from "./info.js";
import { listContainers } from "./list-containers.js";
import { sysInfo } from "./sys-info.js";

/** Service `Worker`: what the outside may ask. */
export function workerService(context: TappdContext): ServiceImpl {
  return implement(tappd.Worker, {
    info: workerInfo(context, { inside: false }),
    sysInfo: sysInfo(context),
    listContainers: listContainers(context),
  });
}
