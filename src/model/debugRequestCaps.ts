// Bounds and masks what clients ask a debugger and what it answers, on the caller's thread. The bridge gets the arguments
// as they were asked; what others read, and what stays in the history, has no secrets.
import { types } from "node:util";
import { bounds } from "../limits.ts";
import { spelledOut, storable } from "./debugCaps.ts";
import { type Masking, masked } from "./masking.ts";
import { isPlainObject } from "./plainObject.ts";

type Arguments = Readonly<Record<string, unknown>>;

/** Returns the arguments of a request without secrets. */
export function shownArguments(args: Arguments, masking: Masking): unknown {
  const { expression, value } = args;
  // As in setExpression, where the value is assigned to what the expression names.
  const assigns = typeof expression === "string" && value !== undefined && namesSecret(expression, masking);
  return masking.data(withoutNamed(assigns ? { ...args, value: masked } : args, masking));
}

/** Returns the body of an answer as it is stored, and whether a part of it was left out. */
export function capAnswer(
  { command, arguments: args }: { readonly command: string; readonly arguments?: Arguments | null | undefined },
  body: unknown,
  masking: Masking,
): { readonly body: unknown; readonly cut: boolean } {
  const state = { cut: false };
  const shown = masking.data(
    shortened(withoutNamed(withoutResult(command, args ?? {}, body, masking), masking), state),
  );
  const fitting = fit(shown);
  return { body: fitting, cut: state.cut || fitting !== shown };
}

/** Masks the result of an evaluation, or the new value of a variable, whose expression or name may be that of a secret. */
function withoutResult(command: string, args: Arguments, body: unknown, masking: Masking): unknown {
  const asked = command === "setVariable" ? args.name : args.expression;
  if (!isPlainObject(body) || typeof asked !== "string" || !namesSecret(asked, masking)) return body;
  return {
    ...body,
    ...("result" in body ? { result: masked } : {}),
    ...("value" in body ? { value: masked } : {}),
    variablesReference: 0,
    masked: true,
  };
}

/** Masks the values of variables with secret names, and those within environments. */
function withoutNamed(value: unknown, masking: Masking): unknown {
  if (Array.isArray(value)) return value.map((item) => withoutNamed(item, masking));
  if (!isPlainObject(value)) return value;
  const { name, evaluateName, value: content, type } = value;
  const paths = [name, evaluateName].filter((path) => typeof path === "string");
  if (content !== undefined && paths.some((path) => namesSecret(path, masking)))
    return { ...(type === undefined ? {} : { type }), name, value: masked, variablesReference: 0, masked: true };
  return Object.fromEntries(Object.entries(value).map(([field, child]) => [field, withoutNamed(child, masking)]));
}

/** Checks whether an expression names something secret, an environment, or a variable of one. */
function namesSecret(expression: string, masking: Masking): boolean {
  const words = expression.split(/[^\w$-]+/).filter((word) => word !== "");
  return words.some((word) => masking.isSecret(word) || masking.isEnvironment(word));
}

function shortened(value: unknown, state: { cut: boolean }): unknown {
  if (typeof value === "string") {
    state.cut ||= value.length > bounds.debugOutputLength;
    return storable(value, bounds.debugOutputLength);
  }
  if (Array.isArray(value)) return value.map((item) => shortened(item, state));
  if (types.isMap(value))
    return new Map([...value].map(([key, child]) => [shortened(key, state), shortened(child, state)]));
  if (types.isSet(value)) return new Set([...value].map((item) => shortened(item, state)));
  if (!isPlainObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, child]) => [storable(name), shortened(child, state)]));
}

/** Shortens the lists of a body, such as variables or frames, until it fits; if that does not help, little is kept. */
function fit(body: unknown): unknown {
  if (bytesOf(body) <= bounds.debugAnswerBytes) return body;
  if (!isPlainObject(body)) return undefined;
  const lists = Object.entries(body).filter(([, value]) => Array.isArray(value)) as [string, unknown[]][];
  const longest = Math.max(0, ...lists.map(([, items]) => items.length));
  for (let length = longest >> 1; length > 0; length >>= 1) {
    const shorter = { ...body, ...Object.fromEntries(lists.map(([name, items]) => [name, items.slice(0, length)])) };
    if (bytesOf(shorter) <= bounds.debugAnswerBytes) return shorter;
  }
  const scalars = Object.entries(body).filter(
    ([, value]) => typeof value !== "object" && (typeof value !== "string" || value.length <= bounds.debugTextLength),
  );
  return Object.fromEntries(scalars.slice(0, 20));
}

function bytesOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value, spelledOut) ?? "");
}
