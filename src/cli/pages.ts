// Pages of rows: the options of every list command, and the reading of as many pages as one list prints.
import { type Command, Option } from "commander";
import { bounds } from "../limits.ts";
import { type Order, orders } from "../model/vocabulary.ts";
import { present } from "../present.ts";
import { wholeNumber } from "../terminal/wholeNumber.ts";
import { pastTime } from "./duration.ts";

export interface PageFlags {
  readonly order: Order;
  readonly since?: Date;
  readonly until?: Date;
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
      new Option("--order <order>", "desc: the newest first; asc: the oldest first").choices(orders).default("desc"),
    )
    .addOption(
      new Option("--since <time>", "only created at this time or later: a time in UTC, or a span up to now").argParser(
        pastTime,
      ),
    )
    .addOption(new Option("--until <time>", "only created before this time").argParser(pastTime))
    .addOption(
      new Option("--limit <number>", "maximum number of rows")
        .default(bounds.pageRows)
        .argParser(wholeNumber(1, 100_000)),
    )
    .option("--cursor <cursor>", "continue after this cursor (printed by the previous page)");
}

/** Reads pages of the store until the limit is reached. Returns the rows, with the cursor of the row after them. */
export async function collect<Row>(
  { order, since, until, limit, cursor }: PageFlags,
  fetch: (page: PageFlags) => Promise<Page<Row>>,
): Promise<Page<Row>> {
  const items: Row[] = [];
  for (let next = cursor; ; ) {
    const page = await fetch({
      order,
      ...present({ since, until }),
      limit: Math.min(bounds.pageRowsMax, limit - items.length),
      ...present({ cursor: next }),
    });
    items.push(...page.items);
    next = page.nextCursor;
    if (next === undefined || items.length >= limit) return { items, nextCursor: next };
  }
}
