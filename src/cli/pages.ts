// Pages of rows: the options of every list, and as many pages of the store as one list takes.
import { type Command, Option } from "commander";
import { bounds } from "../limits.ts";
import { present } from "../present.ts";
import { wholeNumber } from "../terminal/wholeNumber.ts";

export interface PageFlags {
  readonly limit: number;
  readonly cursor?: string;
}

export interface Page<Row> {
  readonly items: readonly Row[];
  readonly nextCursor: string | undefined;
}

export function withPages(command: Command): Command {
  return command
    .addOption(
      new Option("--limit <number>", "at most so many rows")
        .default(bounds.pageRows)
        .argParser(wholeNumber(1, 100_000)),
    )
    .option("--cursor <cursor>", "go on after an earlier page: what it said on stderr");
}

/** As many pages of the store as the limit takes. */
export async function collect<Row>(
  { limit, cursor }: PageFlags,
  fetch: (page: PageFlags) => Promise<Page<Row>>,
): Promise<Page<Row>> {
  const items: Row[] = [];
  for (let next = cursor; ; ) {
    const page = await fetch({
      limit: Math.min(bounds.pageRowsMax, limit - items.length),
      ...present({ cursor: next }),
    });
    items.push(...page.items);
    next = page.nextCursor;
    if (next === undefined || items.length >= limit) return { items, nextCursor: next };
  }
}
