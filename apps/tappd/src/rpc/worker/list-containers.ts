import type { EmptySchema, tappd } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import { CONTAINERS, requirePublic } from "../../app/public.js";
import type { TappdContext } from "../../context.js";
import { toContainer } from "../../docker/containers.js";

export const listContainers =
  (context: TappdContext): Handler<typeof EmptySchema, typeof tappd.ListContainersResponseSchema> =>
  async (_request, call) => {
    requirePublic(context.compose, CONTAINERS);
    const containers = await context.engine.listContainers(call.signal);
    return { containers: containers.map(toContainer) };
  };
