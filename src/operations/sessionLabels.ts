// Labels and metadata of sessions, which change while a session runs. Each label is also a row of session_labels, by which
// lists find the session.
import { z } from "zod";
import type { Details } from "../errors.ts";
import { Id, Json, Version } from "../model/fields.ts";
import { keyAndValue, type Labels, noLabels, parseLabels, SessionLabels } from "../model/labels.ts";
import { defaultSecretNames, maskingOf } from "../model/masking.ts";
import { Session, type SessionRow } from "../model/sessions.ts";
import { operation } from "../operation.ts";
import { and, changeEach, insert, type Statement, sql, step, when } from "../sql.ts";
import { changedFields } from "./changeDetail.ts";
import { timeKeyOf } from "./paging.ts";
import { getRow, lockRow } from "./rows.ts";
import { writeRow } from "./rowWrite.ts";
import { keepLockedSessionActive } from "./sessionActivity.ts";
import { requireVersion } from "./versions.ts";

/**
 * Changes the metadata and the labels of a session, also of one that has ended. Repeating the call changes nothing.
 *
 * Input    metadata: replaces what the session has; null removes it. labels: replaces all labels of the session, at most
 *          32. What is absent stays as it is. expectedVersion: pass it to add to what the session has, and read the session
 *          again after a conflict
 * Fails    not_found | conflict { reason: "version" }
 * Effect   one row of sessions, one of session_labels for each label that differs, and one row of changes, which names each
 *          label that differs, from what and to what, and that the metadata differ
 * Cost     at most 5 statements, each by an index, and 1 for each label that differs
 */
export const update = operation({
  access: "write",
  input: z.strictObject({
    sessionId: Id,
    metadata: Json.nullable().optional(),
    labels: SessionLabels.optional(),
    expectedVersion: Version.optional(),
  }),
  output: Session,
  errors: ["not_found", "conflict"],
  *run({ sessionId, metadata, labels, expectedVersion }, context) {
    const before = yield* lockRow("session", sessionId);
    const after = {
      ...before,
      ...(metadata === undefined ? {} : { metadata }),
      ...(labels === undefined ? {} : { labels }),
    };
    const changed = { ...changedLabels(before.labels, after.labels), ...metadataChange(before, after) };
    // Labels in another order are the same.
    if (Object.keys(changed).length === 0) return before;
    requireVersion(before, expectedVersion);
    yield* keepLockedSessionActive(before, context);
    const row = yield* writeRow<SessionRow>(
      "session",
      before,
      { metadata: after.metadata, labels: after.labels },
      context,
    );
    yield* writeLabels(row, parseLabels(before.labels));
    context.changed({
      entity: "session",
      id: sessionId,
      op: "update",
      version: row.version,
      sessionId,
      detail: { changed },
    });
    return yield* getRow("session", sessionId);
  },
});

/** Returns `{ metadata: {} }` when the metadata differ: they can be large, and hold anything. */
function metadataChange(before: SessionRow, after: SessionRow): Details {
  return (
    changedFields({ metadata: "json" }, { metadata: before.metadata }, { metadata: after.metadata })?.changed ?? {}
  );
}

/** Returns `{ labels: { key: { from, to } } }` for the labels that differ, without secrets; null stands for no label. */
function changedLabels(stored: string, next: string): Details {
  if (stored === next) return {};
  const [before, after] = [parseLabels(stored), parseLabels(next)];
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].filter(
    (key) => before[key] !== after[key],
  );
  const { text } = maskingOf(defaultSecretNames);
  const shown = (key: string, labels: Labels) =>
    Object.hasOwn(labels, key) ? text(`${key}=${labels[key]}`).slice(key.length + 1) : null;
  const entries = keys.map((key) => [key, { from: shown(key, before), to: shown(key, after) }] as const);
  return entries.length === 0 ? {} : { labels: Object.fromEntries(entries) };
}

/** Writes the labels of a locked session by which lists find it, as far as they differ from the former ones. */
export const writeLabels = step(function* (
  { id, labels, created_at }: Pick<SessionRow, "id" | "labels" | "created_at">,
  before: Labels = {},
) {
  if (labels === noLabels && Object.keys(before).length === 0) return;
  const after = parseLabels(labels);
  const gone = Object.keys(before).filter((key) => before[key] !== after[key]);
  if (gone.length > 0)
    yield* changeEach(gone.map((key) => sql`DELETE FROM session_labels WHERE session_id = ${id} AND key = ${key}`));
  const createdAt = new Date(created_at);
  for (const [key, value] of Object.entries(after))
    if (before[key] !== value)
      yield* insert(
        sql`
          INSERT INTO session_labels (
            session_id,
            key,
            value,
            created_at
          ) VALUES (
            ${id},
            ${key},
            ${value},
            ${createdAt}
          )`,
        1,
      );
});

const isLabel = (table: Statement, label: string): Statement => {
  const [key, value] = keyAndValue(label);
  return and(
    sql`${table}.key = ${key}`,
    when(value, (text) => sql`${table}.value = ${text}`),
  );
};

/** The order of a list of sessions that have a label, along the index of this label. */
const labelKey = {
  ...timeKeyOf({ at: sql`session_labels.created_at`, id: sql`session_labels.session_id` }),
  from: sql`session_labels JOIN sessions ON sessions.id = session_labels.session_id`,
  row: sql`sessions.*`,
};

/** Returns how a list finds sessions that have all of these labels: the first one by index, and the others by looking. */
export function byLabels([label = "", ...others]: readonly string[]) {
  const conditions = others.map(
    (other) => sql`EXISTS (
      SELECT 1 FROM session_labels AS other WHERE other.session_id = sessions.id AND ${isLabel(sql`other`, other)})`,
  );
  return {
    key: labelKey,
    label: [isLabel(sql`session_labels`, label)],
    otherLabels: conditions.length === 0 ? undefined : [and(...conditions)],
  };
}
