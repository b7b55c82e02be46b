// Sources of the rows of a list: pages of an operation, the end of the change feed, or several lists in one.
import { type Api, Problem } from "./api.ts";
import type { ChangeJson, DebugSessionJson, Page, SessionJson } from "./json.ts";

/** The rows of a list, the newest first. */
export interface Source<Item> {
  /** Returns the next rows, or none when there are no more. */
  next(signal: AbortSignal): Promise<readonly Item[]>;
  readonly isDone: boolean;
}

/** The rows of a page. */
export const pageRows = 250;

/** Returns the rows of an operation that lists them in pages. */
export function pages<Item>(api: Api, operation: string, filter: object = {}): Source<Item> {
  let cursor: string | undefined;
  let isDone = false;
  return {
    get isDone() {
      return isDone;
    },
    async next(signal) {
      if (isDone) return [];
      const input = { order: "desc", limit: pageRows, ...filter, ...(cursor === undefined ? {} : { cursor }) };
      const page = await api.call<Page<Item>>(operation, input, signal);
      cursor = page.nextCursor;
      isDone = cursor === undefined || cursor === null;
      return page.items;
    },
  };
}

/** Returns the change feed backwards. */
export function feedBackwards(api: Api, filter: object = {}): Source<ChangeJson> {
  let before: number | undefined;
  let floor = 0;
  let isDone = false;
  return {
    get isDone() {
      return isDone;
    },
    async next(signal) {
      while (!isDone) {
        if (before === undefined) {
          const { nextSeq } = await api.call<{ nextSeq: number }>("changes.since", { limit: 0 }, signal);
          before = nextSeq + 1;
        }
        const end: number = before;
        const after = Math.max(floor, end - 1 - pageRows);
        let changes: ChangeJson[] = [];
        try {
          ({ changes } = await api.call<{ changes: ChangeJson[] }>(
            "changes.since",
            { ...filter, after, limit: pageRows },
            signal,
          ));
        } catch (error) {
          if (!(error instanceof Problem) || error.code !== "feed_truncated") throw error;
          const known = Number(error.details.floor);
          if (!(known > after)) return [];
          floor = known;
          continue;
        }
        before = after + 1;
        isDone = after <= floor;
        const found = changes.filter(({ seq }) => seq < end).reverse();
        if (found.length > 0) return found;
      }
      return [];
    },
  };
}

/** The sessions whose debug sessions are read. */
const sessionsMax = 200;

/**
 * Returns the debug sessions of those sessions that the change feed names, and without its scope, of the newest ones. The
 * store lists debug sessions by session only.
 */
export function recentDebugSessions(api: Api): Source<DebugSessionJson> {
  return whole(async (signal) => {
    const ids = [...(await sessionIds(api, signal))].slice(0, sessionsMax);
    const found: DebugSessionJson[] = [];
    const worker = async () => {
      for (let id = ids.pop(); id !== undefined; id = ids.pop())
        found.push(
          ...(await api.call<Page<DebugSessionJson>>("debug.list", { sessionId: id, limit: 500 }, signal)).items,
        );
    };
    await Promise.all(Array.from({ length: 4 }, worker));
    return found.sort(newestFirst);
  });
}

async function sessionIds(api: Api, signal: AbortSignal): Promise<Set<string>> {
  const ids = new Set<string>();
  if (api.may("changes:read")) {
    const feed = feedBackwards(api, { entity: "debug_session" });
    for (let round = 0; round < 40 && !feed.isDone && ids.size < sessionsMax; round++)
      for (const { sessionId } of await feed.next(signal)) if (sessionId !== null) ids.add(sessionId);
  } else if (api.may("sessions:read")) {
    for (const { id } of await pages<SessionJson>(api, "sessions.list").next(signal)) ids.add(id);
  }
  return ids;
}

/** Returns the rows of a function that returns all of them. */
export function whole<Item>(read: (signal: AbortSignal) => Promise<readonly Item[]>): Source<Item> {
  let isDone = false;
  return {
    get isDone() {
      return isDone;
    },
    async next(signal) {
      if (isDone) return [];
      isDone = true;
      return await read(signal);
    },
  };
}

/** Compares rows by the time of their creation, the newest first. */
export function newestFirst(one: object, other: object): number {
  const [a, b] = [one, other] as [Ordered, Ordered];
  if (a.seq !== undefined) return (b.seq ?? 0) - a.seq;
  const [left = "", right = ""] = a.createdAt === b.createdAt ? [a.id, b.id] : [a.createdAt, b.createdAt];
  return left < right ? 1 : left > right ? -1 : 0;
}

interface Ordered {
  readonly seq?: number;
  readonly createdAt?: string;
  readonly id?: string;
}
