import { InputError, errorMessage, parseAppId, parseInstanceId } from "@dstack/core";
import type { AppId, InstanceId } from "@dstack/core";
import { parsePublicKey } from "@dstack/wireguard-tools-wrapper";
import type { WireGuardPublicKey } from "@dstack/wireguard-tools-wrapper";
import { z } from "zod";

/** A registered instance and what it holds. */
export interface Instance {
  readonly instanceId: InstanceId;
  readonly appId: AppId;
  readonly publicKey: WireGuardPublicKey;
  /** IPv4 address in the tunnel. */
  readonly ip: string;
  /** Unix seconds of the last registration. */
  readonly registeredAt: number;
}

const InstanceFile = z.strictObject({
  version: z.literal(1),
  instance_id: z.string().transform(parseInstanceId),
  app_id: z.string().transform(parseAppId),
  public_key: z.string().transform(parsePublicKey),
  ip: z.ipv4(),
  registered_at: z.int().min(0),
});

export function writeInstance(instance: Instance): string {
  const file: z.input<typeof InstanceFile> = {
    version: 1,
    instance_id: instance.instanceId,
    app_id: instance.appId,
    public_key: instance.publicKey,
    ip: instance.ip,
    registered_at: instance.registeredAt,
  };
  return `${JSON.stringify(file, null, 2)}\n`;
}

/** @throws {InputError} not what {@link writeInstance} writes */
export function readInstance(text: string): Instance {
  try {
    const file = InstanceFile.parse(JSON.parse(text));
    return {
      instanceId: file.instance_id,
      appId: file.app_id,
      publicKey: file.public_key,
      ip: file.ip,
      registeredAt: file.registered_at,
    };
  } catch (err) {
    throw new InputError(`not an instance record: ${errorMessage(err)}`, { cause: err });
  }
}
