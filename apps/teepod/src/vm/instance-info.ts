import { InputError, errorMessage, parseAppId, parseInstanceId, readRegularFileIfAny } from "@dstack/core";
import type { AppId, InstanceId } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import { z } from "zod";

/** `.instance_info` (wire.md "Host → guest files"). The guest writes it; for the host it is a claim. */
export interface InstanceInfo {
  readonly bootstrapped: boolean;
  /** Absent before the first boot. */
  readonly instanceId?: InstanceId;
  /** 40 hex digits: what the guest made `instanceId` of, and wants to see again. */
  readonly instanceSalt?: string;
  readonly appId: AppId;
}

export const INSTANCE_INFO = ".instance_info";

const MAX_BYTES = 4096;

const Shape = z.object({
  bootstrapped: z.boolean(),
  instance_id: z.string(),
  instance_salt: z.string().default(""),
  app_id: z.string(),
});

/** @throws {InputError} or a ZodError or SyntaxError */
export function parseInstanceInfo(text: string): InstanceInfo {
  const shape = Shape.parse(JSON.parse(text));
  if (!/^(?:[0-9a-f]{40})?$/.test(shape.instance_salt)) {
    throw new InputError("instance_salt must be 40 lower-case hex digits");
  }
  return {
    bootstrapped: shape.bootstrapped,
    ...(shape.instance_id !== "" && { instanceId: parseInstanceId(shape.instance_id) }),
    ...(shape.instance_salt !== "" && { instanceSalt: shape.instance_salt }),
    appId: parseAppId(shape.app_id),
  };
}

/** Written anew from the checked values: what the guest sent besides never reaches its share. */
export function formatInstanceInfo(info: InstanceInfo): string {
  return JSON.stringify({
    bootstrapped: info.bootstrapped,
    instance_id: info.instanceId ?? "",
    ...(info.instanceSalt !== undefined && { instance_salt: info.instanceSalt }),
    app_id: info.appId,
  });
}

/** Reads the file if it is there and as it should be. */
export async function readInstanceInfo(path: string, log: Logger): Promise<InstanceInfo | undefined> {
  try {
    const bytes = await readRegularFileIfAny(path, MAX_BYTES);
    return bytes === undefined ? undefined : parseInstanceInfo(new TextDecoder().decode(bytes));
  } catch (err) {
    log.warn({ path, reason: errorMessage(err) }, "the guest's instance info is not usable");
    return undefined;
  }
}
