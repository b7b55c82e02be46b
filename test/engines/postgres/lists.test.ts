// PostgreSQL reads every list along an index, in both orders, with every combination of filters.
import assert from "node:assert/strict";
import { test } from "node:test";
import pg from "pg";
import { openStore } from "../../../src/index.ts";
import type { AnyOperation } from "../../../src/operation.ts";
import { operations } from "../../../src/operations/table.ts";
import { encode, PreparedStatements } from "../../../src/postgres/statements.ts";
import { BodyRun, type Statement } from "../../../src/sql.ts";
import { listInputs } from "../../conformance/queryPlans.ts";
import { dropDatabase, newDatabase } from "../../support/postgres.ts";

interface Plan {
  readonly "Node Type": string;
  readonly "Index Cond"?: string;
  readonly Plans?: readonly Plan[];
}

const nodesOf = (plan: Plan): readonly Plan[] => [plan, ...(plan.Plans ?? []).flatMap(nodesOf)];

/** Returns the statements of a list, as if no row were found by any of them. */
function statementsOf({ inputSchema, run }: AnyOperation, input: object): readonly Statement[] {
  const body = new BodyRun(run(inputSchema.parse(input) as never, {} as never));
  const statements: Statement[] = [];
  for (let next = body.advance(); !next.done; ) {
    statements.push(...next.value.statements);
    next = body.advance({ answer: next.value.kind === "all" ? [] : undefined });
  }
  return statements;
}

test("no list sorts or reads a whole table, and a later page begins at its cursor", async (t) => {
  const url = await newDatabase();
  await (await openStore({ url })).close();
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  t.after(async () => {
    await client.end();
    await dropDatabase(url);
  });
  // The tables are empty, so that any plan would do: these are taken only where no index gives the order.
  for (const step of ["sort", "incremental_sort", "seqscan", "bitmapscan"])
    await client.query(`SET enable_${step} = off`);
  const seen = new Set<readonly string[]>();
  const faults: string[] = [];
  const prepared = new PreparedStatements();
  let laterPages = 0;
  for (const { entity, input } of listInputs()) {
    for (const { strings, values } of statementsOf(operations[entity].list, input)) {
      if (seen.has(strings)) continue;
      seen.add(strings);
      const { text } = prepared.get(strings);
      const { rows } = await client.query(`EXPLAIN (FORMAT JSON) ${text}`, values.map(encode));
      const nodes = nodesOf(rows[0]["QUERY PLAN"][0].Plan);
      const scans = nodes.filter((node) => node["Node Type"].includes("Scan"));
      const isLater = "cursor" in input && /\(created_at, id\) [<>] \(|sequence [<>] /.test(text);
      if (isLater) laterPages++;
      const isGood =
        scans.length > 0 &&
        scans.every(
          (scan) =>
            /^Index (Only )?Scan/.test(scan["Node Type"]) &&
            (!isLater || /ROW\(created_at, id\) [<>]|sequence [<>]/.test(scan["Index Cond"] ?? "")),
        ) &&
        !nodes.some((node) => node["Node Type"].includes("Sort"));
      if (!isGood) faults.push(`${text}\n${JSON.stringify(rows[0]["QUERY PLAN"][0].Plan)}`);
    }
  }
  assert.ok(laterPages > 500, `${laterPages} statements`);
  assert.deepEqual(faults.slice(0, 3), []);
});
