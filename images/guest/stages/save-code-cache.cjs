// Preloaded into `start.cjs` while an image is built (`node -r`): when the program ends, what V8 has made of it is
// written where the next start looks for it.
"use strict";
const { writeFileSync } = require("node:fs");
const vm = require("node:vm");

vm.Script = class extends vm.Script {
  constructor(source, options) {
    super(source, { filename: options.filename });
    process.on("exit", () => writeFileSync(`${options.filename}.cache`, this.createCachedData()));
  }
};
