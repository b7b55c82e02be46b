// Breakpoints of a debug session. Callers set them; a separate operation binds the adapter's answer to them, because an
// adapter may answer late, or after the caller has set them again (D-072).
import { z } from "zod";
import { bounds } from "../limits.ts";
import { integer, list, record } from "../model/codec.ts";
import { DebugBreakpoint, type DebugBreakpointRow } from "../model/debug.ts";
import { AdapterRun, BoundInput, boundOf, canonical, kindOf, requestKey, SetInput } from "../model/debugInputs.ts";
import { Breakpoint, breakpointKinds, RequestedBreakpoint } from "../model/debugProtocol.ts";
import { Id, Path, Version } from "../model/fields.ts";
import { newId } from "../model/ids.ts";
import { maskingOf } from "../model/masking.ts";
import { SecretNames } from "../model/secretNames.ts";
import { sourceKey } from "../model/sourcePaths.ts";
import { fail, sealedOperation } from "../operation.ts";
import { present } from "../present.ts";
import { all, change, changeEach, first, one, type Statement, sql, step } from "../sql.ts";
import { bindingOf, readReported, takeOver } from "./debugBindings.ts";
import { noteBreakpoints } from "./debugHistory.ts";
import { lockDebugSession, requireOpenDebugSession, saveDebugSession } from "./debugState.ts";
import { textBytes } from "./rows.ts";
import { requireVersion } from "./versions.ts";

const setFields = {
  debugSessionId: Id,
  kind: z.enum(breakpointKinds).default("source"),
  sourcePath: Path.optional(),
  expectedVersion: Version.optional(),
};

/**
 * Replaces all breakpoints of one source file, or all breakpoints of another kind.
 *
 * Input    sourcePath: required for kind source, and not allowed for other kinds. breakpoints: as in the protocol's
 *          request for that kind; an empty list removes all
 * Result   the breakpoints in the order of the input. A breakpoint that is requested again unchanged keeps its id,
 *          binding and hit count, also if its fields, or the path of its file, are written in another way: a file URL, or
 *          another case of a Windows drive. The first way to write the path stays. A breakpoint with any change is a new
 *          row. Those that the adapter has made by itself (origin) are not among them, and stay
 * Fails    not_found | invalid_transition when the debug session has ended | conflict { reason: "version" }
 *          | invalid_input beyond 1 000 breakpoints in all
 * Effect   the rows of debug_breakpoints; one row of changes, for the debug session, unless nothing changed
 */
export const setBreakpoints = sealedOperation({
  access: "write",
  publicInput: z
    .strictObject({
      ...setFields,
      breakpoints: z
        .array(RequestedBreakpoint)
        .max(bounds.debugBreakpoints)
        .describe("breakpoints of that kind, as in the protocol"),
    })
    .superRefine(({ kind, sourcePath, breakpoints }, context) => {
      if ((kind === "source") !== (sourcePath !== undefined)) {
        context.addIssue({
          code: "custom",
          path: ["sourcePath"],
          message: "must be present for kind source, and absent for other kinds",
        });
      }
      for (const [index, breakpoint] of breakpoints.entries()) {
        if (kindOf(breakpoint) !== kind)
          context.addIssue({ code: "custom", path: ["breakpoints", index], message: `must be of kind ${kind}` });
      }
    }),
  seal: ({ breakpoints, ...rest }) => ({
    wireInput: {
      ...rest,
      breakpoints: breakpoints.map((requested) => ({
        ...present({ line: "line" in requested ? requested.line : undefined }),
        id: newId(),
        requested: canonical(requested),
      })),
    },
  }),
  input: z.strictObject({ ...setFields, breakpoints: z.array(SetInput).max(bounds.debugBreakpoints) }),
  output: list(DebugBreakpoint),
  errors: ["not_found", "invalid_transition", "conflict"],
  *run({ debugSessionId, kind, sourcePath, breakpoints, expectedVersion }, context) {
    const { now } = context;
    const before = yield* lockDebugSession(debugSessionId, undefined, context);
    requireOpenDebugSession(before);
    requireVersion(before, expectedVersion);
    const rows = yield* readBreakpoints(debugSessionId, kind, sourcePath);
    const unmatched = rows.map((row) => ({ row, key: requestKey(row.requested) }));
    const path = rows[0]?.source_path ?? sourcePath ?? null;
    const statements: Statement[] = [];
    let insertCount = 0;
    for (const [position, { id, line, requested }] of breakpoints.entries()) {
      // A breakpoint with any change is another breakpoint (D-071).
      const key = requestKey(requested);
      const index = unmatched.findIndex((known) => known.key === key);
      const same = index === -1 ? undefined : unmatched.splice(index, 1)[0]?.row;
      if (same === undefined) {
        insertCount++;
        statements.push(sql`
          INSERT INTO debug_breakpoints (
            id,
            debug_session_id,
            kind,
            source_path,
            position,
            line,
            requested,
            as_of,
            created_at,
            updated_at
          ) VALUES (
            ${id},
            ${debugSessionId},
            ${kind},
            ${path},
            ${position},
            ${line ?? null},
            ${requested},
            ${before.next_position - 1},
            ${now},
            ${now}
          )`);
      } else if (same.position !== position) {
        statements.push(sql`UPDATE debug_breakpoints SET position = ${position} WHERE id = ${same.id}`);
      }
    }
    for (const { row } of unmatched) statements.push(sql`DELETE FROM debug_breakpoints WHERE id = ${row.id}`);
    const count = before.breakpoint_count - rows.length + breakpoints.length;
    if (count > bounds.debugBreakpoints) {
      const message = `breakpoints: the debug session would have ${count}, and may have ${bounds.debugBreakpoints}`;
      fail("invalid_input", {}, message);
    }
    if (statements.length === 0) return rows;
    yield* changeEach(statements);
    const { bytes } = yield* one<{ bytes: number }>(sql`
      SELECT CAST(SUM(${textBytes(sql`source_path`, sql`requested`, sql`bound`)}) AS bigint) AS bytes FROM debug_breakpoints
      WHERE debug_session_id = ${debugSessionId}`);
    if (bytes > bounds.debugBreakpointBytes) {
      const message = `breakpoints: those of the debug session would take ${bytes} bytes as JSON, and may take ${bounds.debugBreakpointBytes}`;
      fail("invalid_input", {}, message);
    }
    const op = insertCount > 0 || unmatched.length > 0 ? "set_breakpoints" : undefined;
    const detail = { kind, sourcePath, breakpoints: breakpoints.length };
    if (op !== undefined) {
      const requested = breakpoints.map((breakpoint) => breakpoint.requested);
      yield* noteBreakpoints(before, { kind, sourcePath }, requested, context);
    }
    yield* saveDebugSession(before, { breakpoint_count: count }, context, op, detail);
    return yield* readBreakpoints(debugSessionId, kind, sourcePath);
  },
});

/** Lists the breakpoints that clients have set in one source file, or those of another kind, in their order. */
const readBreakpoints = step(function* (debugSessionId: string, kind: string, sourcePath: string | undefined) {
  // The source is compared here and not in SQL, because a condition on it would need another index, for 1 000 rows at
  // most.
  const rows = yield* all<DebugBreakpointRow>(sql`
    SELECT * FROM debug_breakpoints
    WHERE debug_session_id = ${debugSessionId} AND kind = ${kind} AND origin = 'client'
    ORDER BY position LIMIT ${bounds.debugBreakpoints}`);
  const key = sourceKey(sourcePath ?? "");
  return rows.filter((row) => sourceKey(row.source_path ?? "") === key);
});

/**
 * Records the adapter's answer to a setBreakpoints request. Breakpoints that were replaced meanwhile are skipped.
 *
 * Input    bound: the store's ids, each with the protocol's Breakpoint; its line may differ from the requested one. An
 *          event about one of them that came after it was set, and before this answer, is later than the answer. A
 *          breakpoint that the adapter seemed to have made by itself is taken over by the one that it is bound to
 * Result   { bound }, the number of these breakpoints that still exist
 * Fails    not_found | invalid_transition when the debug session has ended | conflict { reason: "run", currentRun }
 * Effect   the rows of debug_breakpoints; one row of changes, for the debug session, unless nothing changed
 */
export const bindBreakpoints = sealedOperation({
  access: "write",
  publicInput: z.strictObject({
    debugSessionId: Id,
    adapterRun: AdapterRun,
    bound: z
      .array(z.strictObject({ breakpointId: Id, breakpoint: Breakpoint }))
      .min(1)
      .max(bounds.debugBreakpoints)
      .describe("list of { breakpointId: id, breakpoint: a Breakpoint, as in the protocol }"),
    secretNames: SecretNames,
  }),
  seal: ({ bound, secretNames, ...rest }) => {
    const masking = maskingOf(secretNames);
    return {
      wireInput: {
        ...rest,
        bound: bound.map(({ breakpointId, breakpoint }) => ({ breakpointId, ...boundOf(breakpoint, masking) })),
      },
    };
  },
  input: z.strictObject({
    debugSessionId: Id,
    adapterRun: AdapterRun,
    bound: z.array(BoundInput).max(bounds.debugBreakpoints),
  }),
  output: record({ bound: integer }),
  errors: ["not_found", "invalid_transition", "conflict"],
  *run({ debugSessionId, adapterRun, bound }, context) {
    const before = yield* lockDebugSession(debugSessionId, adapterRun, context);
    requireOpenDebugSession(before);
    const reported = yield* readReported(before);
    const taken = new Map<object, string>();
    let [foundCount, changedCount] = [0, 0];
    for (const answer of bound) {
      const row = yield* first<DebugBreakpointRow>(
        sql`SELECT * FROM debug_breakpoints WHERE id = ${answer.breakpointId} AND debug_session_id = ${debugSessionId}`,
      );
      if (row === undefined) continue;
      foundCount++;
      const earlier = reported.get(answer.adapterId ?? Number.NaN) ?? {};
      const { adapterId, verified, bound: binding, hits } = bindingOf(row, answer, earlier);
      taken.set(earlier, row.id);
      if (row.bound === binding && hits === 0) continue;
      changedCount += yield* change(sql`
        UPDATE debug_breakpoints SET
          adapter_id = ${adapterId},
          verified = ${verified},
          bound = ${binding},
          hit_count = hit_count + ${hits},
          version = version + 1,
          updated_at = ${context.now}
        WHERE id = ${row.id}`);
    }
    const columns = yield* takeOver(before, taken);
    if (changedCount > 0)
      yield* saveDebugSession(before, columns, context, "bind_breakpoints", { breakpoints: changedCount });
    return { bound: foundCount };
  },
});
