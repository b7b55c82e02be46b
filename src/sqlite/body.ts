// Runs the bodies that migrate a schema or read it. Operations run in a Transaction (transaction.ts) instead.

import type Database from "better-sqlite3";
import { type Body, BodyRun, type Query, type QueryOutcome } from "../sql.ts";
import { pathOf } from "./connection.ts";
import { translate } from "./errors.ts";

/**
 * Runs a body. The caller begins a transaction first where one is needed. A failed query is thrown into the body, so
 * that a migration can add the place of the failure.
 */
export function runBody<Result>(db: Database.Database, body: Body<Result>): Result {
  const run = new BodyRun(body);
  let next = run.advance();
  while (!next.done) next = run.advance(outcomeOf(db, next.value));
  return next.value;
}

function outcomeOf(db: Database.Database, query: Query<unknown>): QueryOutcome {
  try {
    return { answer: answerTo(db, query) };
  } catch (error) {
    return { failure: translate(error, pathOf(db)) };
  }
}

function answerTo(db: Database.Database, { kind, statements }: Query<unknown>): unknown {
  const results = statements.map(({ strings, values }) => {
    const statement = db.prepare<unknown[]>(strings.join("?"));
    if (kind === "change") return statement.reader ? statement.all(values).length : statement.run(values).changes;
    return kind === "all" ? statement.all(values) : statement.get(values);
  });
  return kind === "change" ? (results as number[]).reduce((sum, changes) => sum + changes, 0) : results[0];
}
