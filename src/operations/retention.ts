// Retention settings: for how long the store keeps what has ended. One row holds what was set; the rest has its default.
// On the wire these operations belong to `maintenance`.
import { z } from "zod";
import type { Context } from "../context.ts";
import type { RawOf } from "../model/codec.ts";
import { formatJson, parseJson } from "../model/json.ts";
import { defaultRetention, type Retention, RetentionSettings, retentionFields } from "../model/retention.ts";
import { operation } from "../operation.ts";
import { present } from "../present.ts";
import { type Body, first, forUpdate, sql, step } from "../sql.ts";
import { requireVersion } from "./versions.ts";

interface Row {
  readonly settings: string;
  readonly version: number;
  readonly updated_at: number;
}

/** Returns the settings in force: those that were set, and the defaults of the others. */
export const readRetention = step(function* () {
  return settingsOf(yield* first<Row>(sql`SELECT * FROM retention WHERE id = 'store'`));
});

function settingsOf(row: Row | undefined): Retention {
  return { ...defaultRetention, ...(row === undefined ? {} : (parseJson(row.settings) as Partial<Retention>)) };
}

function answerOf(settings: Retention, row: Omit<Row, "settings"> | undefined) {
  return { ...settings, version: row?.version ?? 0, updatedAt: row?.updated_at ?? null };
}

/**
 * Returns for how long the store keeps what has ended.
 *
 * Result   times in milliseconds, and backupsMax, a number; null keeps for ever. version: 0 until the settings were changed for the first time
 * Cost     1 statement by primary key
 */
export const retention = operation({
  access: "read",
  input: z.strictObject({}),
  output: RetentionSettings,
  errors: [],
  *run() {
    const row = yield* first<Row>(sql`SELECT * FROM retention WHERE id = 'store'`);
    return answerOf(settingsOf(row), row);
  },
});

const SetInput = z.strictObject({ ...retentionFields, expectedVersion: z.int().min(0).optional() });

/**
 * Changes for how long the store keeps what has ended. Settings that are absent stay as they are; repeating the call
 * changes nothing. A repository may have its own: `repositories.upsert({ retention })`.
 *
 * Input    times in milliseconds, 1_000 .. 3_155_760_000_000; null keeps for ever. backupsMax: a number, 1 .. 10_000. sessionsMs, logsMs: from the end of
 *          the session. debugMs: from the end of the debug session. artifactsMs: from the failure or deletion of the
 *          artifact. readyArtifactsMs: from the recording of the artifact. worktreesMs: from the removal. runnersMs:
 *          from the time at which the runner was gone. tokensMs: from the revocation or expiry. usageMs: from the end of the day. patchesMs, environmentsMs: from the last use. changesMs: from the
 *          change. changesHeldMs: the same while a consumer has not read the change; counts only above changesMs
 * Fails    conflict { reason: "version" }; 0 is the version before the first change
 * Effect   one row of retention, one row of changes
 */
export const setRetention = operation({
  access: "write",
  input: SetInput,
  output: RetentionSettings,
  errors: ["conflict"],
  *run(input, context) {
    return yield* setStoreRetention(input, context);
  },
});

type Input = z.output<typeof SetInput>;

const setStoreRetention = step(function* (
  { expectedVersion, ...input }: Input,
  context: Context,
): Body<RawOf<typeof RetentionSettings>> {
  const { now, changed } = context;
  const before = yield* first<Row>(sql`SELECT * FROM retention WHERE id = 'store' ${forUpdate}`);
  const from = settingsOf(before);
  const settings: Retention = { ...from, ...present(input) };
  const names = (Object.keys(settings) as (keyof Retention)[]).filter((name) => settings[name] !== from[name]);
  // A call that was repeated changes nothing, and needs no version.
  if (names.length === 0) return answerOf(from, before);
  requireVersion(before ?? { version: 0 }, expectedVersion);
  const known = before === undefined ? {} : (parseJson(before.settings) as Partial<Retention>);
  const stored = formatJson({ ...known, ...Object.fromEntries(names.map((name) => [name, settings[name]])) });
  const row = yield* first<Row>(
    before === undefined
      ? sql`
          INSERT INTO retention (
            id,
            settings,
            updated_at
          ) VALUES (
            'store',
            ${stored},
            ${now}
          )
          ON CONFLICT (id) DO NOTHING
          RETURNING *`
      : sql`
          UPDATE retention SET
            settings = ${stored},
            version = version + 1,
            updated_at = ${now}
          WHERE id = 'store'
          RETURNING *`,
  );
  // When two transactions find no row, one of them adds it, and the other then finds it.
  if (row === undefined) return yield* setStoreRetention({ expectedVersion, ...input }, context);
  const detail = { changed: Object.fromEntries(names.map((name) => [name, { from: from[name], to: settings[name] }])) };
  changed({ entity: "retention", id: "store", op: "update", version: row.version, detail });
  return answerOf(settings, row);
});
