// Observation of the store: its figures, its readiness, and a probe that it can write. On the wire these operations
// belong to `maintenance`.
import { z } from "zod";
import { integer, json, list, nullable, record, text, time } from "../model/codec.ts";
import type { Distributions, Ended } from "../model/distributions.ts";
import { Health, type HealthChecks } from "../model/health.ts";
import { type RetentionKind, retentionKinds } from "../model/vocabulary.ts";
import { type Lane, operation } from "../operation.ts";
import { all, change, first, sql, step } from "../sql.ts";
import { countedTables, readCounters } from "./counters.ts";
import { consumersBehind } from "./pruneFeed.ts";
import { readRetention } from "./retention.ts";

/**
 * Returns figures of the store: rows by state, ages, the server's counters, and the settings of the database.
 *
 * Result   rows: counts by kind and state; states that no row has are left out. A live token is one that is neither revoked
 *          nor rotated, though it may have expired. logs: the logs of all attempts. logBytes: the size of the sealed ones.
 *          ages: the ages in milliseconds of the oldest queued command, the oldest
 *          running command and the oldest lease of a worktree; null when there is none. serving: queue depths, group
 *          sizes and waits. lanes: the number of calls that wait in each lane, and how long those that ran had waited.
 *          distributions: sizes of groups, times of COMMITs, waits by lane, and times of commands, since the server was
 *          started: how many were at most each bound of upTo and above the one before. ended: commands and sessions that
 *          have ended since then, by outcome.
 *          database: sizes, and the settings in force. retention: the rows that it has removed so far by kind, when it
 *          removed the last, and the consumers of the change feed that hold it up
 * Cost     7 statements: one reads the counters, one finds the oldest queued command, two pass over the leases that are
 *          held now, and three are about retention; 1 more for each consumer that is behind
 */
export const stats = operation({
  access: "read",
  lane: "background",
  input: z.strictObject({}),
  output: record({
    rows: json<Record<string, Record<string, number>>>(),
    logBytes: integer,
    ages: record({ queuedMs: nullable(integer), runningMs: nullable(integer), leasedMs: nullable(integer) }),
    serving: json<Record<string, number>>(),
    lanes: json<Record<Lane, Record<string, number>>>(),
    distributions: json<Distributions>(),
    ended: json<Ended>(),
    database: json<Record<string, number | string>>(),
    retention: record({
      rows: json<Partial<Record<RetentionKind, number>>>(),
      prunedAt: nullable(time),
      heldBy: list(text),
    }),
  }),
  errors: [],
  extent: () => "page",
  showsServer: true,
  *run(_input, { now, serverState }) {
    const rows: Record<string, Record<string, number>> = {};
    let logBytes = 0;
    for (const { name } of Object.values(countedTables)) if (name !== undefined) rows[name] = {};
    for (const { entity, state, amount } of yield* readCounters()) {
      const counters = rows[countedTables[entity].name ?? ""];
      if (counters !== undefined) counters[state] = amount;
      if (entity === "log_bytes") logBytes += amount;
    }
    // Nothing changes the time at which a command was queued, so the oldest row is the one that waits longest.
    const queued = yield* first<Span>(
      sql`SELECT queued_at AS since FROM commands WHERE state = 'queued' ORDER BY created_at, id LIMIT 1`,
    );
    const active = yield* first<Span>(
      sql`SELECT min(started_at) AS since FROM commands WHERE lease_expires_at IS NOT NULL`,
    );
    const leased = yield* first<Span>(
      sql`SELECT min(leased_at) AS since FROM worktrees WHERE lease_expires_at IS NOT NULL`,
    );
    const { counts, lanes, distributions, ended, database } = serverState;
    return {
      rows: plainJson(rows),
      logBytes,
      ages: { queuedMs: ageOf(queued, now), runningMs: ageOf(active, now), leasedMs: ageOf(leased, now) },
      serving: plainJson(counts),
      lanes: plainJson(lanes),
      distributions: plainJson(distributions),
      ended: plainJson(ended),
      database: plainJson(database.figures ?? {}),
      retention: yield* readPruned(now),
    };
  },
});

/** Returns what retention has removed so far, and the consumers of the change feed that hold it up. */
const readPruned = step(function* (now: Date) {
  const kinds = yield* all<{ kind: RetentionKind; row_count: number; updated_at: number }>(
    sql`SELECT kind, row_count, updated_at FROM pruned ORDER BY kind LIMIT ${retentionKinds.length}`,
  );
  return {
    rows: plainJson(Object.fromEntries(kinds.map(({ kind, row_count }) => [kind, row_count]))),
    prunedAt: kinds.length === 0 ? null : Math.max(...kinds.map(({ updated_at }) => updated_at)),
    heldBy: yield* consumersBehind(yield* readRetention(), now),
  };
});

interface Span {
  readonly since: number | null;
}

function ageOf(span: Span | undefined, now: Date): number | null {
  return span === undefined || span.since === null ? null : now.getTime() - span.since;
}

/** Returns plain data in superjson's form. Plain data has no Dates or other values that superjson would annotate. */
function plainJson(value: unknown): string {
  return JSON.stringify({ json: value });
}

/**
 * Checks whether the store is ready for work. Runs in the urgent lane, before other calls.
 *
 * Result   { ready, checks }; ready when every check is ok. schema: the database is at the revision that this code
 *          needs. lastWrite: the last write was stored. file: the database file is in its place and can be written. space:
 *          enough is left. queue: no queue is near its limit. The
 *          checks contain numbers and codes only, neither SQL nor paths
 * Cost     1 statement by primary key; lane urgent
 */
export const health = operation({
  access: "read",
  lane: "urgent",
  input: z.strictObject({}),
  output: Health,
  errors: [],
  showsServer: true,
  *run(_input, { serverState, limits }) {
    const last = yield* first<{ revision: string }>(
      sql`SELECT revision FROM schema_migrations ORDER BY revision DESC LIMIT 1`,
    );
    const at = last?.revision ?? "none";
    const { database, lastWrite, queueFullness } = serverState;
    const head = database.schemaHead ?? at;
    const { leftBytes } = database;
    const checks: HealthChecks = {
      schema: { ok: at === head, at, head },
      lastWrite: {
        ok: lastWrite?.failed === undefined,
        agoMs: lastWrite?.agoMs ?? null,
        failed: lastWrite?.failed ?? null,
      },
      file: { ok: (database.fileProblem ?? null) === null, problem: database.fileProblem ?? null },
      space: {
        ok: leftBytes === undefined || leftBytes >= limits.leftBytesMin,
        leftBytes: Number.isFinite(leftBytes) ? (leftBytes as number) : null,
      },
      queue: { ok: queueFullness * 100 < limits.queuePercentMax, percent: Math.round(queueFullness * 100) },
    };
    const ready = Object.values(checks).every(({ ok }) => ok);
    return { ready: ready ? 1 : 0, checks: plainJson(checks) };
  },
});

/**
 * Writes a meaningless row, to check that the store can write. The server calls it after a write that could not be
 * stored; no port reaches it.
 */
export const probe = operation({
  access: "write",
  lane: "background",
  input: z.strictObject({}),
  output: record({}),
  errors: [],
  *run(_input, { now }) {
    yield* change(sql`
      INSERT INTO store_meta (
        key,
        value
      ) VALUES (
        'probe',
        ${now.toISOString()}
      )
      ON CONFLICT (key) DO UPDATE SET
        value = excluded.value`);
    return {};
  },
});
