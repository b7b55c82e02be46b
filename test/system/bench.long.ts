// Short runs of the benchmarks end, leave no files behind, and store what they report.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import Database from "better-sqlite3";
import type { AppendResult } from "../../bench/append.ts";
import type { Cell, CellRound } from "../../bench/cells/cell.ts";
import { runCell } from "../../bench/cells/measure.ts";
import { type CellsResult, comparisons } from "../../bench/cells/run.ts";
import { asyncCalls, type Executor } from "../../bench/contenders/asyncCalls.ts";
import { unitOf } from "../../bench/contenders/calls.ts";
import { connections } from "../../bench/contenders/connections.ts";
import type { ConnectionThread } from "../../bench/contenders/connectionThread.ts";
import { contenders } from "../../bench/contenders/index.ts";
import { isInstalled } from "../../bench/contenders/packages.ts";
import type { LadderResult } from "../../bench/ladder.ts";
import { bytesInFile, checkBytes, newStore } from "../../bench/setup.ts";
import { advance, findAttempt, insertChunk } from "../../bench/statements.ts";
import { listeners, type TracingResult } from "../../bench/tracing.ts";
import { type UpkeepResult, upkeepKinds } from "../../bench/upkeep.ts";
import type { Context } from "../../src/context.ts";
import { defaultLimits } from "../../src/index.ts";
import { operations } from "../../src/operations/table.ts";
import type { Query } from "../../src/sql.ts";
import { idleServer } from "../support/serverState.ts";
import { temporaryFolder } from "../support/temporaryFolder.ts";

const folder = temporaryFolder();

const entry = fileURLToPath(new URL("../../bench/main.ts", import.meta.url));

/** Runs a benchmark, and fails unless it removes all its temporary files. */
async function bench(...args: string[]): Promise<string> {
  const temporary = mkdtempSync(join(folder, "tmp-"));
  const { stdout } = await promisify(execFile)(process.execPath, [entry, ...args], {
    env: { ...process.env, TMPDIR: temporary },
  });
  assert.deepEqual(readdirSync(temporary), []);
  return stdout;
}

async function runWithResult<Result>(...args: string[]): Promise<{ result: Result; stdout: string; file: string }> {
  const file = join(folder, `${args[0]}.json`);
  const stdout = await bench(...args, "--json", file);
  return { result: JSON.parse(await readFile(file, "utf8")) as Result, stdout, file };
}

describe("bench upkeep", () => {
  it("measures writes beside each kind of upkeep, which gets on meanwhile", async () => {
    const args = ["--rounds", "1", "--seconds", "0.5", "--commands", "5000"];
    const { result, stdout } = await runWithResult<UpkeepResult>("upkeep", ...args);
    assert.deepEqual(
      result.figures.map(({ beside }) => beside),
      upkeepKinds,
    );
    for (const { beside, rounds } of result.figures) {
      assert.equal(rounds.length, 1);
      const { calls = 0, p99Ms = 0, done = 0 } = rounds[0] ?? {};
      assert.ok(calls > 0 && p99Ms > 0, beside);
      // A backup may take longer than the round.
      if (beside !== "nothing" && beside !== "backup") assert.ok(done > 0, beside);
    }
    assert.ok(!/NaN|undefined/.test(stdout));
  });
});

describe("bench tracing", () => {
  it("measures appends with each kind of listener", async () => {
    const { result, stdout } = await runWithResult<TracingResult>("tracing", "--rounds", "1", "--seconds", "0.1");
    assert.deepEqual(
      result.figures.map(({ listener }) => listener),
      [...listeners, ...listeners, ...listeners],
    );
    for (const { callsPerSecond, cpuUs } of result.figures)
      assert.ok(Number(callsPerSecond[0]) > 0 && Number(cpuUs[0]) > 0);
    assert.ok(!/NaN|undefined/.test(stdout));
  });
});

describe("bench append", () => {
  it("measures every contender, and stores all acknowledged bytes", async () => {
    const size = 100;
    const { result, stdout } = await runWithResult<AppendResult>(
      ...[
        "append",
        "--threads",
        "2",
        "--in-flight",
        "1,4",
        "--logs",
        "1,8",
        "--rounds",
        "2",
        "--seconds",
        "0.5",
        "--size",
        String(size),
      ],
    );
    const { contenders, bytes, options } = result;
    assert.deepEqual(
      contenders.flatMap(({ inFlight, logs }) => (inFlight === null ? [] : [[inFlight, logs]])),
      [
        [1, 1],
        [4, 1],
        [4, 4],
      ],
    );
    assert.equal(bytes % size, 0);
    const calls = contenders.flatMap(({ rounds }) =>
      rounds.map(({ callsPerSecond }) => callsPerSecond * options.seconds),
    );
    assert.ok(
      bytes / size >= calls.reduce((sum, count) => sum + count, 0),
      "more calls are reported than lines are stored",
    );
    for (const { name, rounds } of contenders) {
      assert.equal(rounds.length, 2, name);
      for (const { callsPerSecond, p50Ms, p99Ms, worstMs, cpuUs } of rounds) {
        assert.ok(callsPerSecond > 0 && p50Ms > 0 && p50Ms <= p99Ms && p99Ms <= worstMs && cpuUs > 0, name);
      }
      assert.ok(stdout.includes(name));
    }
  });
});

describe("bench ladder", () => {
  it("measures every rung, and render prints the same tables from the file", async () => {
    const { result, stdout, file } = await runWithResult<LadderResult>("ladder", "--rounds", "1", "--seconds", "0.05");
    assert.ok(result.rungs.length > 10);
    for (const { name, rounds } of result.rungs) {
      for (const { calls, seconds, cpuUs } of rounds) assert.ok(calls > 0 && seconds > 0 && cpuUs > 0, name);
    }
    assert.ok(result.bytes > 0);
    assert.equal(await bench("render", file), stdout);
  });
});

describe("bench scenarios", () => {
  it("measures each contender in a process of its own, and counts what is stored", async () => {
    const { result, stdout, file } = await runWithResult<CellsResult>(
      ...["enqueue", "lone", "--quick", "--seconds", "0.1"],
    );
    assert.deepEqual(
      result.comparisons.map(({ scenario }) => scenario),
      ["enqueue", "lone"],
    );
    for (const { title, cells, missing } of result.comparisons) {
      assert.ok(cells.length >= 3 && stdout.includes(title));
      for (const contender of missing) assert.match(stdout, new RegExp(`Not installed .*${contender}`));
      for (const { contender, rounds } of cells)
        for (const { unitsPerSecond, starvedThreads, p50Ms, worstMs, cpuUs, memoryMb } of rounds) {
          // On a busy machine, a short span may be over before its first unit is.
          assert.ok(unitsPerSecond > 0 || starvedThreads > 0, contender);
          assert.ok(p50Ms > 0 && p50Ms <= worstMs && cpuUs > 0 && memoryMb > 10, contender);
        }
    }
    assert.equal(await bench("render", file), stdout);
  });

  it("does whole days and jobs on several threads, on the store and on connections", async () => {
    const entryOfCell = fileURLToPath(new URL("../../bench/cells/process.ts", import.meta.url));
    const onSqlite = ["runner-day", "work"].flatMap((scenario) =>
      ["debug-server-db", "connection per thread"].map((contender) => ({ scenario, contender })),
    );
    const onPostgres = { scenario: "work", contender: "debug-server-db on PostgreSQL" };
    for (const { scenario, contender } of [...onSqlite, onPostgres]) {
      const cell: Cell = { scenario, contender, threads: 2, inFlight: 3, warmUpSeconds: 0.1, seconds: 0.2 } as Cell;
      const { stdout } = await promisify(execFile)(process.execPath, [entryOfCell, JSON.stringify(cell)]);
      const { unitsPerSecond, starvedThreads } = JSON.parse(stdout) as CellRound;
      assert.ok(unitsPerSecond > 0 || starvedThreads > 0, `${scenario}, ${contender}`);
    }
  });

  it("runs the same days on drivers that answer with promises, and repeats what was locked", async () => {
    const cell = { scenario: "runner-day", contender: "x", threads: 1, warmUpSeconds: 0, seconds: 0.02 } as const;
    for (const inFlight of [1, 3]) {
      const days = { ...cell, inFlight };
      const { threads, finish } = await connections.prepare(days, mkdtempSync(join(folder, "calls-")));
      const { path, runnerId } = threads.map(({ data }) => data)[0] as ConnectionThread;
      const db = new Database(path);
      let locked = 0;
      const run = async (sql: string, values: readonly unknown[]) => {
        if (locked++ === 0) throw new Error("database is locked");
        const statement = db.prepare(sql);
        if (statement.reader) return { rows: statement.all(...values), changes: 0 };
        return { rows: [], changes: statement.run(...values).changes };
      };
      const transaction = async (body: (on: Executor) => Promise<void>) => body({ run });
      const unit = unitOf(days, asyncCalls({ run, transaction }, runnerId));
      await unit();
      await unit();
      db.prepare("UPDATE log_chunks SET data = x'00' WHERE command_id = 1 AND start_offset = 0").run();
      db.close();
      assert.equal(await finish(), 1, "the day whose log has lost bytes does not count");
    }
  });

  it("names contenders whose packages are not installed, and only those", () => {
    assert.ok(isInstalled(connections) && isInstalled({ ...connections, needs: ["better-sqlite3"] }));
    assert.ok(!isInstalled({ ...connections, needs: ["better-sqlite3", "no-such-package-of-a-contender"] }));
  });

  it("compares only contenders that exist, in scenarios that they can run", () => {
    for (const { name, scenario, cells } of comparisons)
      for (const { contender } of cells)
        assert.ok(contenders[contender]?.scenarios.includes(scenario), `${name}: ${contender}`);
    assert.equal(new Set(comparisons.map(({ name }) => name)).size, comparisons.length);
  });

  it("fails when a contender has stored less than it acknowledged", async () => {
    const cell: Cell = {
      scenario: "enqueue",
      contender: "x",
      threads: 1,
      inFlight: 1,
      warmUpSeconds: 0,
      seconds: 0.05,
    };
    const prepared = await connections.prepare(cell, folder);
    const forgetful = { ...connections, prepare: async () => ({ ...prepared, finish: async () => 0 }) };
    await assert.rejects(runCell(cell, forgetful), /units were acknowledged, but 0 are stored/);
  });
});

describe("the basis of the benchmarks", () => {
  it("checkBytes fails when acknowledged bytes are not in the file", async () => {
    const path = join(folder, "lost.db");
    const { store, slots } = await newStore(path, 1);
    const [{ commandId, fence } = assert.fail()] = slots;
    for (const offset of [0, 3])
      await store.logs.append({ commandId, fence, offset, data: new TextEncoder().encode("ab\n") });
    await store.close();
    checkBytes("store", 6, bytesInFile(path));
    const db = new Database(path);
    db.exec("DELETE FROM log_chunks WHERE start_offset = 0");
    db.close();
    assert.throws(() => checkBytes("store", 6, bytesInFile(path)), /6 bytes were acknowledged, but 3 bytes are stored/);
  });

  it("the peers run the same statements as logs.append", () => {
    const context: Context = {
      now: new Date(0),
      limits: defaultLimits,
      serverState: idleServer,
      actor: undefined,
      wake: () => undefined,
      changed: () => undefined,
      counted: () => undefined,
      spent: () => undefined,
      measured: () => undefined,
      used: () => undefined,
      block: () => undefined,
    };
    const input = { commandId: "c", fence: 1, offset: 0, stream: "stdout", data: new Uint8Array(1) };
    const body = operations.logs.append.run(input as never, context);
    const row = {
      id: 1,
      log_state: "open",
      next_offset: 0,
      next_line: 0,
      limit_bytes: 9,
      dropped_bytes: 0,
      lease_expires_at: 1,
    };
    const statements = [textOf(body.next()), textOf(body.next(row))];
    assert.deepEqual(statements, [findAttempt, `${advance};${insertChunk}`].map(collapseWhitespace));
    assert.equal(body.next(2).done, true);
  });
});

/** Returns the statements of a query as text, without the lock comment that only PostgreSQL uses. */
function textOf({ value }: IteratorResult<Query<unknown>, unknown>): string {
  return collapseWhitespace(
    (value as Query<unknown>).statements
      .map(({ strings }) => strings.join("?").trim())
      .join(";")
      .replace("/*+ FOR UPDATE */", ""),
  );
}

function collapseWhitespace(statement: string): string {
  return statement
    .replace(/\s+/g, " ")
    .replace(/(?<=[(;]) | (?=\))/g, "")
    .trim();
}

describe("bench exits with code 2 and one line on stderr for", () => {
  const cases = {
    "a scenario and another bench": ["enqueue", "append"],
    "an option that scenarios do not take": ["enqueue", "--size", "9"],
    "an unknown name": ["walk"],
    "an unknown option": ["ladder", "--speed", "9"],
    "an option of another bench": ["ladder", "--threads", "2"],
    "an option that is not a number": ["append", "--rounds", "many"],
    "a number out of bounds": ["append", "--size", "65537"],
    "a list with an empty element": ["append", "--in-flight", "1,,2"],
    "two names": ["append", "ladder"],
    "a file that does not exist": ["render", join(folder, "absent.json")],
  };
  for (const [name, args] of Object.entries(cases)) {
    it(name, async () => {
      await assert.rejects(bench(...args), (error: { code?: unknown; stderr?: string }) => {
        assert.equal(error.code, 2);
        assert.match(error.stderr ?? "", /^bench: [^\n]+\n$/);
        return true;
      });
    });
  }
});
