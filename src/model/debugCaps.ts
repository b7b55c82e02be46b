// What a debugger says is of any size; what is stored of it is not. On the caller's thread: made storable, masked, cut, and marked where it was cut.
import { bounds } from "../limits.ts";
import type { Breakpoint, Scope, Source, StackFrame, Thread, Variable } from "./debugProtocol.ts";
import { type Masking, masked } from "./masking.ts";

const {
  debugThreads,
  debugFrames,
  debugScopes,
  debugVariables,
  debugVariableDepth,
  debugTextLength,
  debugOutputLength,
  debugStopBytes,
} = bounds;

/** Both engines refuse U+0000 and lone surrogates, and programs print them. */
export function storable(text: string, lengthMax: number = debugTextLength): string {
  return text.slice(0, lengthMax).toWellFormed().replaceAll("\u0000", "\u2400");
}

export interface StoredThread {
  readonly threadId: number;
  readonly name: string;
  readonly frames: readonly StackFrame[];
  readonly omittedFrames: number;
  readonly cut: boolean;
}

/** Threads and frames in the order in which they are given: the first are kept. */
export function capThreads(threads: readonly Thread[], masking: Masking): StoredThread[] {
  const budget = new Budget();
  return threads.slice(0, debugThreads).map((thread) => {
    budget.cut = false;
    const frames = capFrames(thread.frames, budget, masking);
    const omittedFrames = Math.max(thread.totalFrames ?? 0, thread.frames.length) - frames.length;
    return {
      threadId: thread.id,
      name: masking.text(storable(thread.name)),
      frames,
      omittedFrames,
      cut: budget.cut || omittedFrames > 0,
    };
  });
}

/** How much more one call may bring, and whether anything was left out. */
class Budget {
  #left: number = debugStopBytes;
  cut = false;

  /** Whether there is room for it. What does not fit is not stored. */
  take(value: object): boolean {
    // A little more than its text, because the number of values is bounded too.
    const bytes = Buffer.byteLength(JSON.stringify(value)) + 24;
    if (bytes > this.#left) {
      this.#left = 0;
      return false;
    }
    this.#left -= bytes;
    return true;
  }
}

function capFrames(frames: readonly StackFrame[], budget: Budget, masking: Masking): StackFrame[] {
  const kept: StackFrame[] = [];
  for (const { scopes: _, omittedScopes: __, ...frame } of frames.slice(0, debugFrames)) {
    const stored: StackFrame = {
      ...texts(frame, masking),
      ...(frame.source === undefined ? {} : { source: sourceOf(frame.source) }),
    };
    if (!budget.take(stored)) break;
    kept.push(stored);
  }
  // Only then what is in them: one frame with much in it does not push the others out.
  return kept.map((frame, index) => {
    const scopes = frames[index]?.scopes;
    return scopes === undefined ? frame : { ...frame, ...capScopes(scopes, budget, masking) };
  });
}

function capScopes(
  scopes: readonly Scope[],
  budget: Budget,
  masking: Masking,
): Pick<StackFrame, "scopes" | "omittedScopes"> {
  const kept: Scope[] = [];
  for (const { variables, omittedVariables: _, ...scope } of scopes.slice(0, debugScopes)) {
    const stored: Scope = {
      ...texts(scope, masking),
      ...(scope.source === undefined ? {} : { source: sourceOf(scope.source) }),
    };
    if (!budget.take(stored)) break;
    kept.push(
      variables === undefined
        ? stored
        : { ...stored, ...capVariables(variables, budget, masking, 1, masking.isEnvironment(scope.name)) },
    );
  }
  return { scopes: kept, ...omitted("omittedScopes", scopes.length - kept.length, budget) };
}

function capVariables(
  variables: readonly Variable[],
  budget: Budget,
  masking: Masking,
  depth: number,
  inEnvironment: boolean,
): Pick<Scope, "variables" | "omittedVariables"> {
  const kept: Variable[] = [];
  for (const variable of depth > debugVariableDepth ? [] : variables.slice(0, debugVariables)) {
    const { variables: parts, omittedVariables: _, masked: __, valueLength: ___, ...plain } = variable;
    const stored =
      inEnvironment || masking.isSecret(plain.name) || plain.evaluateName?.split(/[.[\]"'()]+/).some(masking.isSecret)
        ? hidden(plain, masking)
        : shown(plain, masking, budget);
    if (!budget.take(stored)) break;
    const isEnvironment = masking.isEnvironment(plain.name) || masking.isEnvironment(plain.evaluateName ?? "");
    // An environment shows its names, not the text that sums it up.
    const own = isEnvironment ? { ...stored, value: masked, masked: true } : stored;
    kept.push(
      parts === undefined || (own.masked === true && !isEnvironment)
        ? own
        : { ...own, ...capVariables(parts, budget, masking, depth + 1, isEnvironment) },
    );
  }
  return { variables: kept, ...omitted("omittedVariables", variables.length - kept.length, budget) };
}

/** Nothing remains by which the value, or a part of it, could be had. */
function hidden({ name, type }: Variable, masking: Masking): Variable {
  return {
    name: masking.text(storable(name)),
    value: masked,
    ...(type === undefined ? {} : { type: storable(type) }),
    variablesReference: 0,
    masked: true,
  };
}

function shown(variable: Variable, masking: Masking, budget: Budget): Variable {
  const { presentationHint, ...plain } = variable;
  const stored: Variable = {
    ...texts(plain, masking),
    ...(presentationHint === undefined ? {} : { presentationHint: hintOf(presentationHint) }),
  };
  if (variable.value.length <= debugTextLength) return stored;
  budget.cut = true;
  return { ...stored, valueLength: variable.value.length };
}

function hintOf({
  kind,
  attributes,
  visibility,
  lazy,
}: NonNullable<Variable["presentationHint"]>): NonNullable<Variable["presentationHint"]> {
  return {
    ...(kind === undefined ? {} : { kind: storable(kind, 100) }),
    ...(attributes === undefined ? {} : { attributes: attributes.map((attribute) => storable(attribute, 100)) }),
    ...(visibility === undefined ? {} : { visibility: storable(visibility, 100) }),
    ...(lazy === undefined ? {} : { lazy }),
  };
}

function omitted<Name extends string>(name: Name, count: number, budget: Budget): { [Key in Name]?: number } {
  if (count <= 0) return {};
  budget.cut = true;
  return { [name]: count } as { [Key in Name]?: number };
}

/** All texts of a flat object. */
function texts<Value extends object>(value: Value, masking: Masking): Value {
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [
      name,
      typeof field === "string" ? masking.text(storable(field)) : field,
    ]),
  ) as Value;
}

/** A path is kept whole: who looks for the file needs all of it. */
function sourceOf(source: Source): Source {
  return Object.fromEntries(
    Object.entries(source).map(([name, field]) => [name, typeof field === "string" ? storable(field, 4_096) : field]),
  ) as Source;
}

export function capBreakpoint(breakpoint: Breakpoint, masking: Masking): Breakpoint {
  const { source, ...plain } = breakpoint;
  return { ...texts(plain, masking), ...(source === undefined ? {} : { source: sourceOf(source) }) };
}

/** The body of an event: any data. Long texts are cut; when all of it is too much, only what identifies it remains. */
export function capBody(body: unknown, masking: Masking): { readonly body: unknown; readonly cut: boolean } {
  let cut = false;
  const shorten = (value: unknown): unknown => {
    if (typeof value === "string") {
      cut ||= value.length > debugOutputLength;
      return storable(value, debugOutputLength);
    }
    if (Array.isArray(value)) return value.map(shorten);
    if (
      typeof value !== "object" ||
      value === null ||
      Object.getPrototypeOf(Object.getPrototypeOf(value) ?? {}) !== null
    )
      return value;
    return Object.fromEntries(Object.entries(value).map(([name, child]) => [storable(name), shorten(child)]));
  };
  const whole = masking.data(shorten(body));
  if (Buffer.byteLength(JSON.stringify(whole) ?? "") <= bounds.debugEventBytes) return { body: whole, cut };
  const scalars = Object.entries(whole as object).filter(
    ([, value]) => typeof value !== "object" && (typeof value !== "string" || value.length <= debugTextLength),
  );
  return { body: Object.fromEntries(scalars.slice(0, 20)), cut: true };
}
