import type { MessageInitShape } from "@bufbuild/protobuf";
import type { tappd } from "@dstack/proto";
import type { ListedContainer } from "./engine.js";

/** The engine's entry in the words of `Worker.ListContainers`; names keep the engine's leading slash. */
export function toContainer(listed: ListedContainer): MessageInitShape<typeof tappd.ContainerSchema> {
  return {
    id: listed.Id,
    names: listed.Names,
    image: listed.Image,
    imageId: listed.ImageID,
    command: listed.Command,
    created: BigInt(listed.Created),
    state: listed.State,
    status: listed.Status,
  };
}
