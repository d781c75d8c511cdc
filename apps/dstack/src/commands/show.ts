import { hex, sha256 } from "@dstack/core";
import type { Command } from "commander";
import { columns, printResult } from "../output.js";
import { appUrls, findVm, teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodOptions } from "../teepod.js";
import { stateOf } from "./ls.js";
import { vmCommand } from "./options.js";

/** `dstack show` */
export function registerShow(program: Command): void {
  vmCommand(program, "show", "tell all about a CVM").action(
    async (wanted: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<TeepodOptions>();
      const vm = await findVm(teepodClient(await teepodAddress(options)), wanted);
      const { configuration: config } = vm;
      const composeHash = hex(sha256(config?.composeFile ?? ""));
      const ports = (config?.ports ?? []).map(
        ({ protocol, hostPort, vmPort }) => `${protocol}:${hostPort}:${vmPort}`,
      );
      const value = {
        id: vm.id,
        name: vm.name,
        status: vm.status,
        notice: vm.notice,
        uptime: vm.uptime,
        app_id: vm.appId,
        compose_hash: composeHash,
        instance_id: vm.instanceId,
        ...appUrls(vm),
        image: config?.image ?? "",
        vcpu: config?.vcpu,
        memory: config?.memory,
        disk_size: config?.diskSize,
        ports,
        variables: (config?.encryptedEnv.length ?? 0) > 0,
        exited_at: vm.exitedAt,
        boot_progress: vm.bootProgress,
        boot_error: vm.bootError,
      };
      const upgraded = composeHash.slice(0, 40) !== vm.appId;
      printResult(options, value, () =>
        columns([
          ["id", vm.id],
          ["name", vm.name],
          ["state", [stateOf(vm), vm.notice].filter(Boolean).join(": ")],
          ["up", vm.uptime],
          ["app", value.app_url ?? "none: the host has no gateway, or the app does not join it"],
          ["app id", vm.appId],
          ["compose hash", `${composeHash}${upgraded ? " (upgraded: the KMS must allow it)" : ""}`],
          ["instance", vm.instanceId ?? "none yet: it has not booted"],
          ["image", value.image],
          ["shape", `${value.vcpu} vCPU, ${value.memory} MB memory, ${value.disk_size} GB disk`],
          ...(ports.length > 0 ? [["ports", ports.join(", ")]] : []),
          ["variables", value.variables ? `encrypted; \`dstack env list ${vm.id}\` names them` : "none"],
          ...(vm.exitedAt === undefined ? [] : [["ended", vm.exitedAt]]),
          ...(vm.bootError ? [["boot error", vm.bootError]] : []),
        ]),
      );
    },
  );
}
