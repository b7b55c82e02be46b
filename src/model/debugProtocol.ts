// The data of the Debug Adapter Protocol that is stored. Names and meanings are the protocol's; fields that it does not
// define are dropped. test/unit/model/debugProtocol.test.ts compares these schemas with the protocol's own types.
//
// https://microsoft.github.io/debug-adapter-protocol/specification#Types
import { z } from "zod";
import { bounds } from "../limits.ts";
import { filledText, text } from "./fields.ts";

/** Text from programs, of any length and content; it is made storable and cut before it is stored. */
const Text = z.string();
const Expression = text(10_000);
const Int = z.int();

export const Source = z.object({
  name: Text.optional(),
  path: Text.optional(),
  sourceReference: Int.optional(),
  presentationHint: Text.optional(),
  origin: Text.optional(),
});
export type Source = z.output<typeof Source>;

const conditions = { condition: Expression.optional(), hitCondition: Expression.optional() };
const mode = { mode: filledText(200).optional() };

export const SourceBreakpoint = z.strictObject({
  line: z.int().min(0),
  column: z.int().min(0).optional(),
  ...conditions,
  logMessage: Expression.optional(),
  ...mode,
});
export type SourceBreakpoint = z.output<typeof SourceBreakpoint>;
export const FunctionBreakpoint = z.strictObject({ name: filledText(1_000), ...conditions });
export const DataBreakpoint = z.strictObject({
  dataId: filledText(1_000),
  accessType: z.enum(["read", "write", "readWrite"]).optional(),
  ...conditions,
});
export const InstructionBreakpoint = z.strictObject({
  instructionReference: filledText(1_000),
  offset: Int.optional(),
  ...conditions,
  ...mode,
});
/** An exception breakpoint, either by a filter of the adapter or by exception names. */
export const ExceptionBreakpoint = z.union([
  z.strictObject({ filterId: filledText(200), condition: Expression.optional(), ...mode }),
  z.strictObject({
    breakMode: z.enum(["never", "always", "unhandled", "userUnhandled"]),
    path: z
      .array(z.strictObject({ negate: z.boolean().optional(), names: z.array(filledText(1_000)).max(100) }))
      .max(32)
      .optional(),
  }),
]);

/** The schema of each kind of breakpoint. One request sets all breakpoints of a kind, or all of one source file. */
const schemaOfKind = {
  source: SourceBreakpoint,
  function: FunctionBreakpoint,
  data: DataBreakpoint,
  instruction: InstructionBreakpoint,
  exception: ExceptionBreakpoint,
} as const;
export type BreakpointKind = keyof typeof schemaOfKind;
export const breakpointKinds = Object.keys(schemaOfKind) as [BreakpointKind, ...BreakpointKind[]];

export const RequestedBreakpoint = z.union(
  Object.values(schemaOfKind) as [
    typeof SourceBreakpoint,
    typeof FunctionBreakpoint,
    typeof DataBreakpoint,
    typeof InstructionBreakpoint,
    typeof ExceptionBreakpoint,
  ],
);
export type RequestedBreakpoint = z.output<typeof RequestedBreakpoint>;

/** A breakpoint as the adapter reports it. */
export const Breakpoint = z.object({
  id: Int.optional(),
  verified: z.boolean(),
  message: Text.optional(),
  source: Source.optional(),
  line: Int.optional(),
  column: Int.optional(),
  endLine: Int.optional(),
  endColumn: Int.optional(),
  instructionReference: Text.optional(),
  offset: Int.optional(),
  reason: Text.optional(),
});
export type Breakpoint = z.output<typeof Breakpoint>;

/**
 * Marks on a stored variable. `masked`: the value may be secret and was not stored. `valueLength`: the length of the
 * value before it was cut. `omittedVariables`: the number of child variables that were left out.
 */
const marks = { masked: z.boolean().optional(), valueLength: Int.optional(), omittedVariables: Int.optional() };

const plainVariable = z.object({
  name: Text,
  value: Text,
  type: Text.optional(),
  presentationHint: z
    .object({
      kind: Text.optional(),
      attributes: z.array(Text).max(20).optional(),
      visibility: Text.optional(),
      lazy: z.boolean().optional(),
    })
    .optional(),
  evaluateName: Text.optional(),
  variablesReference: Int,
  namedVariables: Int.optional(),
  indexedVariables: Int.optional(),
  memoryReference: Text.optional(),
  declarationLocationReference: Int.optional(),
  valueLocationReference: Int.optional(),
  ...marks,
});
/** A variable. `variables` are its children, if the adapter was asked for them. */
export type Variable = z.output<typeof plainVariable> & { readonly variables?: readonly Variable[] | undefined };
export const Variable: z.ZodType<Variable, Variable> = plainVariable.extend({
  variables: z.lazy(() => z.array(Variable)).optional(),
});

export const Scope = z.object({
  name: Text,
  presentationHint: Text.optional(),
  variablesReference: Int,
  namedVariables: Int.optional(),
  indexedVariables: Int.optional(),
  expensive: z.boolean(),
  source: Source.optional(),
  line: Int.optional(),
  column: Int.optional(),
  endLine: Int.optional(),
  endColumn: Int.optional(),
  omittedVariables: Int.optional(),
  variables: z.array(Variable).optional(),
});
export type Scope = z.output<typeof Scope>;

export const StackFrame = z.object({
  id: Int,
  name: Text,
  source: Source.optional(),
  line: Int,
  column: Int,
  endLine: Int.optional(),
  endColumn: Int.optional(),
  canRestart: z.boolean().optional(),
  instructionPointerReference: Text.optional(),
  moduleId: z.union([z.number(), Text]).optional(),
  presentationHint: Text.optional(),
  omittedScopes: Int.optional(),
  scopes: z.array(Scope).optional(),
});
export type StackFrame = z.output<typeof StackFrame>;

/** A thread with its frames, innermost first. `totalFrames` means the same as in the stackTrace response. */
export const Thread = z.object({
  id: Int,
  name: Text,
  totalFrames: Int.min(0).optional(),
  frames: z
    .array(StackFrame)
    .max(10_000)
    .default(() => []),
});
export type Thread = z.output<typeof Thread>;

const reason = { reason: Text };

/**
 * The bodies of events that change stored state. Other events may have any body. What the protocol requires is optional
 * here where adapters are known to leave it out.
 */
export const eventBodies = {
  stopped: z.object({
    ...reason,
    description: Text.optional(),
    threadId: Int.optional(),
    preserveFocusHint: z.boolean().optional(),
    text: Text.optional(),
    allThreadsStopped: z.boolean().optional(),
    hitBreakpointIds: z.array(Int).max(bounds.debugBreakpoints).optional(),
  }),
  continued: z.object({ threadId: Int.optional(), allThreadsContinued: z.boolean().optional() }),
  thread: z.object({ ...reason, threadId: Int }),
  exited: z.object({ exitCode: Int.nullish() }).optional(),
  terminated: z.unknown(),
  initialized: z.unknown(),
  breakpoint: z.object({ ...reason, breakpoint: Breakpoint }),
  invalidated: z
    .object({ areas: z.array(Text).optional(), threadId: Int.optional(), stackFrameId: Int.optional() })
    .optional(),
  capabilities: z.object({ capabilities: z.record(Text, z.unknown()) }),
} as const;
type KnownEvent = keyof typeof eventBodies;

export function isKnownEvent(event: string): event is KnownEvent {
  return Object.hasOwn(eventBodies, event);
}
