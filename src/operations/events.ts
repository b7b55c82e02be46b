// Events of the application in the change feed. On the wire this operation belongs to `changes`.
import { z } from "zod";
import { bounds } from "../limits.ts";
import { record, text } from "../model/codec.ts";
import { filledText, Id, Json, Payload, withoutControls } from "../model/fields.ts";
import { newId } from "../model/ids.ts";
import { formatJson } from "../model/json.ts";
import { maskingOf } from "../model/masking.ts";
import { SecretNames } from "../model/secretNames.ts";
import { fail, sealedOperation } from "../operation.ts";
import { first, forKeyShare, sql } from "../sql.ts";
import { notFound } from "./failures.ts";

const fields = {
  topic: withoutControls(bounds.topicLength),
  entityId: filledText(bounds.entityIdLength).optional(),
  sessionId: Id.optional(),
};

/**
 * Adds an event of the application to the change feed, as a row of the entity `event`. Within `atomically` it is there
 * exactly when the other calls have taken effect: an outbox.
 *
 * Input    topic: what has happened; it is the `op` of the row. entityId: what it has happened to, in the terms of the
 *          application; a new id by default. sessionId: a session to whose history it belongs. detail: JSON, at most
 *          16 KiB; values under secret names are masked before they are sent. secretNames: replaces the default list of
 *          such names
 * Fails    not_found when there is no such session | invalid_input when the detail is too large
 * Effect   one row of changes
 */
export const publish = sealedOperation({
  access: "write",
  publicInput: z.strictObject({ ...fields, detail: Payload.optional(), secretNames: SecretNames }),
  seal({ secretNames, detail, ...rest }) {
    if (detail === undefined) return { wireInput: rest };
    // Masking takes long for what is much too large.
    requireSmall(formatJson(detail));
    return { wireInput: { ...rest, detail: maskingOf(secretNames).data(detail) } };
  },
  input: z.strictObject({ ...fields, detail: Json.optional() }),
  output: record({ entityId: text }),
  errors: ["not_found"],
  *run({ topic, entityId = newId(), sessionId, detail }, { changed }) {
    if (detail !== undefined) requireSmall(detail);
    if (sessionId !== undefined) {
      const session = yield* first(sql`SELECT id FROM sessions WHERE id = ${sessionId} ${forKeyShare}`);
      if (session === undefined) notFound("session", sessionId);
    }
    changed({ entity: "event", id: entityId, op: topic, version: 1, sessionId, storedDetail: detail });
    return { entityId };
  },
});

/** Fails with `invalid_input` when the detail of an event, as the text of its column, is too large. */
function requireSmall(detail: string): void {
  const bytes = Buffer.byteLength(detail);
  const bytesMax = bounds.eventBytes;
  if (bytes <= bytesMax) return;
  const message = `detail: takes ${bytes} bytes as JSON, and an event holds ${bytesMax}: name the thing, and let readers look it up`;
  fail("invalid_input", { bytes, bytesMax }, message);
}
