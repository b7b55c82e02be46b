// Codecs carry results from a raw row to the caller: the database thread picks values into arrays, the caller's thread
// decodes them. Results travel as arrays because structured clone would copy the keys of every object again (D-008).
import { parseJson } from "./json.ts";

export interface Codec<Value, Raw = unknown> {
  /** Converts the result of a body to the form that is sent. Runs on the database thread. */
  toWire(raw: Raw): unknown;
  /** Converts the form that was sent to the value for the caller. Runs on the caller's thread. */
  fromWire(wire: unknown): Value;
  /** Describes the value for the reference; `nameOf` returns the name of a codec that has its own section there. */
  describe(nameOf: (codec: AnyCodec) => string | undefined): string;
  /** Describes the form that the value has as JSON over HTTP. `refOf` returns the reference to a codec that has a name. */
  schema(refOf: (codec: AnyCodec) => JsonSchema | undefined): JsonSchema;
}

/** A JSON Schema: https://json-schema.org/draft/2020-12 */
export type JsonSchema = Readonly<Record<string | symbol, unknown>>;

// biome-ignore lint/suspicious/noExplicitAny: a codec is invariant in Raw; only `any` admits every codec.
export type AnyCodec = Codec<any, any>;
export type ValueOf<C extends AnyCodec> = C extends Codec<infer Value, never> ? Value : never;
export type RawOf<C extends AnyCodec> = Parameters<C["toWire"]>[0];

function scalar<Value, Raw>(kind: string, schema: JsonSchema, fromWire: (wire: Raw) => Value): Codec<Value, Raw> {
  return {
    toWire: (raw) => raw,
    fromWire: fromWire as (wire: unknown) => Value,
    describe: () => kind,
    schema: () => schema,
  };
}

export const text = scalar("text", { type: "string" }, (wire: string) => wire);
export const integer = scalar("integer", { type: "integer" }, (wire: number) => wire);
export const bytes = scalar("bytes", { type: "string", contentEncoding: "base64" }, (wire: Uint8Array) => wire);
export const boolean = scalar("boolean", { type: "boolean" }, (wire: number) => wire === 1);
/** A time: milliseconds in a raw row, a Date in the API. */
export const time = scalar("Date", { type: "string", format: "date-time" }, (wire: number) => new Date(wire));
/** A JSON column: superjson text in a raw row, the value in the API. */
export const json = <Value>() => scalar("JSON", {}, (wire: string) => parseJson(wire) as Value);
/** A column that holds texts, one on each line; a list in the API. */
export const lines = scalar("list of text", { type: "array", items: { type: "string" } }, (wire: string) =>
  wire === "" ? [] : wire.split("\n"),
);
export const oneOf = <const Value extends string>(values: readonly Value[]) =>
  scalar(values.join(" | "), { type: "string", enum: values }, (wire: Value) => wire);

export function nullable<Value, Raw>(codec: Codec<Value, Raw>): Codec<Value | null, Raw | null> {
  return {
    toWire: (raw) => (raw === null ? null : codec.toWire(raw)),
    fromWire: (wire) => (wire === null ? null : codec.fromWire(wire)),
    describe: (nameOf) => `${describe(codec, nameOf)} or null`,
    schema: (refOf) => ({ anyOf: [schemaOf(codec, refOf), { type: "null" }] }),
  };
}

export function optional<Value, Raw>(codec: Codec<Value, Raw>): Codec<Value | undefined, Raw | undefined> {
  return {
    toWire: (raw) => (raw === undefined ? undefined : codec.toWire(raw)),
    fromWire: (wire) => (wire === undefined ? undefined : codec.fromWire(wire)),
    describe: (nameOf) => `${describe(codec, nameOf)} or undefined`,
    // Absent in an object, and null where it is the whole result.
    schema: (refOf) => ({ ...schemaOf(codec, refOf), [absent]: true }),
  };
}

export function list<Value, Raw>(codec: Codec<Value, Raw>): Codec<Value[], readonly Raw[]> {
  return {
    toWire: (raw) => raw.map((item) => codec.toWire(item)),
    fromWire: (wire) => (wire as unknown[]).map((item) => codec.fromWire(item)),
    describe: (nameOf) => `list of ${describe(codec, nameOf)}`,
    schema: (refOf) => ({ type: "array", items: schemaOf(codec, refOf) }),
  };
}

function describe(codec: AnyCodec, nameOf: (codec: AnyCodec) => string | undefined): string {
  return nameOf(codec) ?? codec.describe(nameOf);
}

function schemaOf(codec: AnyCodec, refOf: (codec: AnyCodec) => JsonSchema | undefined): JsonSchema {
  return refOf(codec) ?? codec.schema(refOf);
}

/** Marks the schema of a value that may be absent. JSON leaves it out, because it is a symbol. */
export const absent = Symbol("absent");

type Fields = Readonly<Record<string, AnyCodec>>;
type ValuesOf<F extends Fields> = { -readonly [Name in keyof F]: ValueOf<F[Name]> };
type SnakeCase<Name> = Name extends `${infer Head}${infer Tail}`
  ? `${Head extends Lowercase<Head> ? Head : `_${Lowercase<Head>}`}${SnakeCase<Tail>}`
  : Name;

/** An object whose raw form uses the same names. */
export function record<F extends Fields>(
  fields: F,
): Codec<ValuesOf<F>, { readonly [Name in keyof F]: RawOf<F[Name]> }> {
  return picked(fields, (name) => name);
}

/** A row: its columns are snake_case, its fields camelCase. */
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
    schema(refOf) {
      const properties = Object.fromEntries(names.map((name) => [name, schemaOf(fields[name] as AnyCodec, refOf)]));
      const required = names.filter((name) => !(absent in (properties[name] as object)));
      return { type: "object", properties, required };
    },
    describe: (nameOf) =>
      `{ ${names.map((name) => `${name}: ${describe(fields[name] as AnyCodec, nameOf)}`).join(", ")} }`,
  };
}

type KindOf<Kinds extends Readonly<Record<string, Fields>>> = {
  [Kind in keyof Kinds]: { kind: Kind } & ValuesOf<Kinds[Kind]>;
}[keyof Kinds];
type RawKindOf<Kinds extends Readonly<Record<string, Fields>>> = {
  [Kind in keyof Kinds]: { readonly kind: Kind } & { readonly [Name in keyof Kinds[Kind]]: RawOf<Kinds[Kind][Name]> };
}[keyof Kinds];

/** An object of one of several kinds, each with its own fields. Its field `kind` names it. */
export function variant<Kinds extends Readonly<Record<string, Fields>>>(
  kinds: Kinds,
): Codec<KindOf<Kinds>, RawKindOf<Kinds>> {
  const codecs = Object.entries(kinds).map(
    ([kind, fields]) => [kind, record({ kind: oneOf([kind]), ...fields })] as const,
  );
  const codecOf = new Map<string, AnyCodec>(codecs);
  return {
    toWire: (raw) => codecOf.get(raw.kind as string)?.toWire(raw),
    fromWire: (wire) => codecOf.get((wire as readonly string[])[0] as string)?.fromWire(wire) as KindOf<Kinds>,
    describe: (nameOf) => codecs.map(([, codec]) => codec.describe(nameOf)).join(" or "),
    schema: (refOf) => ({ oneOf: codecs.map(([, codec]) => codec.schema(refOf)) }),
  };
}

/** One page of a list. Pass `nextCursor` as `cursor` to get the next page; the last page has none. */
export function page<Value, Raw>(item: Codec<Value, Raw>) {
  return record({ items: list(item), nextCursor: optional(text) });
}
