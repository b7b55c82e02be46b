// Calls every command once, for what must be true of the output of all of them.
import { join } from "node:path";
import { createCommandLine } from "../../../src/cli/commandLine.ts";
import { createProgram } from "../../../src/cli/program.ts";
import { newId } from "../../../src/index.ts";
import { openVisitor } from "../../../src/store.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { makeFolder, type WorkingFolder } from "./commandLine.ts";

/** Occurs in every secret that `everyCommand` plants. */
export const secret = "S3CRET";

export interface Call {
  /** The words of the command, such as "sessions list". */
  readonly command: string;
  readonly args: readonly string[];
  /** Its JSON has rows as they are stored, secrets included. */
  readonly printsRows?: true;
}

/**
 * Fills a store with rows that contain secrets. Returns a call of every command in an order in which all of them succeed
 * on a SQLite file.
 */
export async function everyCommand({ folder, url }: WorkingFolder): Promise<readonly Call[]> {
  const store = await openVisitor({ url, migrate: "create" });
  const fixture = fixtures(store);
  const remoteUrl = `https://ada:${secret}/${secret}@git.example/a.git?token=${secret}`;
  await store.repositories.upsert({ name: "with a secret", remoteUrl });
  const argv = [
    "curl",
    "--token",
    secret,
    `--password=${secret}`,
    `https://${secret}@git.example/`,
    `API_KEY=${secret}`,
  ];
  const { command, session, fence } = await fixture.claim({ argv });
  await store.logs.append({ commandId: command.id, fence, offset: 0, data: Buffer.from("a line\n") });
  const uri = `https://bucket.example/key?X-Amz-Signature=${secret}`;
  await fixture.artifact({ sessionId: session.id, commandId: command.id, uri });
  const { artifact: gone } = await fixture.artifact({ sessionId: session.id, uri: `${uri}&old` });
  await store.artifacts.delete({ artifactId: gone.id });
  const { patch } = await fixture.patch({ uri: `${uri}&patch` });
  const { environment } = await store.environments.acquire({
    repositoryId: session.repositoryId,
    hash: "a",
    owner: "a",
  });
  await store.environments.ready({ environmentId: environment.id, fence: 1, uri: `${uri}&environment`, sizeBytes: 1 });
  const { debugSessionId } = await fixture.debugStop({ sessionId: session.id });
  const assignment = JSON.stringify({ expression: "apiToken", value: secret });
  const { worktree } = await fixture.lease();
  const { account } = await fixture.account();
  const rotated = await fixture.token({ accountId: account.id });
  const revoked = await fixture.token({ accountId: account.id });
  await store.close();
  const migrations = makeFolder(folder, "migrations");
  const backup = join(folder, "copy.db");
  const calls: readonly (readonly [command: string, args?: readonly string[], printsRows?: "rows"])[] = [
    // First, as it would fail on the file at that URL once a minute has passed since its artifact was deleted.
    ["files collect", ["--folder", folder]],
    ["demo", ["--commits", "1", "--runners", "1", "--command", "sh", "--", "-c", ":", "--token", secret]],
    ["serve", ["--listen", "127.0.0.1:0"]],
    ["health"],
    ["migrate upgrade"],
    ["migrate current"],
    ["migrate history"],
    ["migrate pending"],
    ["migrate stamp", ["head"]],
    ["migrate check"],
    ["migrate plan", ["-1"]],
    ["migrate verify"],
    ["migrate revision", ["-m", "Something", "--migrations", migrations]],
    ["admin seed"],
    ["admin create-token", ["--user", "ops", "--out", join(folder, "ops.token")]],
    ["admin create-account", [`account-${newId()}`]],
    ["admin disable-account", [account.name]],
    ["admin enable-account", [account.name]],
    ["admin rename-account", [account.name, "renamed"]],
    ["admin list-accounts"],
    ["admin list-tokens"],
    ["admin rotate-token", [rotated.token.id, "--out", join(folder, "rotated.token")]],
    ["admin revoke-token", [revoked.token.id]],
    ["repositories list", [], "rows"],
    ["repositories rename", ["with a secret", "renamed"], "rows"],
    ["runners list"],
    ["sessions list"],
    ["sessions show", [session.id], "rows"],
    ["sessions update", [session.id, "--label", "team=core"]],
    ["worktrees list"],
    ["commands list", [], "rows"],
    ["commands show", [command.id], "rows"],
    ["artifacts list", [], "rows"],
    ["patches list", [], "rows"],
    ["environments list", [], "rows"],
    ["environments pin", [environment.id, "--remove"], "rows"],
    ["environments evict", ["--max-size", "0"], "rows"],
    ["environments delete", [environment.id]],
    ["patches delete", [patch.id]],
    ["files list", [], "rows"],
    ["logs show", [command.id]],
    ["debug request", [debugSessionId, "setExpression", "--arguments", assignment, "--no-wait"]],
    ["debug show", [debugSessionId, "--history"]],
    ["commands cancel", [command.id, "--force"], "rows"],
    ["logs tail", [command.id]],
    ["sessions cancel", [session.id]],
    ["logs session", [session.id]],
    ["logs timeline", [command.id]],
    ["changes export", ["--since", "1h"], "rows"],
    ["changes tail", ["--after", "0", "--count", "20"], "rows"],
    ["changes checkpoint", ["webhooks", "--seq", "0"]],
    ["changes consumers"],
    ["changes forget", ["webhooks"]],
    ["worktrees release", [worktree.id, "--force", "--to", "keep"]],
    ["worktrees restore", [worktree.id]],
    ["worktrees adopt", [worktree.id, "--place", ""]],
    ["worktrees evict", [worktree.id]],
    ["fsck", ["--deep"]],
    ["maintenance reap"],
    ["maintenance retention", ["--set", "logs=14d"]],
    ["maintenance prune", ["--dry-run"]],
    ["maintenance compact"],
    ["usage", ["--by", "session"]],
    ["info"],
    ["config show"],
    ["backup create", ["--out", backup]],
    ["backup list"],
    ["backup verify", [backup]],
    ["backup prune", ["--keep", "1", "--folder", folder]],
    ["backup restore", [backup]],
    ["migrate downgrade", ["-1", "--allow-data-loss"]],
  ];
  return calls.map(([name, args = [], printsRows]) => ({
    command: name,
    args: [...name.split(" "), ...args],
    ...(printsRows === undefined ? {} : { printsRows: true }),
  }));
}

/** Returns the words of all commands, as `everyCommand` names them. */
export function commandNames(): readonly string[] {
  const { env, stdout, stderr } = process;
  return createProgram(createCommandLine({ env, cwd: "/", stdout, stderr })).commands.flatMap((group) =>
    group.commands.length === 0 ? [group.name()] : group.commands.map((one) => `${group.name()} ${one.name()}`),
  );
}
