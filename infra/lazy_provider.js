// Loaded into jsii's Node process by infra/bindings.py. A provider's lib/index.js requires all of its modules (1,470
// for Google) at once; lib/lazy-index.js beside it exports the same names and requires each when it is first used.
"use strict";
const fs = require("node:fs");
const Module = require("node:module");
const path = require("node:path");

const ROOT = path.join("lib", "index.js");
const resolve = Module._resolveFilename;

Module._resolveFilename = function (...request) {
  const file = resolve.apply(this, request);
  if (!file.endsWith(path.sep + ROOT)) return file;
  const lazy = path.join(path.dirname(file), "lazy-index.js");
  return fs.existsSync(lazy) ? lazy : file;
};
