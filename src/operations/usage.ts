// The use of commands, summed by day for their session, account, requester and repository. The sums of a transaction are
// written last, with its changes, as counters are (D-114): then no transaction holds the row of a day for long.
import { z } from "zod";
import { after } from "../clock.ts";
import type { Context, Use } from "../context.ts";
import { bounds } from "../limits.ts";
import type { RawOf } from "../model/codec.ts";
import { filledText } from "../model/fields.ts";
import { Day, DayPosition, dayOf, type UsageDay, UsageDays } from "../model/usage.ts";
import { type UsageKind, usageKinds } from "../model/vocabulary.ts";
import { operation } from "../operation.ts";
import { all, and, changeEach, Statement, sql, step, when } from "../sql.ts";
import { notePruned, nothing, refused, type Walk, type Walked } from "./pruneWalk.ts";

/**
 * Returns what commands used on each day, for each session, account, requester or repository. A command counts on the day, in
 * UTC, on which it ended, if its runner has reported its use. So does each attempt that failed and was followed by another one.
 *
 * Input    by: the kind of what the sums are of. name: only of this one: an id, or the name of a requester. since, until: days
 *          such as 2026-11-28; until is exclusive. after: `next` of the page before
 * Result   { days, next }: rows in the order of days, then of names. memoryBytes: the most that one command has used
 * Cost     1 statement along an index
 */
export const days = operation({
  access: "read",
  input: z.strictObject({
    by: z.enum(usageKinds),
    name: filledText(200).optional(),
    since: Day.optional(),
    until: Day.optional(),
    after: DayPosition.optional(),
    limit: z.int().min(1).max(bounds.pageRowsMax).default(bounds.pageRows),
  }),
  output: UsageDays,
  errors: [],
  resultBytes: () => bounds.pageBytes,
  extent: () => "page",
  *run({ by, name, since, until, after: position, limit }) {
    const rows = yield* all<RawOf<typeof UsageDay>>(sql`
      SELECT * FROM usage_days
      WHERE ${and(
        sql`kind = ${by}`,
        when(name, (value) => sql`name = ${value}`),
        when(since, (value) => sql`day >= ${value}`),
        when(until, (value) => sql`day < ${value}`),
        when(position, (value) => sql`(day, name) > (${value.day}, ${value.name})`),
      )}
      ORDER BY day, name LIMIT ${limit}`);
    const last = rows.at(-1);
    return {
      days: rows,
      next: rows.length < limit || last === undefined ? undefined : { day: last.day, name: last.name },
    };
  },
});

/** The largest sum, which all readers of JSON know exactly. */
const sumMax = Number.MAX_SAFE_INTEGER;

/** The texts of the statements that add to a number of rows. */
const additions: (readonly string[])[] = [];

const columns = ["kind", "name", "day", "commands", "duration_ms", "cpu_ms", "memory_bytes", "written_bytes"] as const;

function textsOf(count: number): readonly string[] {
  const sum = (column: string) =>
    `${column} = CASE WHEN usage_days.${column} > ${sumMax} - excluded.${column} THEN ${sumMax} ELSE usage_days.${column} + excluded.${column} END`;
  const sums = ["commands", "duration_ms", "cpu_ms", "written_bytes"].map(sum).join(", ");
  additions[count] ??= [
    `INSERT INTO usage_days (${columns.join(", ")}) VALUES (`,
    ...Array.from({ length: count * columns.length - 1 }, (_, index) =>
      index % columns.length === columns.length - 1 ? "), (" : ", ",
    ),
    `) ON CONFLICT (kind, name, day) DO UPDATE SET ${sums}, memory_bytes = CASE WHEN excluded.memory_bytes > usage_days.memory_bytes THEN excluded.memory_bytes ELSE usage_days.memory_bytes END`,
  ];
  return additions[count];
}

/** The number of rows to which one statement adds. */
const rowsMax = 64;

/** Returns the statements that add what a transaction has used to the sums of the day. */
export function additionsOfUses(uses: readonly Use[]): readonly Statement[] {
  const sums = new Map<string, [kind: UsageKind, name: string, day: string, ...figures: number[]]>();
  for (const { of, at, durationMs, usage } of uses) {
    const day = dayOf(at);
    const { cpuMs, memoryBytes, writtenBytes } = usage;
    for (const [kind, name] of of) {
      const key = `${kind} ${day} ${name}`;
      const [, , , commands = 0, duration = 0, cpu = 0, memory = 0, written = 0] = sums.get(key) ?? [];
      sums.set(key, [
        kind,
        name,
        day,
        commands + 1,
        duration + durationMs,
        cpu + (cpuMs ?? 0),
        Math.max(memory, memoryBytes ?? 0),
        written + (writtenBytes ?? 0),
      ]);
    }
  }
  const rows = [...sums.values()];
  return Array.from({ length: Math.ceil(rows.length / rowsMax) }, (_, index) => {
    const some = rows.slice(index * rowsMax, (index + 1) * rowsMax);
    return new Statement(textsOf(some.length), some.flat());
  });
}

/** Removes the sums of days that retention keeps no longer. */
export const walkUsage = step(function* ({ position, limit, dryRun, settings, context, mayRemove }: Walk) {
  if (settings.usageMs === null) return nothing;
  const before = dayOf(after(context.now, -settings.usageMs));
  const [day, kind, name] = position.id === undefined ? [] : (JSON.parse(position.id) as [string, string, string]);
  const from = when(day, () => sql`(day, kind, name) > (${day as string}, ${kind as string}, ${name as string})`);
  const rows = yield* all<Pick<RawOf<typeof UsageDay>, "kind" | "name" | "day">>(sql`
    SELECT kind, name, day FROM usage_days WHERE ${and(sql`day < ${before}`, from)}
    ORDER BY day, kind, name LIMIT ${limit}`);
  const last = rows.length < limit ? undefined : rows.at(-1);
  const walked: Walked = {
    used: rows.length,
    rows: rows.length,
    next: last && { id: JSON.stringify([last.day, last.kind, last.name]) },
  };
  if (dryRun || rows.length === 0) return walked;
  if (!(yield* mayRemove())) return refused;
  const gone: number = yield* changeEach(
    rows.map((row) => sql`DELETE FROM usage_days WHERE kind = ${row.kind} AND name = ${row.name} AND day = ${row.day}`),
  );
  yield* notePruned("usage", gone, [], context);
  return { ...walked, rows: gone };
});

/** Announces what a command has used, for the sums of its session and of those for whom it ran. */
export function noteUse(
  { started_at }: { readonly started_at: number | null },
  session: {
    readonly id: string;
    readonly account_id: string | null;
    readonly requested_by: string | null;
    readonly repository_id: string;
  },
  usage: Use["usage"],
  { now, spent }: Context,
): void {
  const of: [UsageKind, string | null][] = [
    ["session", session.id],
    ["account", session.account_id],
    ["requester", session.requested_by],
    ["repository", session.repository_id],
  ];
  spent({
    of: of.filter((one): one is [UsageKind, string] => one[1] !== null),
    at: now,
    durationMs: Math.max(0, now.getTime() - (started_at ?? now.getTime())),
    usage,
  });
}
