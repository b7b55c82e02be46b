// Eviction of environments: those of a place go by age, and what nobody has used for the longest time until the rest fits.
import { z } from "zod";
import { after } from "../clock.ts";
import { bounds } from "../limits.ts";
import { boolean, integer, list, record } from "../model/codec.ts";
import { Environment, type EnvironmentRow } from "../model/environments.ts";
import { PlaceName } from "../model/places.ts";
import { operation } from "../operation.ts";
import { all, and, type Statement, skipLocked, sql, step, valueList, when } from "../sql.ts";
import { isEnvironmentUsed, removeEnvironments, sizeOfPlace } from "./environmentState.ts";

/** The longest time that may have passed since an environment was built or used: ten years. */
const agoMsMax = 10 * 365 * 86_400_000;

/**
 * Evicts environments of a place: those that were built at least `ageMs` ago; then, least recently used first, those that
 * nobody has used for `unusedForMs`, and further ones as long as all that are ready in the place take more than `maxBytes`.
 * One that is being built, is pinned, or is used by a session stays. What was built goes to a collector of the place
 * (files.claim with `place`), and may be built anew at once, at another uri.
 *
 * Input    place: where they are (default: the place without a name). maxBytes: their size in the place, of all
 *          repositories. limit: the number of environments of one call
 * Result   { environments, sizeBytes, left }: the rows as they were, in the order of their last use; the size of what is left
 *          in the place; left: true when further ones may have to go, so that the call is to be repeated
 * Effect   the rows of these environments; one row of changes for each, whose detail has the uri and the reason
 * Cost     3 statements by index, and 4 by key for each environment; those that sessions use are passed over
 */
export const evict = operation({
  access: "write",
  input: z
    .strictObject({
      place: PlaceName.default(""),
      maxBytes: z.int().min(0).optional(),
      unusedForMs: z.int().min(0).max(agoMsMax).optional(),
      ageMs: z.int().min(0).max(agoMsMax).optional(),
      limit: z.int().min(1).max(bounds.pageRowsMax).default(bounds.pageRows),
    })
    .refine(({ maxBytes, unusedForMs, ageMs }) => [maxBytes, unusedForMs, ageMs].some((value) => value !== undefined), {
      error: "at least one of maxBytes, unusedForMs and ageMs is required",
      path: ["maxBytes"],
    }),
  output: record({ environments: list(Environment), sizeBytes: integer, left: boolean }),
  errors: [],
  resultBytes: ({ limit }) => limit * environmentBytes,
  *run({ place, maxBytes = Number.MAX_SAFE_INTEGER, unusedForMs, ageMs, limit }, context) {
    let sizeBytes = yield* sizeOfPlace(place);
    const ids = new Set<string>();
    const take = ({ id, size_bytes }: Candidate) => {
      ids.add(id);
      sizeBytes -= size_bytes ?? 0;
    };
    if (ageMs !== undefined) {
      const isAged = sql`ready_at <= ${after(context.now, -ageMs)}`;
      for (const row of yield* findUnused(place, isAged, sql`ready_at`, limit)) take(row);
    }
    const before = unusedForMs === undefined ? undefined : after(context.now, -unusedForMs);
    if (sizeBytes > maxBytes || before !== undefined) {
      const isOld = sizeBytes > maxBytes ? undefined : when(before, (time) => sql`last_used_at <= ${time}`);
      for (const row of yield* findUnused(place, isOld, sql`last_used_at`, limit)) {
        if (ids.has(row.id)) continue;
        const goes = sizeBytes > maxBytes || (before !== undefined && row.last_used_at <= before.getTime());
        if (!goes || ids.size === limit) break;
        take(row);
      }
    }
    if (ids.size === 0) return { environments: [], sizeBytes, left: 0 };
    const environments = yield* removeEnvironments(
      sql`id IN (${valueList([...ids])}) AND NOT ${isEnvironmentUsed}`,
      "evicted",
      context,
    );
    return {
      environments: environments.toSorted((one, other) => one.last_used_at - other.last_used_at),
      sizeBytes: yield* sizeOfPlace(place),
      left: Number(ids.size === limit),
    };
  },
});

type Candidate = Pick<EnvironmentRow, "id" | "size_bytes" | "last_used_at">;

/** Locks environments of a place that may go and fulfill a condition, and returns them in an order. */
const findUnused = step(function* (place: string, condition: Statement | undefined, order: Statement, limit: number) {
  return yield* all<Candidate>(sql`
    SELECT id, size_bytes, last_used_at FROM environments
    WHERE ${and(sql`place = ${place} AND state <> 'building' AND NOT pinned`, condition)} AND NOT ${isEnvironmentUsed}
    ORDER BY ${order}, id LIMIT ${limit} ${skipLocked}`);
});

/** The size of an environment in a result, by estimate. */
const environmentBytes = 1_024;
