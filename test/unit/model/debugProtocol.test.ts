// Compares the stored data with the protocol's own types: what an adapter sends is accepted unchanged, and no field is
// lost except those named here.
import assert from "node:assert/strict";
import { it } from "node:test";
import type { DebugProtocol } from "@vscode/debugprotocol";
import type { z } from "zod";
import * as stored from "../../../src/model/debugProtocol.ts";

const source: Required<Omit<DebugProtocol.Source, "sources" | "adapterData" | "checksums">> = {
  name: "main.js",
  path: "/srv/main.js",
  sourceReference: 1,
  presentationHint: "normal",
  origin: "internal module",
};
const range = { line: 1, column: 2, endLine: 3, endColumn: 4 };

/** One sample of each type with all its fields. It does not compile when the protocol has more fields. */
const samples: readonly (readonly [z.ZodType, object])[] = [
  [stored.Source, source],
  [
    stored.SourceBreakpoint,
    {
      line: 1,
      column: 2,
      condition: "a",
      hitCondition: "1",
      logMessage: "l",
      mode: "m",
    } satisfies Required<DebugProtocol.SourceBreakpoint>,
  ],
  [
    stored.FunctionBreakpoint,
    { name: "f", condition: "a", hitCondition: "1" } satisfies Required<DebugProtocol.FunctionBreakpoint>,
  ],
  [
    stored.DataBreakpoint,
    {
      dataId: "d",
      accessType: "write",
      condition: "a",
      hitCondition: "1",
    } satisfies Required<DebugProtocol.DataBreakpoint>,
  ],
  [
    stored.InstructionBreakpoint,
    {
      instructionReference: "i",
      offset: 1,
      condition: "a",
      hitCondition: "1",
      mode: "m",
    } satisfies Required<DebugProtocol.InstructionBreakpoint>,
  ],
  [
    stored.ExceptionBreakpoint,
    { filterId: "f", condition: "a", mode: "m" } satisfies Required<DebugProtocol.ExceptionFilterOptions>,
  ],
  [
    stored.ExceptionBreakpoint,
    { path: [{ negate: true, names: ["E"] }], breakMode: "always" } satisfies Required<DebugProtocol.ExceptionOptions>,
  ],
  [
    stored.Breakpoint,
    {
      id: 1,
      verified: true,
      message: "m",
      source,
      ...range,
      instructionReference: "i",
      offset: 1,
      reason: "pending",
    } satisfies Required<DebugProtocol.Breakpoint>,
  ],
  [
    stored.StackFrame,
    {
      ...{
        id: 1,
        name: "f",
        source,
        ...range,
        canRestart: true,
        instructionPointerReference: "i",
        moduleId: "m",
        presentationHint: "normal",
      },
    } as Required<DebugProtocol.StackFrame>,
  ],
  [
    stored.Scope,
    {
      name: "s",
      presentationHint: "locals",
      variablesReference: 1,
      namedVariables: 1,
      indexedVariables: 1,
      expensive: false,
      source,
      ...range,
    } satisfies Required<DebugProtocol.Scope>,
  ],
  [
    stored.Variable,
    {
      ...{
        name: "v",
        value: "1",
        type: "int",
        variablesReference: 0,
        evaluateName: "v",
        namedVariables: 1,
        indexedVariables: 1,
        memoryReference: "m",
      },
      presentationHint: {
        kind: "data",
        attributes: ["static"],
        visibility: "public",
        lazy: true,
      } satisfies Required<DebugProtocol.VariablePresentationHint>,
      declarationLocationReference: 1,
      valueLocationReference: 2,
    } satisfies Required<DebugProtocol.Variable>,
  ],
  [
    stored.eventBodies.stopped,
    {
      reason: "step",
      description: "d",
      threadId: 1,
      text: "t",
      allThreadsStopped: true,
      hitBreakpointIds: [1],
    } satisfies Partial<DebugProtocol.StoppedEvent["body"]>,
  ],
  [
    stored.eventBodies.continued,
    { threadId: 1, allThreadsContinued: true } satisfies Required<DebugProtocol.ContinuedEvent["body"]>,
  ],
  [stored.eventBodies.exited, { exitCode: 1 } satisfies Required<DebugProtocol.ExitedEvent["body"]>],
  [
    stored.eventBodies.breakpoint,
    { reason: "new", breakpoint: { verified: true } } satisfies Required<DebugProtocol.BreakpointEvent["body"]>,
  ],
];

it("every field of the protocol is stored", () => {
  for (const [schema, sample] of samples) assert.deepEqual(schema.parse(sample), sample);
});

// Only the compiler checks this: the inputs accept the types of an adapter.
const accepted: {
  readonly frame: z.input<typeof stored.StackFrame>;
  readonly scope: z.input<typeof stored.Scope>;
  readonly variable: z.input<typeof stored.Variable>;
  readonly thread: z.input<typeof stored.Thread>;
  readonly breakpoint: z.input<typeof stored.Breakpoint>;
} = {} as {
  frame: DebugProtocol.StackFrame;
  scope: DebugProtocol.Scope;
  variable: DebugProtocol.Variable;
  thread: DebugProtocol.Thread;
  breakpoint: DebugProtocol.Breakpoint;
};
void accepted;
