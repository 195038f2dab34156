// Loaded into jsii's Node by infra/jsii_node. What is synthesized is the same without it, in five times the memory.
"use strict";
const fs = require("node:fs");
const Module = require("node:module");
const path = require("node:path");
const v8 = require("node:v8");

// In a process of two seconds a young generation that grows costs 60 MB and saves no time.
v8.setFlagsFromString("--semi-space-growth-factor=1");

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

// jsii keeps the definitions of all types of a provider (26 MB for Google) as a buffer and reads a few by their place
// in it: this reads them from the file instead.
const DEFINITIONS = ".jsii.runtime-defs.";
const readFileSync = fs.readFileSync;
fs.readFileSync = function (file, ...options) {
  if (options.length > 0 || !path.basename(String(file)).startsWith(DEFINITIONS)) {
    return readFileSync.call(this, file, ...options);
  }
  const opened = fs.openSync(file);
  return {
    toString(encoding, start, end) {
      const part = Buffer.alloc(end - start);
      fs.readSync(opened, part, 0, part.length, start);
      return part.toString(encoding);
    },
  };
};

// What jsii's launcher would do (see jsii_node): messages that the program takes from and gives to descriptor 3 are
// standard input and output, and what it prints goes to Python as JSON on standard error.
const MESSAGES = 3;
const { readSync, writeSync } = fs;
fs.readSync = (descriptor, ...place) => readSync(descriptor === MESSAGES ? 0 : descriptor, ...place);
fs.writeSync = (descriptor, ...text) => writeSync(descriptor === MESSAGES ? 1 : descriptor, ...text);
for (const name of ["stdout", "stderr"]) {
  process[name].write = (text) => {
    writeSync(2, `${JSON.stringify({ [name]: Buffer.from(text).toString("base64") })}\n`);
    return true;
  };
}
