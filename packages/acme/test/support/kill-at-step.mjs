// Preloaded into a child process: kills it with SIGKILL before its nth change to the file system under KILL_UNDER. With
// FULL_FROM the disk is full from the nth change on instead: what would take room fails, removing does not.
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

const { KILL_UNDER: under, KILL_BEFORE: before, FULL_FROM: full } = process.env;
let count = 0;
const step = (path, takesRoom) => {
  if (typeof path !== "string" || !path.includes(under)) return;
  if (++count === Number(before)) process.kill(process.pid, "SIGKILL");
  if (takesRoom && count >= Number(full)) {
    throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
  }
};
const patch = (name, pathAt) => {
  const original = fs.promises[name];
  fs.promises[name] = async (...args) => {
    if (name !== "open" || (typeof args[1] === "string" && args[1] !== "r"))
      step(args[pathAt], !["rm", "unlink"].includes(name));
    return original(...args);
  };
};
for (const name of ["mkdir", "open", "rm", "unlink"]) patch(name, 0);
for (const name of ["rename", "symlink"]) patch(name, 1);
const probe = await fs.promises.open("/dev/null");
const FileHandle = Object.getPrototypeOf(probe);
await probe.close();
for (const name of ["writeFile", "sync"]) {
  const original = FileHandle[name];
  FileHandle[name] = async function (...args) {
    step(under, true);
    return original.apply(this, args);
  };
}
syncBuiltinESMExports();
