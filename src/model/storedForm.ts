// The schema of an input that has been encoded already, derived from the schema of the input itself.
import { z } from "zod";
import { bounds } from "../limits.ts";
import { Json } from "./fields.ts";
import { parseJson } from "./json.ts";

/** Returns the schema of what has been encoded already: a copy in which the encoded side replaces every codec. */
export function storedForm(schema: z.ZodType): z.ZodType {
  if (schema === Json) return storedJson();
  if (schema instanceof z.ZodPipe && schema.def.out === Json) return storedJson(schema.def.in as z.ZodType);
  if (schema instanceof z.ZodPipe) return storedForm(schema.def.out as z.ZodType);
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault
  ) {
    return schema.clone({
      ...schema.def,
      innerType: storedForm(schema.def.innerType as z.ZodType),
    } as never) as z.ZodType;
  }
  if (schema instanceof z.ZodArray)
    return schema.clone({ ...schema.def, element: storedForm(schema.def.element as z.ZodType) });
  if (schema instanceof z.ZodObject) {
    const shape = Object.fromEntries(
      Object.entries(schema.shape).map(([name, field]) => [name, storedForm(field as z.ZodType)]),
    );
    return schema.clone({ ...schema.def, shape });
  }
  return schema;
}

/**
 * Accepts text that restores to a value of the schema: others read what a port has sent, so text that no reader can
 * restore is refused (D-057).
 */
function storedJson(schema: z.ZodType = z.any()): z.ZodType {
  const restores = (stored: string): boolean => {
    try {
      return schema.safeParse(parseJson(stored)).success;
    } catch {
      return false;
    }
  };
  return z.string().max(bounds.jsonBytes).refine(restores, { error: "must be JSON as the client writes it" });
}
