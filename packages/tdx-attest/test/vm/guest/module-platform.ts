/** The other end of the test module's /dev/tdx_platform. */
import { type FileHandle, open } from "node:fs/promises";
import { errorCode } from "@dstack/core";
import type { Operation, TestTd } from "./test-td.js";

const OPERATIONS: Readonly<Record<number, Operation>> = { 1: "report", 2: "extend", 3: "read", 4: "quote" };
const REQUEST_BYTES = 76;

/** Answers the module's requests until the process ends. */
export async function serveModule(td: TestTd): Promise<void> {
  const device = await open("/dev/tdx_platform", "r+");
  void (async () => {
    const buffer = Buffer.alloc(REQUEST_BYTES);
    for (;;) {
      await device.read(buffer, 0, REQUEST_BYTES, null);
      void answer(device, td, Buffer.from(buffer));
    }
  })();
}

async function answer(device: FileHandle, td: TestTd, request: Buffer): Promise<void> {
  const operation = OPERATIONS[request.readUInt32LE(4)];
  if (operation === undefined) throw new Error("the module asks for something unknown");
  const length = operation === "extend" ? 48 : 64;
  const data = new Uint8Array(request.subarray(12, 12 + length));
  const { errno, bytes } = await td.answer(operation, request.readUInt32LE(8), data);
  const head = Buffer.alloc(8);
  head.writeUInt32LE(request.readUInt32LE(0), 0);
  head.writeUInt32LE(errno, 4);
  await device.write(Buffer.concat([head, bytes])).catch((err: unknown) => {
    if (errorCode(err) !== "ESTALE") throw err; // the caller was killed meanwhile
  });
}
