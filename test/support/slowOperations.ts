// The operations of a store, and a read that takes as long as a test wants: in one statement, or in many short ones.
import { z } from "zod";
import { integer, record } from "../../src/model/codec.ts";
import { type AnyOperation, operation } from "../../src/operation.ts";
import { servedOperations } from "../../src/operations/table.ts";
import { first, sql } from "../../src/sql.ts";

const read = operation({
  access: "read",
  input: z.strictObject({ statements: z.int().min(1), rows: z.int().min(1) }),
  output: record({ rows: integer }),
  errors: [],
  extent: () => "whole",
  *run({ statements, rows }) {
    let read = 0;
    for (let index = 0; index < statements; index++) {
      const counted = yield* first<{ rows: number }>(sql`
        WITH RECURSIVE numbers (number) AS (
          SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < ${rows}
        )
        SELECT count(*) AS rows FROM numbers`);
      read += counted?.rows ?? 0;
    }
    return { rows: read };
  },
});

/** The slow read has the name of an operation that ports may reach. */
export const slowOperations = {
  ...servedOperations,
  tokens: { ...servedOperations.tokens, list: read as AnyOperation },
};
