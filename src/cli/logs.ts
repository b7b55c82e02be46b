// debug-server-db logs: what a command printed, as it was or as it comes.
import { once } from "node:events";
import { type Command, Option } from "commander";
import type { Chunk } from "../model/logs.ts";
import { harmlessLog } from "../terminal/table.ts";
import { wholeNumber } from "../terminal/wholeNumber.ts";
import { commandGroup, type StoreFlags, say, storeCommand, toJsonLine, visit } from "./storeCommand.ts";

interface LogFlags extends StoreFlags {
  readonly attempt?: number;
  readonly lines?: number;
}

export function addLogs(program: Command): void {
  const group = commandGroup(program, "logs", "What commands printed.", [
    "logs show 01890a5d-ac96-774b-bcce-b302099a8057",
  ]);
  const id = "01890a5d-ac96-774b-bcce-b302099a8057";
  const note =
    "The bytes are as the program wrote them; on a terminal, what steers it is left out, except for colours.";

  position(
    storeCommand(
      group,
      "show",
      "Prints the log of a command.",
      [`logs show ${id}`, `logs show ${id} --lines 100`, `logs show ${id} > log.txt`],
      note,
    ),
  ).action(async (commandId: string, flags: LogFlags) => {
    await visit(flags, async (store) => {
      const print = printer(flags);
      let page = await store.logs.read({ commandId, ...positionOf(flags), maxBytes: pageBytes });
      for (;;) {
        for (const chunk of page.chunks) await print(chunk);
        if (page.chunks.length === 0 || page.nextOffset >= page.endOffset || process.stdout.destroyed) break;
        page = await store.logs.read({
          commandId,
          attempt: page.attempt,
          offset: page.nextOffset,
          maxBytes: pageBytes,
        });
      }
      if (page.state === "pruned") say(flags, "The log was pruned.");
      else if (!page.ended) say(flags, "The command has not ended: logs tail follows it.");
    });
  });

  const tailNote = `${note}\nIt ends with the command, whichever process runs that; Ctrl-C ends it before, with exit code 130.`;
  position(
    storeCommand(
      group,
      "tail",
      "Prints the end of a command's log, and what comes, until the command has ended.",
      [`logs tail ${id}`, `logs tail ${id} --lines 0`],
      tailNote,
    ),
  ).action(async (commandId: string, flags: LogFlags) => {
    await visit(flags, async (store, { signal }) => {
      const print = printer(flags);
      const from = flags.lines === undefined ? { lastLines: 10 } : {};
      for await (const chunk of store.logs.follow({ commandId, ...from, ...positionOf(flags) }, { signal })) {
        await print(chunk);
        if (process.stdout.destroyed) return;
      }
      signal.throwIfAborted();
    });
  });
}

const pageBytes = 1_048_576;

function position(command: Command): Command {
  return command
    .argument("<id>", "the command's id")
    .addOption(
      new Option("-n, --lines <number>", "only so many lines of what is there, the last ones").argParser(
        wholeNumber(0, 100_000),
      ),
    )
    .addOption(
      new Option("--attempt <number>", "of this attempt, and not of the latest").argParser(wholeNumber(1, 1_000)),
    );
}

function positionOf({ attempt, lines }: LogFlags): { attempt?: number; lastLines?: number } {
  return { ...(attempt === undefined ? {} : { attempt }), ...(lines === undefined ? {} : { lastLines: lines }) };
}

/** As fast as the reader takes it. */
function printer(flags: StoreFlags): (chunk: Chunk) => Promise<void> {
  const decoder = new TextDecoder();
  const write = async (data: string | Uint8Array): Promise<void> => {
    // A reader that has gone never drains.
    if (!process.stdout.write(data) && !process.stdout.destroyed)
      await Promise.race([once(process.stdout, "drain"), once(process.stdout, "close")]);
  };
  return async (chunk) => {
    if (chunk.droppedBytes > 0)
      say(flags, `${chunk.droppedBytes} bytes were cut out here: the log was over its limit.`);
    if (flags.json) {
      const { data, ...about } = chunk;
      await write(toJsonLine({ ...about, text: new TextDecoder().decode(data) }));
    } else await write(process.stdout.isTTY ? harmlessLog(decoder.decode(chunk.data, { stream: true })) : chunk.data);
  };
}
