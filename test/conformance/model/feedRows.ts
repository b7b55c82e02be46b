// Reads the change feed of a store, in the form of the model.
import assert from "node:assert/strict";
import type { Store } from "../../../src/index.ts";
import type { FeedRow } from "./explain.ts";

type Row = Awaited<ReturnType<Store["changes"]["since"]>>["changes"][number];

export class FeedReader {
  #seq = 0;
  /** The names of consumers, by the ids that the store has chosen. */
  readonly #consumers = new Map<string, string>();

  /** Reads the new rows. */
  async read({ changes }: Store): Promise<FeedRow[]> {
    const page = await changes.since({ after: this.#seq, limit: 500 });
    const rows: FeedRow[] = [];
    for (const row of page.changes) {
      assert.equal(row.seq, ++this.#seq, "the change feed has a gap");
      const read = this.#rowOf(row);
      const before = rows.findIndex(({ entity, entityId }) => entity === "pruned" && entityId === read.entityId);
      if (read.entity !== "pruned" || before === -1) rows.push(read);
      else rows[before] = joined(rows[before] as FeedRow, read);
    }
    return rows;
  }

  #rowOf({ entity, entityId, op, entityVersion, fence, sessionId, actor, detail }: Row): FeedRow {
    const { name, ids } = (detail ?? {}) as { readonly name?: string; readonly ids?: readonly string[] };
    if (entity === "consumer" && op === "create") this.#consumers.set(entityId, name as string);
    const isNamed = entity === "pruned" && entityId !== "logs";
    return {
      entity,
      entityId: entity === "consumer" ? (this.#consumers.get(entityId) ?? entityId) : entityId,
      op,
      entityVersion,
      fence,
      sessionId,
      actor,
      ...(isNamed ? { ids: (ids ?? []).toSorted() } : {}),
    };
  }
}

/** Returns one row for those of two steps of a call. */
function joined(one: FeedRow, next: FeedRow): FeedRow {
  assert.equal(next.entityVersion, one.entityVersion + 1, "each step raises the version of what was pruned");
  return next.ids === undefined ? next : { ...next, ids: [...(one.ids ?? []), ...next.ids].toSorted() };
}

/** Reads the number up to which the feed was pruned, and the times of the rows after that. */
export async function feedOf({ changes }: Store): Promise<object> {
  let floor = 0;
  try {
    await changes.since({ after: 0, limit: 1 });
  } catch (error) {
    const { code, details } = error as { readonly code: string; readonly details: { readonly floor: number } };
    assert.equal(code, "feed_truncated");
    floor = details.floor;
  }
  const page = await changes.since({ after: floor, limit: 500 });
  return { floor, times: page.changes.map(({ at }) => at) };
}
