// Preloaded into a child process: kills it with SIGKILL before its nth change to the file system under KILL_UNDER.
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

const { KILL_UNDER: under, KILL_BEFORE: before } = process.env;
let count = 0;
const step = (path) => {
  if (typeof path !== "string" || !path.includes(under)) return;
  if (++count === Number(before)) process.kill(process.pid, "SIGKILL");
};
const patch = (name, pathAt) => {
  const original = fs.promises[name];
  fs.promises[name] = (...args) => {
    if (name !== "open" || (typeof args[1] === "string" && args[1] !== "r")) step(args[pathAt]);
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
  FileHandle[name] = function (...args) {
    step(under);
    return original.apply(this, args);
  };
}
syncBuiltinESMExports();
