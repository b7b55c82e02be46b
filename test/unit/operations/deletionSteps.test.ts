// The steps of sessions.delete: each removes a bounded number of rows, which a client does not see.
import assert from "node:assert/strict";
import { it } from "node:test";
import { operations } from "../../../src/operations/table.ts";
import { memoryDispatcher } from "../../support/memoryDriver.ts";

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
