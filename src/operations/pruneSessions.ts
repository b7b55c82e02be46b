// The kinds of rows that retention removes by session: ended sessions with all that belongs to them, and the logs of
// sessions that stay. Each repository may have its own times, so a walk goes from one repository to the next.
import { after } from "../clock.ts";
import type { Context } from "../context.ts";
import type { Retention } from "../model/retention.ts";
import { all, and, type Body, change, type Statement, skipLocked, sql, step, valueList, when } from "../sql.ts";
import { discardObject } from "./logMoves.ts";
import { notePruned, nothing, type Position, refused, settingsWithin, type Walk, type Walked } from "./pruneWalk.ts";
import { deleteSomeChunksOf, deleteSomeOfSession } from "./sessionDeletion.ts";

interface SessionToPrune {
  readonly id: string;
  readonly ended_at: number;
  readonly version: number;
  readonly state: string;
  /** The uri of a patch that is not recorded. */
  readonly patch_uri: string | null;
  /** 1 when the session stays: a command of it is active, or an artifact is pinned. */
  readonly kept: number;
}

/** The treatment of a session by one step. */
interface Treated {
  readonly used: number;
  readonly rows: number;
  /** The log of the session after which the next step continues; undefined when the session is done. */
  readonly left: LogPosition | undefined;
}

/** The place of a log in its session. The logs begin after 0. */
interface LogPosition {
  /** The sequence number of its command. */
  readonly part: number;
  readonly attempt: number;
}

const logPositionOf = ({ part = 0, attempt = 0 }: Position): LogPosition => ({ part, attempt });
const beforeLogs = logPositionOf({});

interface Treatment {
  readonly kind: "sessions" | "logs";
  readonly setting: keyof Retention;
  /** The conditions of the partial index. */
  readonly ended: Statement;
  readonly kept: Statement;
  /** Removes some of a session. In a dry run it only counts. */
  treat(session: SessionToPrune, from: LogPosition, walk: Walk, limit: number): Body<Treated>;
  /** Runs for the sessions that are done. Returns those that the feed names together. */
  finish(sessions: readonly SessionToPrune[], context: Context): Body<readonly string[]>;
}

/** The number of repositories that a step looks at: one statement each. */
const repositoriesPerStep = 32;
/** The number of sessions that a step reads at once. */
const sessionsPerRead = 32;

const walkSessions = step(function* (treatment: Treatment, walk: Walk) {
  const { limit, dryRun, settings, context } = walk;
  const { repositoryId } = walk.position;
  const repositories = yield* all<{ id: string; retention: string | null }>(sql`
    SELECT id, retention FROM repositories
    WHERE ${and(when(repositoryId, (id) => sql`id >= ${id}`))}
    ORDER BY id LIMIT ${repositoriesPerStep + 1}`);
  if (repositories.length === 0) return nothing;
  const done: SessionToPrune[] = [];
  let { position } = walk;
  let [used, rows, mayRemove] = [0, 0, dryRun];
  for (const [index, { id, retention }] of repositories.slice(0, repositoriesPerStep).entries()) {
    if (id !== position.repositoryId) position = { repositoryId: id };
    const ms = settingsWithin(settings, retention)[treatment.setting];
    let isRead = ms === null;
    while (!isRead && used < limit) {
      const sessions: SessionToPrune[] = yield* readSessions(
        treatment,
        position,
        after(context.now, -(ms as number)),
        dryRun,
      );
      isRead = sessions.length < sessionsPerRead;
      for (const session of sessions) {
        if (used >= limit) {
          isRead = false;
          break;
        }
        if (!mayRemove && session.kept === 0) {
          if (!(yield* walk.mayRemove())) return refused;
          mayRemove = true;
        }
        const from = position.partOf === session.id ? logPositionOf(position) : beforeLogs;
        const treated: Treated =
          session.kept === 1
            ? { used: 1, rows: 0, left: undefined }
            : yield* treatment.treat(session, from, walk, limit - used);
        used += treated.used;
        rows += treated.rows;
        if (treated.left !== undefined) {
          position = { ...position, ...treated.left, partOf: session.id };
          isRead = false;
          break;
        }
        if (session.kept === 0) done.push(session);
        position = { repositoryId: id, at: session.ended_at, id: session.id };
      }
    }
    used++;
    if (isRead) position = { repositoryId: repositories[index + 1]?.id };
    if (used >= limit) break;
  }
  if (!dryRun) {
    const ids = done.length === 0 ? [] : yield* treatment.finish(done, context);
    yield* notePruned(treatment.kind, rows, ids, context);
  }
  return { used, rows, next: position.repositoryId === undefined ? undefined : position } as Walked;
});

const readSessions = step(function* (
  { ended, kept }: Treatment,
  { repositoryId, at, id }: Position,
  before: Date,
  dryRun: boolean,
) {
  const isAfter = when(at, (ms) => sql`(ended_at, id) > (${new Date(ms)}, ${id as string})`);
  return yield* all<SessionToPrune>(sql`
    SELECT
      id,
      ended_at,
      version,
      state,
      CASE WHEN patch_id IS NULL THEN patch_uri END AS patch_uri,
      (${kept}) AS kept
    FROM sessions
    WHERE ${and(sql`repository_id = ${repositoryId as string}`, ended, sql`ended_at <= ${before}`, isAfter)}
    ORDER BY ended_at, id LIMIT ${sessionsPerRead} ${dryRun ? sql`` : skipLocked}`);
});

/** The time that the deletion of a session takes besides its rows, as a number of rows. */
const sessionWeight = 8;

const sessions: Treatment = {
  kind: "sessions",
  setting: "sessionsMs",
  ended: sql`ended_at IS NOT NULL AND NOT pinned`,
  kept: sql`
    active_commands > 0 OR EXISTS (
      SELECT 1 FROM artifacts WHERE artifacts.session_id = sessions.id AND artifacts.pinned
    )`,
  treat: step(function* ({ id }: SessionToPrune, _: LogPosition, { dryRun, context }: Walk, limit: number) {
    let used = sessionWeight;
    for (let left = !dryRun; left; ) {
      const some = yield* deleteSomeOfSession(id, context);
      used += some.rows;
      left = some.left;
      if (left && used >= limit) return { used, rows: 0, left: beforeLogs };
    }
    return { used, rows: 1, left: undefined };
  }),
  finish: step(function* (done: readonly SessionToPrune[], { changed, counted }: Context) {
    const ids = done.map(({ id }) => id);
    for (const { state } of done) counted("session", state, undefined);
    yield* change(sql`DELETE FROM sessions WHERE id IN (${valueList(ids)})`);
    // A patch is a file that somebody has to remove, so its session has a row of its own.
    for (const { id, version, patch_uri: patchUri } of done)
      if (patchUri !== null)
        changed({ entity: "session", id, op: "delete", version: version + 1, sessionId: id, detail: { patchUri } });
    return done.filter(({ patch_uri }) => patch_uri === null).map(({ id }) => id);
  }),
};

const logs: Treatment = {
  kind: "logs",
  setting: "logsMs",
  ended: sql`ended_at IS NOT NULL AND NOT pinned AND logs_pruned_at IS NULL`,
  kept: sql`active_commands > 0`,
  treat: step(function* ({ id }: SessionToPrune, from: LogPosition, walk: Walk, limit: number) {
    const { found, left } = yield* readLogs(id, from);
    let [used, reached] = [1, from];
    const gone: number[] = [];
    const { counted } = walk.context;
    for (const { attempt_id, sequence, attempt, bytes, log_uri } of found) {
      // A log goes with its last chunk. Until then it is as one of which a part was dropped.
      const some = walk.dryRun
        ? { rows: 0, bytes: 0, left: false }
        : yield* deleteSomeChunksOf(attempt_id, Math.max(1, limit - used));
      used += 1 + some.rows;
      if (some.left) {
        counted("log_bytes", "sealed", undefined, some.bytes);
        yield* change(sql`UPDATE attempts SET dropped_bytes = dropped_bytes + ${some.bytes} WHERE id = ${attempt_id}`);
        break;
      }
      gone.push(attempt_id);
      if (!walk.dryRun) {
        if (log_uri !== null) yield* discardObject(attempt_id, log_uri, walk.context);
        counted("log", "sealed", "pruned");
        counted("log_bytes", "sealed", undefined, bytes);
      }
      reached = { part: sequence, attempt };
      if (used >= limit) break;
    }
    if (!walk.dryRun && gone.length > 0)
      yield* change(sql`
        UPDATE attempts SET
          log_state = 'pruned',
          log_uri = NULL,
          dropped_bytes = next_offset
        WHERE id IN (${valueList(gone)})`);
    const isDone = !left && gone.length === found.length;
    return { used, rows: gone.length, left: isDone ? undefined : reached };
  }),
  finish: step(function* (done: readonly SessionToPrune[], { now }: Context) {
    const ids = done.map(({ id }) => id);
    yield* change(sql`UPDATE sessions SET logs_pruned_at = ${now} WHERE id IN (${valueList(ids)})`);
    return ids;
  }),
};

/** The number of logs that a step reads of one session. */
const logsPerRead = 64;

interface LogToPrune {
  readonly attempt_id: number;
  readonly sequence: number;
  readonly attempt: number;
  readonly bytes: number;
  readonly log_uri: string | null;
}

/** Returns the first logs of a session that are left after a position. */
const readLogs = step(function* (sessionId: string, { part: sequence, attempt }: LogPosition) {
  const found = yield* all<LogToPrune>(sql`
    SELECT
      attempts.id AS attempt_id,
      commands.sequence,
      attempts.attempt,
      attempts.next_offset - attempts.dropped_bytes AS bytes,
      attempts.log_uri
    FROM commands JOIN attempts ON attempts.command_id = commands.id
    WHERE
      commands.session_id = ${sessionId}
      AND commands.sequence >= ${sequence}
      AND (commands.sequence > ${sequence} OR attempts.attempt > ${attempt})
      AND attempts.log_state = 'sealed'
    ORDER BY commands.sequence, attempts.attempt LIMIT ${logsPerRead}`);
  return { found, left: found.length === logsPerRead };
});

export const sessionWalks = {
  sessions: (walk: Walk) => walkSessions(sessions, walk),
  logs: (walk: Walk) => walkSessions(logs, walk),
};
