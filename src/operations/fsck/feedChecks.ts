// Checks of the change feed: no change is missing, and the versions of each row follow each other up to the one it has.

import { type Statement, sql } from "../../sql.ts";
import { type Entity, tables } from "../rows.ts";
import { type Check, type Rule, raw, type Walk } from "./check.ts";

/** The number up to which the feed was pruned. A text that is no number is another finding. */
const floor = sql`(
  SELECT CASE WHEN value <> '' AND trim(value, '0123456789') = '' THEN CAST(value AS bigint) ELSE 0 END
  FROM store_meta WHERE key = 'feed_floor')`;

/** The entities whose rows belong to a session, whose history an index finds. */
const ofSessions = ["session", "command", "artifact", "debug_session"] as const satisfies readonly Entity[];

const isOfSession = sql`entity IN ('session', 'command', 'artifact', 'debug_session')`;

/** Walks over the changes of one session after the other: a range holds all changes of a session. */
const histories: Walk = {
  from: sql`changes`,
  key: ["session_id"],
  start: ["00000000-0000-0000-0000-000000000000"],
};

/** Changes of a row that was deleted, and created again with the same id, begin with 1 anew. */
const versions = (range: Statement, more: Statement): Statement => sql`
  SELECT
    ${range},
    seq,
    entity_version,
    lag(entity_version) OVER (PARTITION BY entity, entity_id ORDER BY seq) AS version_before
  FROM changes
  WHERE ${more}`;

const latest = (range: Statement, more: Statement): Statement => sql`
  SELECT
    ${range},
    entity_id,
    entity_version,
    row_number() OVER (PARTITION BY entity_id ORDER BY seq DESC) AS age
  FROM changes
  WHERE ${more}`;

/** The entities whose rows belong to no session: only a pass over the whole feed finds their changes. */
const others = [
  "account",
  "environment",
  "patch",
  "repository",
  "runner",
  "token",
  "worktree",
] as const satisfies readonly Entity[];
const isOther = sql`entity IN ('account', 'environment', 'patch', 'repository', 'runner', 'token', 'worktree')`;

/** A walk of one step, over all that a select finds. */
const whole: Walk = { from: sql`(SELECT 1 AS part) AS parts`, key: ["part"], start: [0] };

function versionCheck(entity: Entity, isDeep: boolean): Check {
  const name = entity.replace("_", "-");
  const current = sql`(SELECT version FROM ${tables[entity]} WHERE id = entity_id/*+ ::uuid */)`;
  const ofEntity = sql`entity = ${raw(`'${entity}'`)}`;
  return {
    name: `${name}-version`,
    says: `The version of ${/^[aeiou]/.test(name) ? "an" : "a"} ${name.replace("-", " ")} is that of its last change in the feed.`,
    walk: isDeep ? whole : histories,
    rows: 5_000,
    isDeep,
    select: (range) =>
      isDeep ? latest(sql`1 AS part`, ofEntity) : latest(sql`session_id`, sql`${range} AND ${ofEntity}`),
    rule: {
      id: sql`entity_id`,
      found: current,
      expected: sql`entity_version`,
      // A row that was deleted has no version any more.
      broken: sql`age = 1 AND ${current} <> entity_version`,
    },
    remedy: "A change is missing in the feed, or in the row. Consumers of the feed read the row anew.",
  };
}

const followsVersion: Rule = {
  id: sql`seq`,
  found: sql`entity_version`,
  expected: sql`COALESCE(version_before, 0) + 1`,
  broken: sql`
    entity_version <> 1 AND entity_version <> COALESCE(version_before, 0) + 1
    AND (version_before IS NOT NULL OR ${floor} = 0)`,
};

export const feedChecks: readonly Check[] = [
  {
    name: "feed-gap",
    says: "The changes in the feed are numbered without a gap. PostgreSQL also leaves out the numbers of transactions that it has undone, so nothing is checked there.",
    walk: { from: sql`changes`, key: ["seq"], start: [-1] },
    rows: 5_000,
    rule: {
      id: sql`seq`,
      expected: sql`seq - 1`,
      broken: sql`
        seq > ${floor} + 1 AND NOT EXISTS (SELECT 1 FROM changes AS earlier WHERE earlier.seq = changes.seq - 1)/*+ AND FALSE */`,
    },
    remedy: "The changes before it are lost. Consumers of the feed read everything anew.",
  },
  {
    name: "feed-versions",
    says: "Each change of a row of a session has the version after that of the change before.",
    walk: histories,
    rows: 5_000,
    select: (range) => versions(sql`session_id`, sql`${range} AND ${isOfSession}`),
    rule: followsVersion,
    remedy: "A change before it is lost. Consumers of the feed read the row anew.",
  },
  ...ofSessions.map((entity) => versionCheck(entity, false)),
  {
    name: "feed-other-versions",
    says: "Each change of an account, environment, patch, repository, runner, token or worktree has the version after that of the change before.",
    walk: whole,
    rows: 5_000,
    isDeep: true,
    select: () => versions(sql`1 AS part`, isOther),
    rule: followsVersion,
    remedy: "A change before it is lost. Consumers of the feed read the row anew.",
  },
  ...others.map((entity) => versionCheck(entity, true)),
];
