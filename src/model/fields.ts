// Input schemas that several entities share. Their bounds are part of the contract: the same checks run in the client
// and before a body.
import { types } from "node:util";
import { z } from "zod";
import { bounds } from "../limits.ts";
import { parseCursor, timeMsMax } from "./cursors.ts";
import { idPattern, newId } from "./ids.ts";
import { formatJson, isStorable } from "./json.ts";
import { orders } from "./vocabulary.ts";

const storable = { error: "must not contain U+0000 or a lone surrogate" };

/** Text that both engines store unchanged. */
export const text = (lengthMax: number) => z.string().max(lengthMax).refine(isStorable, storable);
export const filledText = (lengthMax: number) => z.string().min(1).max(lengthMax).refine(isStorable, storable);

/** Text for lists, file names and headers, without characters that control a terminal or the direction of text. */
export const withoutControls = (lengthMax: number) =>
  filledText(lengthMax).regex(/^[^\u0000-\u001f\u007f-\u009f\u2028\u2029\p{Bidi_Control}]*$/u, {
    error: "must not contain control characters",
  });

/**
 * A name that people choose. Names that look alike are one name or refused (D-097): compatibility forms become the usual
 * ones, blanks around it are removed and others become one space, and what cannot be seen is refused.
 */
export const Name = z
  .string()
  .overwrite((name) =>
    name
      .normalize("NFKC")
      .replace(/\p{Zs}+/gu, " ")
      .replace(/^ | $/g, ""),
  )
  .min(1)
  .max(200)
  .refine(isStorable, storable)
  .refine((name) => !/[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]/u.test(name), {
    error: (issue) => {
      const [hidden = ""] = String(issue.input).match(/[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]/u) ?? [];
      const code = (hidden.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0");
      return `must not contain characters that cannot be seen, such as U+${code} in it`;
    },
  });

export const Id = z.string().regex(idPattern, { error: "must be a UUID in lower case" }).describe("id");
/** The id of a new row. A caller may choose it, so that a repeated call is recognized. */
export const NewId = Id.default(newId);
export const Path = filledText(4096);
/** A full git object name, SHA-1 or SHA-256: https://git-scm.com/docs/hash-function-transition */
export const CommitSha = z
  .string()
  .regex(/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/, { error: "must be 40 or 64 hexadecimal digits in lower case" })
  .describe("commit id");
export const Hash = filledText(200);
export const Sha256 = z
  .string()
  .regex(/^[0-9a-f]{64}$/, { error: "must be 64 hexadecimal digits in lower case" })
  .describe("SHA-256 in hexadecimal");
/** A valid Date of any realm. */
export const Moment = z.custom<Date>((value) => types.isDate(value) && !Number.isNaN(value.getTime()), {
  error: "must be a valid Date",
});
export const Fence = z.int().positive();
export const Version = z.int().positive();
export const LeaseTtl = z.int().min(bounds.leaseMsMin).max(bounds.leaseMsMax);
export const WaitMs = z.int().min(0).max(bounds.waitMsMax);

/**
 * Text from a program, which is cut to its length and mended rather than refused: a runner whose report is refused for
 * the form of a text could not report at all. U+0000 and lone surrogates are replaced; a cut text ends with `…`.
 */
export const reportedText = (lengthMax: number) =>
  z
    .string()
    .overwrite((whole) => {
      const cut =
        whole.length > lengthMax ? `${whole.slice(0, lengthMax - 1).replace(/[\ud800-\udbff]$/, "")}…` : whole;
      return cut.toWellFormed().replaceAll("\u0000", "\u2400");
    })
    .max(lengthMax);
export const Reason = reportedText(1_000);

/**
 * A value that superjson can restore, at most 256 KiB of text. It is encoded on the caller's thread and stays text from
 * then on.
 */
export const Json = z
  .codec(z.any(), z.string().max(bounds.jsonBytes), {
    decode: (value, context) => {
      try {
        return formatJson(value);
      } catch (error) {
        context.issues.push({ code: "custom", message: (error as Error).message, input: value });
        return z.NEVER;
      }
    },
    encode: (stored) => stored,
  })
  .describe(`JSON, at most ${bounds.jsonBytes} bytes`);

/** Stores what a schema accepts as one JSON value. The bound of that value comes on top of those of the schema. */
export function asJson<Schema extends z.ZodType>(schema: Schema) {
  return schema.meta({ maxJsonBytes: bounds.jsonBytes }).pipe(Json);
}

/** Any plain data from the caller; secrets in it are masked. */
export const Payload = z.record(z.string(), z.unknown());

/** A time of a row, such as a bound of a list. */
export const Time = Moment.refine((time) => time.getTime() >= 0 && time.getTime() <= timeMsMax, {
  error: "must be from the years 1970 to 9999",
})
  .describe("Date")
  .optional();

/**
 * Returns the input of a `list` operation: its filters, and the fields that all lists have. `list` is a name that no
 * other list has; a cursor is refused unless this list made it, with the same order and filters.
 */
export function listInput<Filters extends z.core.$ZodLooseShape>(list: string, filters: Filters) {
  return z
    .strictObject({
      ...filters,
      /** The order of the rows by the time of their creation: `asc` begins with the oldest, `desc` with the newest. */
      order: z.enum(orders).default("asc"),
      /** The time at or after which the rows were created. */
      since: Time,
      /** The time before which the rows were created. */
      until: Time,
      limit: z.int().min(1).max(bounds.pageRowsMax).default(bounds.pageRows),
      cursor: z.string().max(100).describe("nextCursor of an earlier page").optional(),
    })
    .refine(
      (input) => {
        const { cursor } = input as { readonly cursor?: string };
        return cursor === undefined || parseCursor(list, input, cursor) !== undefined;
      },
      {
        error: "must be the nextCursor of an earlier page of this list, with the same order and filters",
        path: ["cursor"],
      },
    );
}

/** A filter of a list that accepts one of these words, or several. */
export function oneOrMore<const Words extends readonly [string, ...string[]]>(words: Words) {
  const one = z.enum(words);
  return z
    .union([one, z.array(one).min(1).max(words.length)])
    .describe(`one or a list of ${words.map((word) => `\`${word}\``).join(", ")}`)
    .optional();
}
