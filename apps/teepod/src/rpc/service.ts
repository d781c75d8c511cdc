import { teepod } from "@dstack/proto";
import { implement } from "@dstack/prpc";
import type { ServiceImpl } from "@dstack/prpc";
import type { TeepodContext } from "../context.js";
import type { Caller } from "../http/caller.js";
import { audited, guardMethod } from "./audited.js";
import { createVm } from "./create-vm.js";
import { getAppEnvEncryptPubKey } from "./get-app-env-encrypt-pub-key.js";
import { getAuditLog } from "./get-audit-log.js";
import { getBootTimeline } from "./get-boot-timeline.js";
import { getInfo } from "./get-info.js";
import { listImages } from "./list-images.js";
import { removeVm } from "./remove-vm.js";
import { resizeVm } from "./resize-vm.js";
import { shutdownVm } from "./shutdown-vm.js";
import { startVm } from "./start-vm.js";
import { status } from "./status.js";
import { stopVm } from "./stop-vm.js";
import { upgradeApp } from "./upgrade-app.js";

/** Spellings of the first release (wire.md "Service Teepod"). */
const ALIASES = {
  CreateVM: "CreateVm",
  StartVM: "StartVm",
  StopVM: "StopVm",
  ShutdownVM: "ShutdownVm",
  RemoveVM: "RemoveVm",
  ListVms: "Status",
};

/** A compose document and an encrypted environment of the largest size, as JSON that escapes every other character. */
const LARGE_BODY_BYTES = 4 * 2 ** 20;

const id = (request: { id: string }): string => request.id;
const newId = (answer: { id?: string | undefined }): string | undefined => answer.id;

/** The Teepod service. */
export function teepodService(context: TeepodContext): ServiceImpl<Caller> {
  return implement<typeof teepod.Teepod, Caller>(
    teepod.Teepod,
    {
      createVm: audited(context, "CreateVm", (request) => request.name, createVm(context), newId),
      startVm: audited(context, "StartVm", id, startVm(context)),
      stopVm: audited(context, "StopVm", id, stopVm(context)),
      shutdownVm: audited(context, "ShutdownVm", id, shutdownVm(context)),
      removeVm: audited(context, "RemoveVm", id, removeVm(context)),
      upgradeApp: audited(context, "UpgradeApp", id, upgradeApp(context), newId),
      resizeVm: audited(context, "ResizeVm", id, resizeVm(context)),
      status: status(context),
      listImages: listImages(context),
      getInfo: getInfo(context),
      getBootTimeline: getBootTimeline(context),
      getAuditLog: getAuditLog(context),
      getAppEnvEncryptPubKey: getAppEnvEncryptPubKey(context),
    },
    {
      aliases: ALIASES,
      guard: (method, call) => guardMethod(method, call.peer),
      bodyLimits: { CreateVm: LARGE_BODY_BYTES, UpgradeApp: LARGE_BODY_BYTES },
    },
  );
}
