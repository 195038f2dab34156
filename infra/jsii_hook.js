// Loaded into jsii's Node process by infra/bindings.py (node --require). What is synthesized does not change by it.
"use strict";
const fs = require("node:fs");
const Module = require("node:module");
const path = require("node:path");
const v8 = require("node:v8");

// The process lives for two seconds: compiled code and a large young generation cost more memory than they save time.
for (const flag of ["--no-opt", "--no-maglev", "--no-sparkplug", "--semi-space-growth-factor=1"]) {
  v8.setFlagsFromString(flag);
}

// A provider's lib/index.js requires all of its modules (1,470 for Google); lib/lazy-index.js beside it exports the
// same names and requires each module when it is first used.
const ROOT = path.join(path.sep, "lib", "index.js");
const resolveFilename = Module._resolveFilename;
Module._resolveFilename = function (...request) {
  const file = resolveFilename.apply(this, request);
  if (!file.endsWith(ROOT)) return file;
  const lazy = path.join(path.dirname(file), "lazy-index.js");
  return fs.existsSync(lazy) ? lazy : file;
};

// Two thirds of a provider's text are inline source maps, which V8 would hold as part of the source. The round trip
// through Buffer makes a string of its own: a slice would keep the whole one alive.
const SOURCE_MAP = "//# sourceMappingURL=data:";
const compile = Module.prototype._compile;
Module.prototype._compile = function (text, ...rest) {
  const map = text.lastIndexOf(SOURCE_MAP);
  return compile.call(this, map < 0 ? text : Buffer.from(text.slice(0, map)).toString(), ...rest);
};
