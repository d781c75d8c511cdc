// Starts a guest program: `node start.cjs <program> [argument…]` runs `<program>.cjs` beside this file.
//
// `<program>.cjs.cache` is what V8 made of the program when the image was built. With it most of the work of loading is
// done, which under emulation takes seconds. V8 takes it only if Node's version, its flags and the program's length are
// those it was made with; else the program is compiled as usual.
"use strict";
const { existsSync, readFileSync } = require("node:fs");
const { createRequire, wrap } = require("node:module");
const { join } = require("node:path");
const { setFlagsFromString } = require("node:v8");
const vm = require("node:vm");

// V8 lets the young generation grow to 32 MiB before it looks closely, for the sake of throughput; programs that answer
// a request now and then have no use for that.
setFlagsFromString("--semi-space-growth-factor=1");
setFlagsFromString("--optimize-for-size");

const [name] = process.argv.splice(2, 1);
const filename = join(__dirname, `${name}.cjs`);
const cache = `${filename}.cache`;
process.argv[1] = filename;
const cachedData = existsSync(cache) ? readFileSync(cache) : undefined;
// The bundles are ASCII, and Node keeps such text in half the memory.
const script = new vm.Script(wrap(readFileSync(filename, "latin1")), { filename, cachedData });
if (script.cachedDataRejected) console.error(`start.cjs: ${cache} was made for another Node or program`);
const program = { exports: {} };
script.runInThisContext()(program.exports, createRequire(filename), program, filename, __dirname);
