// Reports what a restore has done, and what it has undone.
import { quote } from "../shell.ts";
import type { RestoreResult } from "../sqlite/restore.ts";
import type { Revocation } from "../sqlite/revocations.ts";
import type { CommandLine } from "./commandLine.ts";
import { formatTime, type PrintFlags, printFields, printMessage } from "./rows.ts";

/** The help of the command, after its options. */
export const restoreNote = [
  "Stop the servers and runners of the store first: while a process has the database open, nothing is done and the exit code is 4. Whatever fails, and whenever it is killed, the result is the old database or the new one.",
  "What happened after the backup is undone: leases granted since are forgotten, and leases that have ended since are back until the store ends them. Tokens that were revoked or rotated since, and accounts that were disabled, end again if the replaced database can be read; --no-keep-revocations lets them work again.",
].join("\n\n");

/** The number of revocations that are named on stderr. The others are in the output of --json. */
const namedMax = 50;

export function reportRestore(cli: CommandLine, flags: PrintFlags, restored: RestoreResult): void {
  const { path, from, pending, kept, revocations } = restored;
  const { revision, createdAt } = from.manifest;
  printFields(cli, flags, restored, {
    restored: path,
    from: from.path,
    created: createdAt,
    revision,
    kept: kept?.path ?? null,
  });
  const say = (text: string) => printMessage(cli, flags, text);
  if (kept !== undefined && !("manifest" in kept))
    say("The previous database is damaged; it is kept as it is, without a manifest.");
  for (const line of describeRevocations(revocations)) say(line);
  say(
    `Leases granted after ${createdAt} are forgotten, and their fencing tokens may be granted again: do not let runners of that time continue. Readers of the change feed start with a new snapshot.`,
  );
  if (pending.length > 0)
    say(`The backup has an older schema: run debug-server-db migrate upgrade --url ${quote(`sqlite:${path}`)}`);
}

function describeRevocations({ state, found }: RestoreResult["revocations"]): readonly string[] {
  if (state === "unknown")
    return [
      "There was no previous database that could be read: tokens that were revoked or rotated after the backup, and accounts that were disabled, work again. Run debug-server-db admin list-tokens, and end them again.",
    ];
  if (found.length === 0) return [];
  const head =
    state === "kept"
      ? "These had ended after the backup, and were ended again (--no-keep-revocations would not do so):"
      : "These had ended after the backup, and work again. Revoke the tokens and disable the accounts that should not:";
  const more = found.length - namedMax;
  return [
    head,
    ...found.slice(0, namedMax).map((one) => `  ${describeRevocation(one)}`),
    ...(more > 0 ? [`  and ${more} more, which --json prints`] : []),
  ];
}

const verbs = { revoke: "revoked", rotate: "rotated, and valid until", disable: "disabled" } as const;

function describeRevocation({ entity, op, id, name, account, at }: Revocation): string {
  const subject = entity === "token" ? `token ${name} of ${account}` : `account ${name}`;
  return `${subject}, ${id}: ${verbs[op]} ${formatTime(at)}`;
}
