// Retention of ready artifacts: they end as those do whose own time is over, and their files are then no longer needed.
// Their rows go later, as those of all ended artifacts.
import { after } from "../clock.ts";
import type { ArtifactRow } from "../model/artifacts.ts";
import { all, and, first, skipLocked, sql, step, when } from "../sql.ts";
import { endArtifact } from "./artifactState.ts";
import { notePruned, nothing, refused, settingsWithin, type Walk, type Walked } from "./pruneWalk.ts";

/** The time that the end of an artifact takes, as a number of rows. */
const artifactWeight = 4;

export const walkReadyArtifacts = step(function* (walk: Walk) {
  const { position, limit, dryRun, settings, context } = walk;
  const { now } = context;
  if (settings.readyArtifactsMs === null && !(yield* hasOwnRetention())) return nothing;
  const isAfter = when(position.at, (at) => sql`(created_at, id) > (${new Date(at)}, ${position.id as string})`);
  const count = Math.ceil(limit / artifactWeight);
  const rows = yield* all<{ id: string; created_at: number; kept: number; retention: string | null }>(sql`
    SELECT
      id,
      created_at,
      (pinned OR EXISTS (SELECT 1 FROM sessions WHERE sessions.id = artifacts.session_id AND sessions.pinned)) AS kept,
      (
        SELECT retention FROM sessions JOIN repositories ON repositories.id = sessions.repository_id
        WHERE sessions.id = artifacts.session_id
      ) AS retention
    FROM artifacts
    WHERE ${and(sql`state = 'ready' AND created_at <= ${now}`, isAfter)}
    ORDER BY created_at, id LIMIT ${count} ${dryRun ? sql`` : skipLocked}`);
  const ids = rows.filter((row) => {
    const { readyArtifactsMs: ms } = settingsWithin(settings, row.retention);
    return row.kept === 0 && ms !== null && row.created_at <= after(now, -ms).getTime();
  });
  const last = rows.length < count ? undefined : rows.at(-1);
  const walked: Walked = {
    used: rows.length + ids.length * (artifactWeight - 1),
    rows: ids.length,
    next: last && { at: last.created_at, id: last.id },
  };
  if (dryRun || ids.length === 0) return walked;
  if (!(yield* walk.mayRemove())) return refused;
  for (const { id } of ids)
    yield* endArtifact(
      (yield* first<ArtifactRow>(sql`SELECT * FROM artifacts WHERE id = ${id}`)) as ArtifactRow,
      "expire",
      context,
    );
  // Each of them has a row of its own in the feed, with its uri.
  yield* notePruned("readyArtifacts", ids.length, [], context);
  return walked;
});

const hasOwnRetention = step(function* () {
  return (yield* first(sql`SELECT id FROM repositories WHERE retention IS NOT NULL ORDER BY id LIMIT 1`)) !== undefined;
});
