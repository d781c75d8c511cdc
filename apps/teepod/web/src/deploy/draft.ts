import { isAppCompose } from "@dstack/app-compose";
import { signal } from "@preact/signals";
import type { Flags } from "../compose/flags.js";
import { describeDocument, makeDocument } from "../compose/document.js";
import type { AppDocument } from "../compose/document.js";
import { givenSecrets } from "../secrets/secret-fields.js";
import type { Secret } from "../secrets/secret-fields.js";
import type { Shape } from "../shape-fields.js";
import type { GetInfoResponse, PortMapping } from "../wire.js";
import { call } from "../api.js";

/** A VM that may come to be: what the form holds. */
export class Draft {
  readonly name = signal("");
  readonly image = signal("");
  readonly compose = signal("");
  readonly shape = signal<Shape>({ vcpu: 1, memory: 2048, disk_size: 20 });
  readonly ports = signal<readonly PortMapping[]>([]);
  readonly secrets = signal<readonly Secret[]>([]);
  readonly flags = signal<Flags>({ publicLogs: false, publicSysinfo: false, publicTcbinfo: false });
  /** The app a clone joins, when its document is not that app's first. */
  appId: string | undefined;
  /** Secrets of the VM that is cloned, hex: as good for another VM of the same app. */
  encryptedEnv = "";
  cloneOf: string | undefined;
  #clonedDocument = "";

  /** A draft like a VM there is. Its host ports are taken, so the draft has none. */
  static async cloneOf(id: string): Promise<Draft> {
    const { info } = await call<GetInfoResponse>("GetInfo", { id });
    if (info === undefined) throw new Error("The VM to clone is not on this host any more.");
    const { configuration: from } = info;
    const draft = new Draft();
    draft.cloneOf = info.name;
    draft.name.value = `${info.name}-copy`.slice(0, 63);
    draft.image.value = from.image;
    draft.compose.value = from.compose_file;
    draft.#clonedDocument = from.compose_file;
    draft.shape.value = { vcpu: from.vcpu, memory: from.memory, disk_size: from.disk_size };
    draft.encryptedEnv = from.encrypted_env;
    if (describeDocument(from.compose_file).appId !== info.app_id) draft.appId = info.app_id;
    return draft;
  }

  /** @throws {Error} in words */
  document(): AppDocument {
    const secrets = givenSecrets(this.secrets.value);
    if (this.compose.value.trim() === "")
      throw new Error("The compose file is missing: paste it, drop it or pick it.");
    const made = makeDocument(this.compose.value, {
      name: this.name.value,
      ...this.flags.value,
      allowedEnvs: secrets.map(({ key }) => key),
    });
    if (this.encryptedEnv !== "" && this.appId === undefined && made.text !== this.#clonedDocument) {
      throw new Error(
        "The copied secrets can only be read by VMs of the same app, and this document makes another one. Leave it as it was, or deploy it as a new VM.",
      );
    }
    return made;
  }

  /** The document's own flags count when it is an app-compose document already. */
  get takenAsIs(): boolean {
    return isAppCompose(this.compose.value);
  }
}
