import { z } from "zod";

const path = z.string().min(1);

/** Nobody on the network reads along: whoever can write to etcd says where every app is. */
function isPrivateWay(endpoint: string): boolean {
  return /^https:|^http:\/\/(127(\.\d+){3}|localhost|\[::1\])(:\d+)?$/.test(endpoint);
}

/** The section `[etcd]` of a program's configuration. @param prefix where its keys are unless it says otherwise */
export function etcdConfig(prefix: `/${string}/`) {
  return z
    .strictObject({
      /** `http://host:port` or `https://host:port` of the members. */
      endpoints: z.array(z.string().regex(/^https?:\/\/[^/]+$/, "must be http(s)://host:port")).min(1),
      /** Under which keys everything is. */
      prefix: z
        .string()
        .regex(/^[!-~]*\/$/, "must end with a slash")
        .default(prefix),
      /** PEM files: the CA of the members, and what we show to them. */
      ca: path.optional(),
      cert: path.optional(),
      key: path.optional(),
      username: z.string().min(1).optional(),
      password_file: path.optional(),
    })
    .refine((value) => value.ca !== undefined || value.endpoints.every((url) => url.startsWith("http:")), {
      message: "https endpoints need ca",
    })
    .refine((value) => (value.cert === undefined) === (value.key === undefined), {
      message: "cert and key go together",
    })
    .refine((value) => (value.username === undefined) === (value.password_file === undefined), {
      message: "username and password_file go together",
    })
    .refine((value) => value.username === undefined || value.endpoints.every(isPrivateWay), {
      message: "a password goes to https endpoints only, or to this machine's own",
    });
}

export type EtcdConfig = z.infer<ReturnType<typeof etcdConfig>>;

/** The name of a node among others. */
export const NodeName = z.string().regex(/^[a-z0-9][a-z0-9.-]{0,62}$/, "must be a name such as node-1");
