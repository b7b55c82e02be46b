#!/usr/bin/env node
// Starts the command line. Refuses a Node that is too old before anything is loaded that it cannot parse, so this is plain
// JavaScript that old versions can read.
import { existsSync } from "node:fs";

const [major, minor] = process.versions.node.split(".").map(Number);
if (major < 22 || (major === 22 && minor < 18)) {
  console.error(
    `debug-server-db needs Node 22.18 or newer, and this is Node ${process.versions.node}: install a newer Node and run it again.`,
  );
  process.exit(2);
}
// A checkout runs its sources, because its build may be old. An installed package has only the build.
const source = new URL("../src/cli/main.ts", import.meta.url);
const { main } = await import(
  existsSync(source) ? source.href : new URL("../dist/src/cli/main.js", import.meta.url).href
);
await main(process.argv.slice(2));
