// Reports the revision and the history of a database, checks its ledger and its schema, and rewrites the ledger.
import { StoreError } from "../errors.ts";
import { type AppliedMigration, type History, hasLedger, readHistory, stampMigrations } from "../schema/ledger.ts";
import type { Migration } from "../schema/migrationFiles.ts";
import { type Difference, driftOf, expectedObjects } from "./differences.ts";
import { parseTarget, revisionAt } from "./target.ts";
import type { Migrator } from "./upgrade.ts";

export interface Current {
  readonly revision: string;
  readonly name: string | undefined;
  readonly head: string;
  readonly atHead: boolean;
}

/** Returns the revision of a database, and whether it is the head. */
export async function current({ engine, migrations }: Migrator): Promise<Current> {
  const { applied } = await engine.read((run) => run(readHistory(engine.catalog, migrations)));
  const last = applied.at(-1);
  const head = revisionAt(migrations, migrations.length);
  const revision = last?.revision ?? "base";
  return { revision, name: last?.name, head, atHead: revision === head };
}

export interface Entry {
  readonly revision: string;
  readonly name: string;
  readonly state: "applied" | "pending" | "edited" | "newer" | "skipped";
  readonly appliedAt?: string;
  readonly durationMs?: number;
  readonly appliedBy?: string;
}

/**
 * Lists all known and applied migrations, oldest first. `range` has the form "a:b" and limits the list to the revisions
 * from a to b; either may be left out.
 */
export async function listHistory({ engine, migrations }: Migrator, range = ":"): Promise<Entry[]> {
  const [first, last] = rangeOf(range, migrations);
  const history = await engine.read((run) => run(readHistory(engine.catalog, migrations)));
  const names = new Map([...migrations, ...history.newer].map(({ revision, name }) => [revision, name]));
  const applied = new Map(history.applied.map((entry) => [entry.revision, entry]));
  return [...names]
    .filter(([revision]) => revision >= first && revision <= last)
    .map(([revision, name]) => ({
      revision,
      name,
      state: stateOf(revision, history),
      ...ledgerFieldsOf(applied.get(revision)),
    }))
    .sort((left, right) => left.revision.localeCompare(right.revision));
}

/** Lists the migrations that are still to be applied. */
export async function listPending(migrator: Migrator): Promise<Entry[]> {
  return (await listHistory(migrator)).filter(({ state }) => state === "pending" || state === "skipped");
}

function rangeOf(range: string, migrations: readonly Migration[]): [first: string, last: string] {
  const [, first, last] = /^([^:]*):([^:]*)$/.exec(range) ?? [];
  if (first === undefined || last === undefined)
    throw new StoreError("invalid_input", `${range}: expected a range of revisions, such as 0001:0002, 0002: or :0001`);
  const revision = (text: string): string =>
    revisionAt(migrations, parseTarget(text, migrations, 0)).replace("base", "0000");
  return [first === "" ? "" : revision(first), last === "" ? "9999" : revision(last)];
}

function stateOf(revision: string, { applied, edited, newer, skipped }: History): Entry["state"] {
  const among = (list: readonly { readonly revision: string }[]) => list.some((entry) => entry.revision === revision);
  if (among(newer)) return "newer";
  if (among(edited)) return "edited";
  if (among(applied)) return "applied";
  return among(skipped) ? "skipped" : "pending";
}

function ledgerFieldsOf(entry: AppliedMigration | undefined): Partial<Entry> {
  if (entry === undefined) return {};
  return {
    appliedAt: new Date(entry.applied_at).toISOString(),
    durationMs: entry.duration_ms,
    appliedBy: entry.applied_by,
  };
}

export interface StampResult {
  readonly from: string;
  readonly to: string;
  /** The differences between the schema that these migrations produce and the actual one. There should be none. */
  readonly differences: readonly Difference[];
}

/**
 * Rewrites the ledger so that it records the migrations up to a revision as applied, with the checksums that their
 * files have now. Runs no migration.
 */
export async function stamp({ engine, migrations, now }: Migrator, target: string): Promise<StampResult> {
  const { from, to, objects, known } = await engine.transact(async ({ run }) => {
    const tables = await run(engine.catalog.tables());
    const applied = hasLedger(tables) ? (await run(readHistory(engine.catalog, migrations))).applied : [];
    const known = migrations.slice(0, parseTarget(target, migrations, applied.length));
    await run(stampMigrations(engine.catalog, known, now));
    return {
      from: applied.at(-1)?.revision ?? "base",
      to: revisionAt(migrations, known.length),
      objects: await run(engine.catalog.objects()),
      known,
    };
  });
  return { from, to, differences: driftOf(await expectedObjects(engine, known, now), objects, migrations, engine) };
}

export type Finding =
  | { readonly kind: "pending" | "edited" | "newer" | "skipped"; readonly revision: string; readonly name: string }
  | { readonly kind: "no_ledger" }
  | ({ readonly kind: "drift" } & Difference);

/**
 * Finds migrations that are not applied, were edited or come from a later version, and differences between the schema
 * and the migrations.
 */
export async function check({ engine, migrations, now }: Migrator): Promise<Finding[]> {
  const { history, objects } = await engine.read(async (run) => {
    const tables = await run(engine.catalog.tables());
    const history = hasLedger(tables) ? await run(readHistory(engine.catalog, migrations)) : undefined;
    return { history, objects: await run(engine.catalog.objects()) };
  });
  if (history === undefined) return [{ kind: "no_ledger" }];
  const findings = ["newer", "edited", "skipped", "pending"] as const;
  const listed = findings.flatMap((kind) =>
    history[kind]
      .filter(({ revision }) => kind !== "pending" || stateOf(revision, history) === "pending")
      .map(({ revision, name }): Finding => ({ kind, revision, name })),
  );
  // The schema that a later version or the original of an edited file has produced is not known here.
  if (history.newer.length > 0 || history.edited.length > 0) return listed;
  const applied = migrations.filter(({ revision }) => history.applied.some((entry) => entry.revision === revision));
  const drift = driftOf(await expectedObjects(engine, applied, now), objects, migrations, engine);
  return [...listed, ...drift.map((difference): Finding => ({ kind: "drift", ...difference }))];
}
