import type { DataPlane, DataPlaneOptions, Limits } from "../src/index.js";
import { backend, listenHere, routesTo } from "./apps.js";
import { attackContract } from "./contract/attack.js";
import { blockedContract } from "./contract/blocked.js";
import { certificate, PATIENT } from "./contract/common.js";
import type { Start } from "./contract/common.js";
import { lifeContract } from "./contract/life.js";
import { limitsContract } from "./contract/limits.js";
import { passthroughContract } from "./contract/passthrough.js";
import { proxyProtocolContract } from "./contract/proxy-protocol.js";
import { refusalsContract } from "./contract/refusals.js";
import { routesContract } from "./contract/routes.js";
import { terminationContract } from "./contract/termination.js";

export type MakeDataPlane = (options: DataPlaneOptions & { limits?: Partial<Limits> }) => Promise<DataPlane>;

/** What every data plane has to do. `make` gets options as a control plane gives them. */
export function dataPlaneContract(make: MakeDataPlane): void {
  const start: Start = (options = {}) =>
    make({
      ...{ listeners: listenHere, routes: routesTo(backend()), certificates: [certificate] },
      ...options,
      limits: { ...PATIENT, ...options.limits },
    });

  passthroughContract(start);
  terminationContract(start);
  refusalsContract(start);
  limitsContract(start);
  blockedContract(start);
  attackContract(start);
  routesContract(start);
  proxyProtocolContract(start);
  lifeContract(start);
}
