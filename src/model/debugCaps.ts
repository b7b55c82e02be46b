// Bounds what a debugger reports before it is sent to the store: text is made storable, secrets are masked, and what is
// too large is cut and marked as cut. Runs on the caller's thread.
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

/**
 * Replaces U+0000 and lone surrogates, which programs print and the store refuses, and cuts the text to `lengthMax`.
 */
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

/** Cuts threads and frames to their bounds. Keeps the first ones, in the order of the input. */
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

/** The bytes that one call may still store, and whether something was left out. */
class Budget {
  #left: number = debugStopBytes;
  cut = false;

  /** Reserves room for a value. Returns false when it does not fit; then the caller must not store it. */
  take(value: object): boolean {
    // A little more than the text, so that the number of values is bounded too.
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
  // The contents come after all frames, so that one large frame does not push out the others.
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
    // An environment keeps the names of its variables, but not its summary text.
    const own = isEnvironment ? { ...stored, value: masked, masked: true } : stored;
    kept.push(
      parts === undefined || (own.masked === true && !isEnvironment)
        ? own
        : { ...own, ...capVariables(parts, budget, masking, depth + 1, isEnvironment) },
    );
  }
  return { variables: kept, ...omitted("omittedVariables", variables.length - kept.length, budget) };
}

/** Returns a secret variable without its value and without every reference that leads to it. */
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

/** Makes all strings of a flat object storable and masks them. */
function texts<Value extends object>(value: Value, masking: Masking): Value {
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [
      name,
      typeof field === "string" ? masking.text(storable(field)) : field,
    ]),
  ) as Value;
}

/** Makes a source storable. Paths are not masked, because a reader needs the whole path to find the file. */
function sourceOf(source: Source): Source {
  return Object.fromEntries(
    Object.entries(source).map(([name, field]) => [name, typeof field === "string" ? storable(field, 4_096) : field]),
  ) as Source;
}

export function capBreakpoint(breakpoint: Breakpoint, masking: Masking): Breakpoint {
  const { source, ...plain } = breakpoint;
  return { ...texts(plain, masking), ...(source === undefined ? {} : { source: sourceOf(source) }) };
}

/**
 * Bounds the body of an event. Long strings are cut; if the body is still too large, only its first short scalar fields
 * are kept.
 */
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
