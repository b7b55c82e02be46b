// The model of patches.
import { discardFile, reclaimFile } from "./fileState.ts";
import { byId, page, wholePage } from "./lists.ts";
import { modelOf } from "./operation.ts";
import type { Picks } from "./picks.ts";
import { Failure, get, type Patch, requireVersion, type State, stamped } from "./state.ts";

const hashes = ["a", "b", "c"].map((digit) => digit.repeat(64));

/** Returns a hash and a uri of a patch; some of the uris are those of artifacts too. */
export function patchPicks(picks: Picks) {
  return { sha256: picks.of(hashes), uri: `s3://bucket/${picks.of([5, 6, 7, 8])}` };
}

const withHash = (state: State, sha256: string): Patch | undefined =>
  [...state.patches.values()].find((row) => row.sha256 === sha256);

export const isPatchUsed = (state: State, id: string): boolean =>
  [...state.sessions.values()].some(({ patchId }) => patchId === id);

function add(state: State, fields: Pick<Patch, "id" | "sha256" | "uri" | "sizeBytes">): Patch {
  reclaimFile(state, fields.uri);
  const row: Patch = { ...fields, lastUsedAt: state.now, ...stamped(state.now) };
  state.put("patches", row.id, row);
  state.change("patch", row, "record");
  return row;
}

function use(state: State, before: Patch): Patch {
  if (before.lastUsedAt === state.now) return before;
  const row = { ...before, lastUsedAt: state.now, updatedAt: state.now };
  state.put("patches", row.id, row);
  return row;
}

/**
 * Returns the patch of a new session, or undefined. A patch that only a session names gets an id of the store's choice,
 * which no comparison could foresee, so no generated session names a hash together with a uri that is not recorded.
 */
export function patchOfSession(state: State, patchHash: string | undefined, patchUri: string | undefined) {
  if (patchHash === undefined) return undefined;
  const known = withHash(state, patchHash);
  if (known === undefined) throw new Failure("not_found", { entity: "patch", sha256: patchHash });
  return patchUri === undefined || patchUri === known.uri ? use(state, known) : undefined;
}

/** Returns the fields by which a new session names a patch. */
export function patchOfNewSession(picks: Picks, state: State) {
  const { sha256, uri } = patchPicks(picks);
  const isKnown = withHash(state, sha256) !== undefined;
  return { patchHash: sha256, ...(isKnown ? picks.optional("patchUri", uri, 3) : {}) };
}

/** Removes a patch that no session refers to, and hands out its file. */
export function removePatch(state: State, { id, uri, sizeBytes, version }: Patch): void {
  discardFile(state, { id, kind: "patch", uri, sizeBytes, sessionId: null });
  state.remove("patches", id);
  state.change("patch", { id, version: version + 1 }, "delete");
}

export const patches = modelOf("patches", {
  record: {
    weight: 3,
    input: (picks) => ({ id: picks.newId(), ...patchPicks(picks), sizeBytes: picks.of([7, 7, 7, 8]) }),
    run({ id = "", sha256, uri, sizeBytes }, state) {
      const known = withHash(state, sha256);
      if (known === undefined) return { patch: add(state, { id, sha256, uri, sizeBytes }), created: true };
      if (known.sizeBytes !== sizeBytes) throw new Failure("conflict", { reason: "content", patchId: known.id });
      return { patch: use(state, known), created: false };
    },
  },
  get: {
    input: (picks, state) => ({ patchId: picks.id(state.patches) }),
    run: ({ patchId }, state) => get(state.patches, "patch", patchId),
  },
  find: {
    input: (picks) => ({ sha256: patchPicks(picks).sha256 }),
    run: ({ sha256 }, state) => withHash(state, sha256),
  },
  list: {
    input: () => wholePage,
    run: (_input, state) => page(state.patches, () => true),
    ordered: byId,
  },
  delete: {
    weight: 2,
    input(picks, state) {
      const row = picks.row(state.patches, ({ id }) => !isPatchUsed(state, id));
      return { patchId: picks.idOf(row), ...picks.version(row) };
    },
    run({ patchId, expectedVersion }, state) {
      const before = state.patches.get(patchId);
      if (before === undefined) return { deleted: true };
      requireVersion(before, expectedVersion);
      if (isPatchUsed(state, patchId)) throw new Failure("conflict", { reason: "used" });
      removePatch(state, before);
      return { deleted: true };
    },
  },
});
