// Inputs and results as plain JSON, which any language reads: times as ISO 8601 text, bytes as base64.
import { StoreError } from "../errors.ts";
import type { AnyOperation } from "../operation.ts";

/** The fields of inputs that are no plain JSON. Their names mean the same in every operation. */
const decoders: Readonly<Record<string, (value: unknown) => unknown>> = { since: timeOf, until: timeOf, data: bytesOf };

/** Turns the body of a request into the input of an operation. Fails with `invalid_input`. */
export function inputOf(operation: AnyOperation, body: unknown): Record<string, unknown> {
  if (typeof body !== "object" || body === null || Array.isArray(body))
    throw new StoreError("invalid_input", "body: expected a JSON object with the fields of the input");
  const input: Record<string, unknown> = { ...body };
  // `until` is a time in lists, and a word in logs.follow.
  for (const [name, decode] of Object.entries(decoders))
    if (typeOfField(operation, name) === "custom" && input[name] !== undefined) input[name] = decode(input[name]);
  return input;
}

/** Returns the type of a field of an input in the words of zod: "custom" for a time of a list, or the bytes of a log. */
export function typeOfField({ inputSchema }: AnyOperation, name: string): string | undefined {
  let schema = inputSchema.shape[name] as { _zod?: { def: { type: string; innerType?: unknown } } } | undefined;
  while (schema?._zod?.def.innerType !== undefined) schema = schema._zod.def.innerType as typeof schema;
  return schema?._zod?.def.type;
}

function timeOf(value: unknown): unknown {
  // What is no text is refused by the schema.
  return typeof value === "string" ? new Date(value) : value;
}

/** Reads base64: https://www.rfc-editor.org/rfc/rfc4648#section-4 */
function bytesOf(value: unknown): unknown {
  const bytes = typeof value === "string" ? Buffer.from(value, "base64") : undefined;
  // Node skips what is no base64, so the text is compared with what it was read as. Padding may be left out.
  if (bytes === undefined || bytes.toString("base64").replace(/=+$/, "") !== (value as string).replace(/=+$/, ""))
    throw new StoreError("invalid_input", "data: expected bytes as base64, or the body as application/octet-stream");
  return new Uint8Array(bytes);
}

/** Turns a result into the text of a body. What JSON has no form for follows superjson: bigint as text, Map and Set as lists. */
export function jsonOf(result: unknown): string {
  return JSON.stringify(result === undefined ? null : result, (_, value: unknown) => {
    if (value instanceof Uint8Array)
      return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64");
    if (typeof value === "bigint") return value.toString();
    return value instanceof Map || value instanceof Set ? [...value] : value;
  });
}
