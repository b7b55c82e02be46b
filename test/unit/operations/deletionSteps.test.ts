// The steps of sessions.delete: each removes a bounded number of rows, which a client does not see.
import assert from "node:assert/strict";
import { it } from "node:test";
import { operations } from "../../../src/operations/table.ts";
import { memoryDispatcher } from "../../support/memoryDriver.ts";

/** Creates an ended session with these commands, and returns a function that runs one step of its deletion. */
async function endedSession(inputs: readonly { argv: string[] }[]) {
  const { run, db } = memoryDispatcher(operations);
  const call = async (name: string, wire: readonly unknown[]) => {
    const [[[ok, result]]] = await run([name, ...wire]);
    assert.ok(ok, `${name}: ${result}`);
  };
  const { sessions, repositories, runners, commands } = operations;
  await call("repositories.upsert", repositories.upsert.encode({ name: "a" }));
  const idOf = (table: string) => db.prepare(`SELECT id FROM ${table}`).pluck().get() as string;
  await call(
    "sessions.create",
    sessions.create.encode({ repositoryId: idOf("repositories"), commitSha: "a".repeat(40) }),
  );
  const sessionId = idOf("sessions");
  for (const input of inputs) await call("commands.enqueue", commands.enqueue.encode({ sessionId, commands: [input] }));
  await call("runners.register", runners.register.encode({ name: "r" }));
  await call("sessions.cancel", sessions.cancel.encode({ sessionId }));
  return {
    db,
    sessionId,
    runnerId: idOf("runners"),
    count: (table: string) => db.prepare(`SELECT count(*) FROM ${table}`).pluck().get() as number,
    step: () => call("sessions.delete", sessions.delete.encode({ sessionId })),
  };
}

const small = (count: number) => Array.from({ length: count }, () => ({ argv: ["true"] }));

it("a step looks only at the first commands: those before a log are deleted before it", async () => {
  const { db, runnerId, count, step } = await endedSession(small(300));
  const id = db.prepare("SELECT id FROM commands ORDER BY sequence DESC LIMIT 1").pluck().get();
  db.prepare(
    `INSERT INTO attempts (id, command_id, attempt, fence, runner_id, started_at, limit_bytes, outcome, ended_at, log_state)
     VALUES (1, ?, 1, 1, ?, 0, 1, 'lost', 0, 'sealed')`,
  ).run(id, runnerId);
  db.exec("INSERT INTO log_chunks VALUES (1, 0, 1, 0, 0, 'stdout', 0, x'61')");
  const left: (readonly number[])[] = [];
  while (count("sessions") > 0) {
    await step();
    left.push(["commands", "log_chunks"].map(count));
  }
  assert.deepEqual(left, [
    [44, 1],
    [44, 0],
    [0, 0],
    [0, 0],
  ]);
});

it("a step removes at most 256 attempts, and those of a command are removed together", async () => {
  const { db, runnerId, count, step } = await endedSession(small(6));
  db.prepare(
    `WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100)
     INSERT INTO attempts (command_id, attempt, fence, runner_id, started_at, limit_bytes)
     SELECT id, n, n, ?, 0, 1 FROM commands, numbers`,
  ).run(runnerId);
  await step();
  assert.deepEqual(["commands", "attempts"].map(count), [3, 300]);
});

it("a step removes some MiB of commands or artifacts", async () => {
  const { db, sessionId, count, step } = await endedSession(
    Array.from({ length: 40 }, () => ({ argv: ["x".repeat(120_000), "y".repeat(120_000)] })),
  );
  db.prepare(
    `WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 40)
     INSERT INTO artifacts (id, session_id, name, kind, state, metadata, created_at, updated_at)
     SELECT n, ?, n, 'custom', 'failed', json_array(printf('%.240000c', 'z')), n, n FROM numbers`,
  ).run(sessionId);
  const left: (readonly number[])[] = [];
  while (count("sessions") > 0) {
    await step();
    left.push(["artifacts", "commands"].map(count));
  }
  assert.deepEqual(left, [
    [23, 40],
    [6, 40],
    [0, 23],
    [0, 6],
    [0, 0],
    [0, 0],
  ]);
});

it("the commands of a session are deleted 256 in a step, with their attempts, and the session last", async () => {
  const { run, db } = memoryDispatcher(operations);
  const { sessions, commands, repositories, runners } = operations;
  const call = async (name: string, wire: readonly unknown[]) => {
    const [[[ok, result]]] = await run([name, ...wire]);
    assert.ok(ok, `${name}: ${result}`);
    return result as readonly unknown[];
  };
  await call("repositories.upsert", repositories.upsert.encode({ name: "a" }));
  const idOf = (table: string) => db.prepare(`SELECT id FROM ${table}`).pluck().get() as string;
  const commandInputs = Array.from({ length: 400 }, () => ({ argv: ["true"] }));
  const input = { repositoryId: idOf("repositories"), commitSha: "a".repeat(40), commands: commandInputs };
  await call("sessions.create", sessions.create.encode(input));
  const sessionId = idOf("sessions");
  await call("runners.register", runners.register.encode({ name: "r" }));
  await call("commands.claim", commands.claim.encode({ runnerId: idOf("runners"), sessionId }));
  const commandId = db.prepare("SELECT command_id FROM attempts").pluck().get() as string;
  await call("commands.finish", commands.finish.encode({ commandId, fence: 1, outcome: "succeeded" }));
  await call("sessions.cancel", sessions.cancel.encode({ sessionId }));

  const count = (table: string) => db.prepare(`SELECT count(*) FROM ${table}`).pluck().get() as number;
  const left: (readonly number[])[] = [];
  while (count("sessions") > 0) {
    await call("sessions.delete", sessions.delete.encode({ sessionId }));
    left.push(["sessions", "commands", "attempts"].map(count));
  }
  assert.deepEqual(left, [
    [1, 144, 0],
    [1, 0, 0],
    [0, 0, 0],
  ]);
});
