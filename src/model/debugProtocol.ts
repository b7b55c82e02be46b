// The data of the Debug Adapter Protocol that is stored: https://microsoft.github.io/debug-adapter-protocol/specification#Types
// Names and meanings are the protocol's. What it does not name is dropped; test/unit/model/debugProtocol.test.ts holds it against the protocol's own types.
import { z } from "zod";
import { bounds } from "../limits.ts";
import { filledText, text } from "./fields.ts";

/** From programs, so of any length and content; made storable, and cut, when it is stored. */
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
/** Of a filter that the adapter offers, or of exceptions by name. */
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

/** What to stop at, by kind; each is set with all others of its kind, source breakpoints with all others of their source. */
export const requestedOf = {
  source: SourceBreakpoint,
  function: FunctionBreakpoint,
  data: DataBreakpoint,
  instruction: InstructionBreakpoint,
  exception: ExceptionBreakpoint,
} as const;
export type BreakpointKind = keyof typeof requestedOf;
export const breakpointKinds = Object.keys(requestedOf) as [BreakpointKind, ...BreakpointKind[]];

export const RequestedBreakpoint = z.union(
  Object.values(requestedOf) as [
    typeof SourceBreakpoint,
    typeof FunctionBreakpoint,
    typeof DataBreakpoint,
    typeof InstructionBreakpoint,
    typeof ExceptionBreakpoint,
  ],
);
export type RequestedBreakpoint = z.output<typeof RequestedBreakpoint>;

/** What the adapter made of it. */
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

/** `masked`: may be secret, so its value was not stored. `valueLength`: how long the value was before it was cut. `omittedVariables`: how many parts were left out. */
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
/** `variables`: what the adapter answered when it was asked for the parts of this one. */
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

/** A thread with its frames, the innermost first. `totalFrames`: as in the answer to stackTrace. */
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

/** Events that change what is stored; of every other event the body may be anything. */
export const eventBodies = {
  stopped: z.object({
    ...reason,
    description: Text.optional(),
    threadId: Int.optional(),
    text: Text.optional(),
    allThreadsStopped: z.boolean().optional(),
    hitBreakpointIds: z.array(Int).max(bounds.debugBreakpoints).optional(),
  }),
  continued: z.object({ threadId: Int.optional(), allThreadsContinued: z.boolean().optional() }),
  exited: z.object({ exitCode: Int }),
  terminated: z.unknown(),
  initialized: z.unknown(),
  breakpoint: z.object({ ...reason, breakpoint: Breakpoint }),
} as const;
export type KnownEvent = keyof typeof eventBodies;

export function isKnownEvent(event: string): event is KnownEvent {
  return Object.hasOwn(eventBodies, event);
}
