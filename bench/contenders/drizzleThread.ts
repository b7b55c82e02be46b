// A thread with Drizzle on a better-sqlite3 connection of its own, with prepared queries as its page on speed advises:
// https://orm.drizzle.team/docs/perf-queries
import type Database from "better-sqlite3";
import type { Cell, Opened } from "../cells/cell.ts";
import { leaseMs } from "../setup.ts";
import { connect } from "../statements.ts";
import { artifact, type Calls, type Held, unitOf } from "./calls.ts";
import type { ConnectionThread } from "./connectionThread.ts";
import { loadPackage } from "./packages.ts";
import { untilUnlocked } from "./untilUnlocked.ts";

/** The part of the package that is used here. */
interface Drizzle {
  insert(table: unknown): Query;
  update(table: unknown): Query;
  transaction<Result>(run: () => Result, options: { behavior: "immediate" }): Result;
}
interface Query {
  values(values: object): Query;
  set(values: object): Query;
  where(condition: unknown): Query;
  returning(columns: object): Query;
  prepare(): { run(values: object): { changes: number }; get(values: object): Held | undefined };
}
interface Sql {
  (texts: TemplateStringsArray, ...values: unknown[]): unknown;
  placeholder(name: string): unknown;
}
type Column = (name: string) => unknown;
interface Columns {
  sqliteTable<Name extends string>(table: string, columns: Record<Name, unknown>): Record<Name, unknown>;
  integer: Column;
  text: Column;
  blob: Column;
}

export async function open(cell: Cell, { path, runnerId }: ConnectionThread): Promise<Opened> {
  const { drizzle } = await loadPackage<{ drizzle(db: Database.Database): Drizzle }>("drizzle-orm/better-sqlite3");
  const { sql } = await loadPackage<{ sql: Sql }>("drizzle-orm");
  const tables = tablesOf(await loadPackage<Columns>("drizzle-orm/sqlite-core"));
  const connection = connect(path, 5_000);
  const calls = callsOf(drizzle(connection), sql, tables, runnerId);
  return { unit: unitOf(cell, calls), close: () => void connection.close() };
}

function tablesOf({ sqliteTable, integer, text, blob }: Columns) {
  return {
    runners: sqliteTable("runners", { id: integer("id"), expiresAt: integer("expires_at") }),
    worktrees: sqliteTable("worktrees", {
      id: integer("id"),
      fence: integer("fence"),
      runnerId: integer("runner_id"),
      expiresAt: integer("expires_at"),
    }),
    commands: sqliteTable("commands", {
      id: integer("id"),
      argv: text("argv"),
      state: text("state"),
      fence: integer("fence"),
      runnerId: integer("runner_id"),
      expiresAt: integer("expires_at"),
      logBytes: integer("log_bytes"),
      queuedAt: integer("queued_at"),
      endedAt: integer("ended_at"),
    }),
    chunks: sqliteTable("log_chunks", {
      commandId: integer("command_id"),
      startOffset: integer("start_offset"),
      at: integer("at"),
      data: blob("data"),
    }),
    artifacts: sqliteTable("artifacts", {
      commandId: integer("command_id"),
      name: text("name"),
      sha256: text("sha256"),
      uri: text("uri"),
      createdAt: integer("created_at"),
    }),
  };
}

function callsOf(db: Drizzle, sql: Sql, tables: ReturnType<typeof tablesOf>, runnerId: number): Calls {
  const { runners, worktrees, commands, chunks, artifacts } = tables;
  const value = sql.placeholder;
  // A placeholder in `set` has to be part of an expression.
  const put = (name: string) => sql`${value(name)}`;
  const heldCommand = sql`${commands.id} = ${value("id")} AND ${commands.fence} = ${value("fence")}`;
  const heldWorktree = sql`${worktrees.id} = ${value("id")} AND ${worktrees.fence} = ${value("fence")}`;
  const queries = {
    enqueue: db
      .insert(commands)
      .values({ argv: value("argv"), state: "queued", fence: 0, logBytes: 0, queuedAt: value("at") }),
    claim: db
      .update(commands)
      .set({ state: "running", fence: sql`${commands.fence} + 1`, runnerId, expiresAt: put("expiresAt") })
      .where(sql`id = (SELECT id FROM commands WHERE state = 'queued' ORDER BY id LIMIT 1)`)
      .returning({ id: commands.id, fence: commands.fence }),
    reserve: db
      .update(worktrees)
      .set({ runnerId, fence: sql`${worktrees.fence} + 1`, expiresAt: put("expiresAt") })
      .where(sql`id = (SELECT id FROM worktrees WHERE runner_id IS NULL ORDER BY id LIMIT 1)`)
      .returning({ id: worktrees.id, fence: worktrees.fence }),
    advance: db
      .update(commands)
      .set({ logBytes: sql`${commands.logBytes} + ${value("bytes")}` })
      .where(sql`${heldCommand} AND ${commands.logBytes} = ${value("offset")}`),
    chunk: db
      .insert(chunks)
      .values({ commandId: value("id"), startOffset: value("offset"), at: value("at"), data: value("data") }),
    runner: db
      .update(runners)
      .set({ expiresAt: put("expiresAt") })
      .where(sql`${runners.id} = ${runnerId}`),
    renewCommand: db
      .update(commands)
      .set({ expiresAt: put("expiresAt") })
      .where(sql`${heldCommand} AND ${commands.state} = 'running'`),
    renewWorktree: db
      .update(worktrees)
      .set({ expiresAt: put("expiresAt") })
      .where(sql`${heldWorktree} AND ${worktrees.runnerId} IS NOT NULL`),
    record: db.insert(artifacts).values({ ...artifact, commandId: value("id"), createdAt: value("at") }),
    finish: db
      .update(commands)
      .set({ state: "succeeded", expiresAt: null, endedAt: put("at") })
      .where(heldCommand),
    release: db.update(worktrees).set({ runnerId: null, expiresAt: null }).where(heldWorktree),
  };
  const prepared = Object.fromEntries(
    Object.entries(queries).map(([name, query]) => [name, query.prepare()]),
  ) as Record<keyof typeof queries, ReturnType<Query["prepare"]>>;
  const changeOne = (name: keyof typeof queries, values: object): void => {
    if (prepared[name].run(values).changes !== 1) throw new Error(`${name} was refused`);
  };
  const take = (name: "claim" | "reserve"): Held => {
    const held = prepared[name].get({ expiresAt: Date.now() + leaseMs });
    if (held === undefined) throw new Error(`there is nothing to ${name}`);
    return held;
  };
  const alone = (name: keyof typeof queries, values: object) => untilUnlocked(() => changeOne(name, values));
  const together = (run: () => void) => untilUnlocked(() => db.transaction(run, { behavior: "immediate" }));
  return {
    enqueue: (argv) => alone("enqueue", { argv, at: Date.now() }),
    claim: () => untilUnlocked(() => take("claim")),
    reserve: () => untilUnlocked(() => take("reserve")),
    append: ({ id, fence }, offset, data) =>
      together(() => {
        changeOne("advance", { id, fence, offset, bytes: data.byteLength });
        changeOne("chunk", { id, offset, at: Date.now(), data });
      }),
    heartbeat: (command, worktree) =>
      together(() => {
        const expiresAt = Date.now() + leaseMs;
        changeOne("runner", { expiresAt });
        changeOne("renewCommand", { ...command, expiresAt });
        changeOne("renewWorktree", { ...worktree, expiresAt });
      }),
    record: ({ id }) => alone("record", { id, at: Date.now() }),
    finish: (command) => alone("finish", { ...command, at: Date.now() }),
    release: (worktree) => alone("release", worktree),
  };
}
