import { implement } from "@dstack/prpc";
import type { ServiceImpl } from "@dstack/prpc";
import { tproxyAdmin } from "@dstack/proto";
import type { AdminContext, Operator } from "./admin-context.js";
import { audited } from "./audited.js";
import { getCertificate, verifyKey } from "./certificate.js";
import { removeInstance, setInstanceDraining } from "./change-instance.js";
import { nodeNamed, removeNode, setNodeDraining } from "./change-node.js";
import { getAuditLog } from "./get-audit-log.js";
import { listConnections, listInstances, listNodes } from "./lists.js";
import { reloadCertificate } from "./reload-certificate.js";

/** `TproxyAdmin`: what changes something is audited. */
export function adminService(context: AdminContext): ServiceImpl<Operator> {
  const instance = ({ id }: { id: string }): string => id;
  const node = ({ name }: { name: string }): string => nodeNamed(context, name);
  return implement<typeof tproxyAdmin.TproxyAdmin, Operator>(tproxyAdmin.TproxyAdmin, {
    listInstances: listInstances(context),
    drainInstance: audited(context, "DrainInstance", instance, setInstanceDraining(context, true)),
    resumeInstance: audited(context, "ResumeInstance", instance, setInstanceDraining(context, false)),
    removeInstance: audited(context, "RemoveInstance", instance, removeInstance(context)),
    listNodes: listNodes(context),
    drainNode: audited(context, "DrainNode", node, setNodeDraining(context, true)),
    resumeNode: audited(context, "ResumeNode", node, setNodeDraining(context, false)),
    removeNode: audited(context, "RemoveNode", node, removeNode(context)),
    listConnections: listConnections(context),
    reloadCertificate: audited(context, "ReloadCertificate", () => "", reloadCertificate(context)),
    getCertificate: getCertificate(context),
    verifyKey: verifyKey(context),
    getAuditLog: getAuditLog(context),
  });
}
