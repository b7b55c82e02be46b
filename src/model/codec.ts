// Results on their way from a raw row to the caller: the database thread picks values into arrays, the caller's thread decodes them.
// Arrays, because structured clone copies the keys of every object again (D-008).
import { parseJson } from "./json.ts";

export interface Codec<Value, Raw = unknown> {
  /** On the database thread: from what a body returned to what travels. */
  toWire(raw: Raw): unknown;
  /** On the caller's thread: from what travelled to what the caller is given. */
  fromWire(wire: unknown): Value;
  /** For the reference; `nameOf` says what to call a codec that is described elsewhere. */
  describe(nameOf: (codec: AnyCodec) => string | undefined): string;
}

// biome-ignore lint/suspicious/noExplicitAny: a codec is invariant in Raw; only `any` admits every codec.
export type AnyCodec = Codec<any, any>;
export type ValueOf<C extends AnyCodec> = C extends Codec<infer Value, never> ? Value : never;
export type RawOf<C extends AnyCodec> = Parameters<C["toWire"]>[0];

function scalar<Value, Raw>(kind: string, fromWire: (wire: Raw) => Value): Codec<Value, Raw> {
  return { toWire: (raw) => raw, fromWire: fromWire as (wire: unknown) => Value, describe: () => kind };
}

export const text = scalar("text", (wire: string) => wire);
export const integer = scalar("integer", (wire: number) => wire);
export const bytes = scalar("bytes", (wire: Uint8Array) => wire);
export const boolean = scalar("boolean", (wire: number) => wire === 1);
/** Milliseconds in a raw row, a Date in the API. */
export const time = scalar("Date", (wire: number) => new Date(wire));
/** superjson text in a raw row, the value in the API. */
export const json = <Value>() => scalar("JSON", (wire: string) => parseJson(wire) as Value);
export const oneOf = <const Value extends string>(values: readonly Value[]) =>
  scalar(values.join(" | "), (wire: Value) => wire);

export function nullable<Value, Raw>(codec: Codec<Value, Raw>): Codec<Value | null, Raw | null> {
  return {
    toWire: (raw) => (raw === null ? null : codec.toWire(raw)),
    fromWire: (wire) => (wire === null ? null : codec.fromWire(wire)),
    describe: (nameOf) => `${describe(codec, nameOf)} or null`,
  };
}

export function optional<Value, Raw>(codec: Codec<Value, Raw>): Codec<Value | undefined, Raw | undefined> {
  return {
    toWire: (raw) => (raw === undefined ? undefined : codec.toWire(raw)),
    fromWire: (wire) => (wire === undefined ? undefined : codec.fromWire(wire)),
    describe: (nameOf) => `${describe(codec, nameOf)} or undefined`,
  };
}

export function list<Value, Raw>(codec: Codec<Value, Raw>): Codec<Value[], readonly Raw[]> {
  return {
    toWire: (raw) => raw.map((item) => codec.toWire(item)),
    fromWire: (wire) => (wire as unknown[]).map((item) => codec.fromWire(item)),
    describe: (nameOf) => `list of ${describe(codec, nameOf)}`,
  };
}

function describe(codec: AnyCodec, nameOf: (codec: AnyCodec) => string | undefined): string {
  return nameOf(codec) ?? codec.describe(nameOf);
}

type Fields = Readonly<Record<string, AnyCodec>>;
type ValuesOf<F extends Fields> = { -readonly [Name in keyof F]: ValueOf<F[Name]> };
type SnakeCase<Name> = Name extends `${infer Head}${infer Tail}`
  ? `${Head extends Lowercase<Head> ? Head : `_${Lowercase<Head>}`}${SnakeCase<Tail>}`
  : Name;

/** An object whose raw form has the same names. */
export function record<F extends Fields>(
  fields: F,
): Codec<ValuesOf<F>, { readonly [Name in keyof F]: RawOf<F[Name]> }> {
  return picked(fields, (name) => name);
}

/** A row: columns are snake_case, values camelCase. */
export function row<F extends Fields>(
  columns: F,
): Codec<ValuesOf<F>, { readonly [Name in keyof F as SnakeCase<Name>]: RawOf<F[Name]> }> {
  return picked(columns, (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
}

function picked<F extends Fields, Raw>(fields: F, rawNameOf: (name: string) => string): Codec<ValuesOf<F>, Raw> {
  const names = Object.keys(fields);
  const rawNames = names.map(rawNameOf);
  const codecs = Object.values(fields);
  return {
    toWire: (raw) =>
      codecs.map((codec, index) => codec.toWire((raw as Record<string, unknown>)[rawNames[index] as string])),
    fromWire(wire) {
      const value: Record<string, unknown> = {};
      codecs.forEach((codec, index) => {
        value[names[index] as string] = codec.fromWire((wire as unknown[])[index]);
      });
      return value as ValuesOf<F>;
    },
    describe: (nameOf) =>
      `{ ${names.map((name) => `${name}: ${describe(fields[name] as AnyCodec, nameOf)}`).join(", ")} }`,
  };
}

/** One page: its cursor, given back, asks for the next; absent on the last. */
export function page<Value, Raw>(item: Codec<Value, Raw>) {
  return record({ items: list(item), nextCursor: optional(text) });
}
