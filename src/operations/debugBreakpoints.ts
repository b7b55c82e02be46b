// What to stop at: as it was asked for, and what the adapter made of it (D-072).
import { z } from "zod";
import { bounds } from "../limits.ts";
import { integer, list, record } from "../model/codec.ts";
import {
  AdapterRun,
  BoundInput,
  boundOf,
  DebugBreakpoint,
  type DebugBreakpointRow,
  kindOf,
  setFields,
} from "../model/debug.ts";
import { Breakpoint, breakpointKinds, RequestedBreakpoint } from "../model/debugProtocol.ts";
import { Id, Path, Version } from "../model/fields.ts";
import { newId } from "../model/ids.ts";
import { maskingOf, SecretNames } from "../model/masking.ts";
import { fail, sealedOperation } from "../operation.ts";
import { all, changeEach, first, type Statement, sql } from "../sql.ts";
import { lockDebugSession, requireOpenDebugSession, saveDebugSession } from "./debugState.ts";
import { requireVersion } from "./versions.ts";

const setKeys = {
  debugSessionId: Id,
  kind: z.enum(breakpointKinds).default("source"),
  sourcePath: Path.optional(),
  expectedVersion: Version.optional(),
};

/**
 * Replaces all breakpoints of one source, or all of another kind.
 *
 * Input    kind: source unless named; sourcePath: for kind source; breakpoints: as in the protocol's request for that kind; an empty list removes them
 * Result   the rows in that order. One that is asked for as before is the same row, with its id, what the adapter made of it, and its hit count; one of which
 *          anything was changed is a new row
 * Fails    not_found | invalid_transition when the debug session has ended | conflict { reason: "version" } | invalid_input beyond 1 000 in all
 * Effect   one row of changes, of the debug session, unless nothing changed
 */
export const setBreakpoints = sealedOperation({
  access: "write",
  publicInput: z
    .strictObject({
      ...setKeys,
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
          message: "is for breakpoints of kind source, and they need it",
        });
      }
      for (const [index, breakpoint] of breakpoints.entries()) {
        if (kindOf(breakpoint) !== kind)
          context.addIssue({ code: "custom", path: ["breakpoints", index], message: `is not one of kind ${kind}` });
      }
    }),
  seal: ({ breakpoints, ...rest }) => ({
    wireInput: {
      ...rest,
      breakpoints: breakpoints.map((requested) => ({
        id: newId(),
        ...("line" in requested ? { line: requested.line } : {}),
        requested,
      })),
    },
  }),
  open: (output) => output,
  input: z.strictObject({ ...setKeys, breakpoints: z.array(setFields).max(bounds.debugBreakpoints) }),
  output: list(DebugBreakpoint),
  errors: ["not_found", "invalid_transition", "conflict"],
  *run({ debugSessionId, kind, sourcePath, breakpoints, expectedVersion }, context) {
    const { now } = context;
    const before = yield* lockDebugSession(debugSessionId);
    requireOpenDebugSession(before);
    requireVersion(before, expectedVersion);
    const ofKind = yield* all<DebugBreakpointRow>(sql`
      SELECT * FROM debug_breakpoints WHERE debug_session_id = ${debugSessionId} AND kind = ${kind} ORDER BY position LIMIT ${bounds.debugBreakpoints}`);
    const left = ofKind.filter((row) => row.source_path === (sourcePath ?? null));
    const had = left.length;
    const statements: Statement[] = [];
    let made = 0;
    for (const [position, { id, line, requested }] of breakpoints.entries()) {
      const at = left.findIndex((row) => row.requested === requested);
      const [same] = at === -1 ? [] : left.splice(at, 1);
      if (same === undefined) {
        // One that was changed is another one (D-071).
        made++;
        statements.push(sql`
          INSERT INTO debug_breakpoints (id, debug_session_id, kind, source_path, position, line, requested, created_at, updated_at)
          VALUES (${id}, ${debugSessionId}, ${kind}, ${sourcePath ?? null}, ${position}, ${line ?? null}, ${requested}, ${now}, ${now})`);
      } else if (same.position !== position)
        statements.push(sql`UPDATE debug_breakpoints SET position = ${position} WHERE id = ${same.id}`);
    }
    for (const { id } of left) statements.push(sql`DELETE FROM debug_breakpoints WHERE id = ${id}`);
    const count = before.breakpoint_count - had + breakpoints.length;
    if (count > bounds.debugBreakpoints)
      fail("invalid_input", {}, `a debug session has at most ${bounds.debugBreakpoints} breakpoints`);
    if (statements.length > 0) {
      yield* changeEach(statements);
      const changed = made > 0 || left.length > 0;
      const detail = { kind, sourcePath, breakpoints: breakpoints.length };
      yield* saveDebugSession(
        before,
        { breakpoint_count: count },
        context,
        changed ? "set_breakpoints" : undefined,
        detail,
      );
    }
    const rows = yield* all<DebugBreakpointRow>(sql`
      SELECT * FROM debug_breakpoints WHERE debug_session_id = ${debugSessionId} AND kind = ${kind} ORDER BY position LIMIT ${bounds.debugBreakpoints}`);
    return rows.filter((row) => row.source_path === (sourcePath ?? null));
  },
});

/**
 * Tells what the adapter made of breakpoints: the answer to its setBreakpoints request. Those that were replaced meanwhile are passed over.
 *
 * Input    bound: our ids with the protocol's Breakpoint, whose line may be another than was asked for
 * Result   { bound }: of how many it was stored
 * Fails    not_found | invalid_transition when the debug session has ended | conflict { reason: "run", currentRun }
 * Effect   one row of changes, of the debug session, unless nothing changed
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
  open: (output) => output,
  input: z.strictObject({
    debugSessionId: Id,
    adapterRun: AdapterRun,
    bound: z.array(BoundInput).max(bounds.debugBreakpoints),
  }),
  output: record({ bound: integer }),
  errors: ["not_found", "invalid_transition", "conflict"],
  *run({ debugSessionId, adapterRun, bound }, context) {
    const before = yield* lockDebugSession(debugSessionId, adapterRun);
    requireOpenDebugSession(before);
    let [found, changed] = [0, 0];
    for (const { breakpointId, adapterId, verified, bound: made } of bound) {
      const row = yield* first<DebugBreakpointRow>(
        sql`SELECT * FROM debug_breakpoints WHERE id = ${breakpointId} AND debug_session_id = ${debugSessionId}`,
      );
      if (row === undefined) continue;
      found++;
      if (row.bound === made) continue;
      changed += yield* changeEach([
        sql`
        UPDATE debug_breakpoints SET adapter_id = ${adapterId ?? null}, verified = ${verified}, bound = ${made}, version = version + 1,
          updated_at = ${context.now}
        WHERE id = ${breakpointId}`,
      ]);
    }
    if (changed > 0) yield* saveDebugSession(before, {}, context, "bind_breakpoints", { breakpoints: changed });
    return { bound: found };
  },
});
