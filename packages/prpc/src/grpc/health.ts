import { status } from "@grpc/grpc-js";
import type { Server, handleServerStreamingCall, handleUnaryCall } from "@grpc/grpc-js";
import {
  Health,
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus as Serving,
  HealthCheckResponseSchema,
} from "../gen/grpc/health/v1/health_pb.js";
import { decode, encode, rawDefinition } from "./definition.js";

/**
 * The standard health service: `SERVING` for the server as a whole ("") and for each service, as long as it answers.
 * @param services fully qualified names
 */
export function addHealthService(server: Server, services: readonly string[]): void {
  const known = new Set(["", ...services]);
  const nameOf = (body: Buffer): string => decode(HealthCheckRequestSchema, body).service;
  const answer = (serving: Serving): Buffer => encode(HealthCheckResponseSchema, { status: serving });

  const check: handleUnaryCall<Buffer, Buffer> = (call, done) => {
    if (known.has(nameOf(call.request))) done(null, answer(Serving.SERVING));
    else done({ code: status.NOT_FOUND, details: "unknown service" });
  };
  // The status never changes while the server lives, so a watcher gets it once and then the end of the connection.
  const watch: handleServerStreamingCall<Buffer, Buffer> = (call) => {
    call.write(answer(known.has(nameOf(call.request)) ? Serving.SERVING : Serving.SERVICE_UNKNOWN));
  };
  server.addService(rawDefinition(Health), { Check: check, Watch: watch });
}
