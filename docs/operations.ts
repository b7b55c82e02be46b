// Renders the reference of all operations from the table of operations and from the docstrings above them. A missing
// docstring is an error.
import { readdirSync, readFileSync } from "node:fs";
import { z } from "zod";
import { bodyErrors, callErrors, errorCodes } from "../src/errors.ts";
import { fieldScopes, type OperationName, operationScopes } from "../src/http/access.ts";
import type { AnyCodec } from "../src/model/codec.ts";
import { scopes } from "../src/model/vocabulary.ts";
import type { AnyOperation } from "../src/operation.ts";
import { operations } from "../src/operations/table.ts";
import { isPaged } from "../src/pages.ts";

const folder = new URL("../src/operations/", import.meta.url);

const modelFolder = new URL("../src/model/", import.meta.url);

/** The codecs that the model exports, by name. */
const modelCodecs = new Map<AnyCodec, string>();
for (const file of readdirSync(modelFolder).filter((name) => name !== "codec.ts")) {
  const module = (await import(new URL(file, modelFolder).href)) as Readonly<Record<string, unknown>>;
  for (const [name, value] of Object.entries(module))
    if (typeof value === "object" && value !== null && "toWire" in value) modelCodecs.set(value as AnyCodec, name);
}

/** The codecs of the model that answers contain, by name. Each has a section of its own in the reference. */
export const rows: Map<AnyCodec, string> = new Map();
for (const { output } of Object.values(operations).flatMap((verbs): AnyOperation[] => Object.values(verbs))) {
  output.describe((codec) => {
    const name = modelCodecs.get(codec);
    if (name !== undefined) rows.set(codec, name);
    return undefined;
  });
}
const nameOf = (codec: AnyCodec) => rows.get(codec);

export interface Docstring {
  readonly summary: string;
  readonly parts: ReadonlyMap<string, string>;
}

/** Returns the docstrings of a file, by the names under which it exports the operations. */
function readDocstrings(file: string): ReadonlyMap<string, Docstring> {
  const text = readFileSync(new URL(file, folder), "utf8");
  const renamed = new Map([...text.matchAll(/^export \{ (\w+) as (\w+) \};$/gm)].map(([, from, to]) => [from, to]));
  const matches = [
    ...text.matchAll(/\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\n(?:export )?const (\w+) = (?:sealedOperation|operation)\(/g),
  ];
  return new Map(
    matches.map(([, comment, name]) => [renamed.get(name) ?? (name as string), parseDocstring(comment as string)]),
  );
}

/** The parts of a docstring. Returns replaces the description of the answer, where the client adds something to it. */
const heads = ["Input", "Returns", "Result", "Fails", "Effect", "Cost"];

/** Splits a docstring into its summary and its parts. */
function parseDocstring(comment: string): Docstring {
  const lines = comment.split("\n").map((line) => line.replace(/^ *\* ?/, "").trimEnd());
  const summary: string[] = [];
  const parts = new Map<string, string>();
  let head: string | undefined;
  for (const line of lines) {
    const [, name, rest] = /^(\w+) {2,}(.*)$/.exec(line) ?? [];
    if (name !== undefined && heads.includes(name)) {
      head = name;
      parts.set(head, rest as string);
    } else if (line.trim() === "") continue;
    else if (head === undefined) summary.push(line.trim());
    else parts.set(head, `${parts.get(head)} ${line.trim()}`);
  }
  return { summary: summary.join(" "), parts };
}

type JsonSchema = {
  readonly [Name in "type" | "description" | "format" | "pattern"]?: string;
} & {
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly enum?: readonly string[];
  readonly anyOf?: readonly JsonSchema[];
  readonly items?: JsonSchema;
  readonly propertyNames?: JsonSchema;
  readonly additionalProperties?: JsonSchema | boolean;
  readonly default?: unknown;
} & {
  readonly [Name in
    | "minLength"
    | "maxLength"
    | "minimum"
    | "maximum"
    | "exclusiveMinimum"
    | "minItems"
    | "maxItems"
    | "maxJsonBytes"]?: number;
};

function describeInput({ inputSchema }: AnyOperation): string {
  const { properties = {}, required = [] } = z.toJSONSchema(inputSchema, {
    io: "input",
    unrepresentable: "any",
  }) as JsonSchema;
  const fields = Object.entries(properties).map(
    ([name, field]) => `| \`${name}\` | ${describe(field)} | ${whenAbsent(field, required.includes(name))} |`,
  );
  return fields.length === 0 ? "No input." : ["| input | | when absent |", "| --- | --- | --- |", ...fields].join("\n");
}

function whenAbsent(field: JsonSchema, required: boolean): string {
  if (required) return "required";
  if (field.default === undefined) return "";
  // The default is generated for each call, so it cannot be printed.
  return field.description === "id" ? "a new id" : `\`${JSON.stringify(field.default)}\``;
}

function describe({ maxJsonBytes, ...field }: JsonSchema): string {
  // The bound of the whole, after those of its parts.
  if (maxJsonBytes !== undefined) return `${describe(field)}, together at most ${number(maxJsonBytes)} bytes as JSON`;
  if (field.description !== undefined) return field.description;
  if (field.anyOf !== undefined) return field.anyOf.map(describe).join(" or ");
  // The scopes are too many for a cell of the table.
  if (field.enum !== undefined)
    return field.enum.length === scopes.length ? "scope" : field.enum.map((value) => `\`${value}\``).join(", ");
  switch (field.type) {
    case "null":
      return "null";
    case "boolean":
      return "boolean";
    case "string":
      return `text${range(field.minLength, field.maxLength, "characters")}`;
    case "integer":
    case "number":
      return `integer${range(field.minimum ?? following(field.exclusiveMinimum), field.maximum)}`;
    case "array":
      return `list of ${describe(field.items ?? {})}${range(field.minItems, field.maxItems, "items")}`;
    case "object":
      return field.properties === undefined ? "names and values" : describeObject(field);
    default:
      return "JSON";
  }
}

function describeObject({ properties = {}, required = [] }: JsonSchema): string {
  return `{ ${Object.entries(properties)
    .map(([name, field]) => `${name}${required.includes(name) ? "" : "?"}: ${describe(field)}`)
    .join(", ")} }`;
}

/** Describes the bounds of a number. JSON Schema has a bound at the limits of safe integers where there is none. */
function range(min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER, unit = ""): string {
  const hasMin = min > Number.MIN_SAFE_INTEGER;
  const hasMax = max < Number.MAX_SAFE_INTEGER;
  if (!hasMin && !hasMax) return "";
  const text =
    hasMin && hasMax
      ? `${number(min)} .. ${number(max)}`
      : hasMin
        ? `${number(min)} or more`
        : `at most ${number(max)}`;
  return `, ${text} ${unit}`.trimEnd();
}

function following(integer: number | undefined): number | undefined {
  return integer === undefined ? undefined : integer + 1;
}

function number(value: number): string {
  return String(value).replace(/\B(?=(?:\d{3})+$)/g, "_");
}

/** Escapes what would end the cell of a table, or start an HTML element. */
function escaped(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("<", "&lt;");
}

function anchor(name: string): string {
  return name.toLowerCase().replaceAll(".", "");
}

function traits({ access, lane, waits, stream, again }: AnyOperation): string {
  const others = [
    stream === undefined ? (waits ? "may wait" : undefined) : "stream",
    again === undefined ? undefined : "in steps",
  ];
  return [access, `lane ${lane}`, ...others.filter((trait) => trait !== undefined)].join(", ");
}

/** Names the scope that a caller over HTTP needs, and those that fields of the input need besides. */
function scopeOf(name: string): string {
  const scope = operationScopes[name as OperationName];
  const fields = Object.entries(fieldScopes[name as OperationName] ?? {});
  const more = fields.map(([field, other]) => `, and \`${other}\` for \`${field}\``);
  return scope === null ? "not over HTTP" : `scope \`${scope}\`${more.join("")}`;
}

function section(name: string, file: string, operation: AnyOperation, { summary, parts }: Docstring): string {
  const part = (head: string, render = (text: string) => ` ${escaped(text)}`) => {
    const text = parts.get(head);
    return text === undefined ? [] : [`**${head}**${render(text)}`];
  };
  const errors = operation.errors.map((code) => `\`${code}\``).join(", ") || "none of its own";
  return [
    `### ${name}`,
    escaped(summary),
    `${traits(operation)}; ${scopeOf(name)}; errors: ${errors}; [source](../src/operations/${file})`,
    describeInput(operation),
    ...part("Input", (text) => list(fieldsOf(text, Object.keys(operation.inputSchema.shape)))),
    `**Returns** ${escaped(parts.get("Returns") ?? describeAnswer(operation))}`,
    ...(isPaged(operation) ? [allRows(name)] : []),
    ...part("Result"),
    ...part("Fails", (text) => list(failuresOf(text))),
    ...part("Effect"),
    ...part("Cost"),
  ].join("\n\n");
}

function list(items: readonly string[]): string {
  return items.length === 1 ? ` ${items[0]}` : `\n\n${items.map((item) => `- ${item}`).join("\n")}`;
}

/** Splits a text about an input at each sentence that begins with the names of fields. */
function fieldsOf(text: string, fields: readonly string[]): readonly string[] {
  const items: string[] = [];
  for (const sentence of text.split(/(?<=\.) /)) {
    const [head] = /^\w+(?:, \w+)*(?=: )/.exec(sentence) ?? [];
    const names = head?.split(", ") ?? [];
    const isField = names.length > 0 && names.every((name) => fields.includes(name));
    if (isField) items.push(names.map((name) => `\`${name}\``).join(", ") + escaped(sentence.slice(head?.length)));
    else if (items.length === 0) items.push(escaped(sentence));
    else items.push(`${items.pop()} ${escaped(sentence)}`);
  }
  return items.map((item) => item.replace(/\.$/, ""));
}

const codePattern = new RegExp(`\\b(?:${Object.keys(errorCodes).join("|")})\\b(?: \\{[^}]*\\})?`, "g");

/** Splits the failures of an operation at each bar outside of braces, and marks their codes. */
function failuresOf(text: string): readonly string[] {
  return text.split(/ \| (?![^{]*\})/).map((failure) => failure.replace(codePattern, "`$&`"));
}

function describeAnswer({ output, stream }: AnyOperation): string {
  const answer = rows.get(output) ?? output.describe(nameOf);
  if (stream === undefined) return answer;
  // The client iterates over the items of the pages. A page has one list, which contains them.
  const [, item] = /list of (\w+)/.exec(answer) ?? [];
  return `an async iterator of ${item}`;
}

function allRows(name: string): string {
  const all = name.replace(/list$/, "all");
  const loop = `for await (const row of store.${all}({ ... }))`;
  return `**All pages** \`${loop}\` iterates over the rows of every page; \`limit\` is the size of a page.`;
}

/** The docstring of each operation, and the file that defines the operation. */
const documented = new Map<unknown, { readonly file: string; readonly docstring: Docstring }>();
for (const file of readdirSync(folder).filter((name) => name.endsWith(".ts"))) {
  const module = (await import(new URL(file, folder).href)) as Readonly<Record<string, unknown>>;
  for (const [name, docstring] of readDocstrings(file)) documented.set(module[name], { file, docstring });
}

/** Renders the codes with which every operation may fail. */
export function renderErrors(): string {
  const codes = [...bodyErrors, ...callErrors].map((code) => `\`${code}\``).join(", ");
  return `Besides the codes that it lists, every operation may fail with ${codes}.`;
}

/** An operation with its name and what its docstring says. */
export interface DocumentedOperation {
  readonly name: string;
  readonly entity: string;
  readonly file: string;
  readonly docstring: Docstring;
  readonly operation: AnyOperation;
}

/** Returns all operations. Throws when one has no docstring. */
export function documentedOperations(): readonly DocumentedOperation[] {
  return Object.entries(operations).flatMap(([entity, verbs]) =>
    Object.entries(verbs).map(([verb, operation]) => {
      const found = documented.get(operation);
      if (found === undefined || found.docstring.summary === "")
        throw new Error(`${entity}.${verb} has no docstring that says what it does`);
      return { name: `${entity}.${verb}`, entity, ...found, operation: operation as AnyOperation };
    }),
  );
}

/** Renders the reference. */
export function renderOperations(): string {
  const all = documentedOperations();
  const table = all.map(({ name, operation, docstring }) => {
    const [sentence] = docstring.summary.split(/(?<=\.) /);
    return `| [${name}](#${anchor(name)}) | ${traits(operation)} | ${scopeOf(name).replace("scope ", "")} | ${escaped(sentence as string)} |`;
  });
  const sections = Object.keys(operations).map((entity) => {
    const own = all.filter((each) => each.entity === entity);
    return [
      `## ${entity}`,
      ...own.map(({ name, file, operation, docstring }) => section(name, file, operation, docstring)),
    ].join("\n\n");
  });
  const rowParts = [...rows].map(
    ([codec, name]) =>
      `### ${name}\n\n${escaped(codec.describe((other) => (other === codec ? undefined : nameOf(other))))}`,
  );
  return [
    ["| operation | | scope | |", "| --- | --- | --- | --- |", ...table].join("\n"),
    ...sections,
    "## Rows",
    ...rowParts,
  ].join("\n\n");
}
