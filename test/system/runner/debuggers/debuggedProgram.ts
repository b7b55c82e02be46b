// Creates a program to debug in a worktree of its own repository, and names its lines.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Store } from "../../../../src/index.ts";
import { type BridgeOptions, NodeBridge } from "../../../../src/runner/debuggers/node/bridge.ts";
import { temporaryFolder } from "../../../support/temporaryFolder.ts";

/** A debugger sees inside a function only the module variables that the function uses. */
const source = `const apiToken = process.env.API_TOKEN ?? "none";

function square(n) {
  const result = n * n;
  return result;
}

function sum(numbers) {
  let total = apiToken.length * 0;
  for (const n of numbers) {
    const part = square(n);

    // Nothing to stop at on this line.
    total += part;
  }
  return total;
}

function retries() {
  return settings.retries;
}

const settings = { retries: 3, password: apiToken, names: Array.from({ length: 150 }, (_, n) => "name-" + n) };
const text = "long ".repeat(1_000);
console.log("the sum is", sum([1, 2, 3, 4]), retries(), text.length);
console.error("token=" + apiToken);
console.log("done");
`;

const lineOf = (text: string) => source.slice(0, source.indexOf(text)).split("\n").length;

export const lines = {
  square: lineOf("const result"),
  returnOfSquare: lineOf("return result"),
  part: lineOf("const part"),
  empty: lineOf("// Nothing") - 1,
  comment: lineOf("// Nothing"),
  total: lineOf("total += part"),
  returnOfSum: lineOf("return total"),
  print: lineOf('console.log("the sum'),
  done: lineOf('console.log("done"'),
} as const;

export interface DebuggedWorktree {
  readonly folder: string;
  readonly path: string;
  readonly commitSha: string;
  readonly url: string;
}

export function createWorktree(): DebuggedWorktree {
  const folder = temporaryFolder();
  const git = (...args: string[]) =>
    execFileSync("git", ["-c", "user.name=test", "-c", "user.email=test@example.com", ...args], {
      cwd: folder,
      encoding: "utf8",
    });
  git("init", "--quiet", "upstream");
  writeFileSync(join(folder, "upstream/main.mjs"), source);
  git("-C", "upstream", "add", ".");
  git("-C", "upstream", "commit", "--quiet", "--message", "A program");
  git("-C", "upstream", "worktree", "add", "--quiet", "--detach", join(folder, "worktree"));
  const commitSha = git("-C", "upstream", "rev-parse", "HEAD").trim();
  return { folder, path: join(folder, "worktree/main.mjs"), commitSha, url: `sqlite:${join(folder, "metadata.db")}` };
}

/** Starts the program of a worktree under a bridge. */
export async function launchBridge(
  store: Store,
  { path }: DebuggedWorktree,
  options: Pick<BridgeOptions, "sessionId"> & Partial<BridgeOptions>,
): Promise<NodeBridge> {
  const bridge = await NodeBridge.launch(store, {
    name: "node",
    argv: [process.execPath, path],
    cwd: dirname(path),
    env: process.env,
    output: () => undefined,
    ...options,
  });
  if (bridge instanceof NodeBridge) return bridge;
  throw new Error(`the program has ended: ${JSON.stringify(bridge)}`);
}
