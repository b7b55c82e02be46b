// Runs the bodies that migrate a schema or read it. Operations run in a Transaction (transaction.ts) instead.

import type pg from "pg";
import { type Body, BodyRun, type Query, type QueryOutcome } from "../sql.ts";
import { translate } from "./errors.ts";
import { withPlaceholders } from "./statements.ts";

/**
 * Runs a body in the transaction that the caller has begun. A failed query is thrown into the body, so that a migration
 * can add the place of the failure.
 */
export async function runBody<Result>(client: pg.Client, body: Body<Result>): Promise<Result> {
  const run = new BodyRun(body);
  let next = run.advance();
  while (!next.done) next = run.advance(await outcomeOf(client, next.value));
  return next.value;
}

async function outcomeOf(client: pg.Client, query: Query<unknown>): Promise<QueryOutcome> {
  try {
    return { answer: await answerTo(client, query) };
  } catch (error) {
    return { failure: translate(error) };
  }
}

async function answerTo(client: pg.Client, { kind, statements }: Query<unknown>): Promise<unknown> {
  const results: pg.QueryResult[] = [];
  for (const { strings, values } of statements)
    results.push(await client.query(withPlaceholders(strings), [...values]));
  if (kind === "change") return results.reduce((sum, { rowCount }) => sum + (rowCount ?? 0), 0);
  return kind === "all" ? results[0]?.rows : results[0]?.rows[0];
}
