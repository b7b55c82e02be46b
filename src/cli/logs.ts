// debug-server-db logs: prints the log of a command, once or while it grows.
import { type Command, Option } from "commander";
import type { Chunk, SessionLogItem } from "../model/logs.ts";
import { type LogStream, logStreams } from "../model/vocabulary.ts";
import { present } from "../present.ts";
import { formatBytes } from "../terminal/units.ts";
import { wholeNumber } from "../terminal/wholeNumber.ts";
import type { CommandLine } from "./commandLine.ts";
import { pastTime } from "./duration.ts";
import { chunkToJson, terminalText } from "./logText.ts";
import { column, formatTime, printMessage, printRows, toJsonLine } from "./rows.ts";
import { commandGroup, type StoreFlags, storeCommand } from "./storeCommand.ts";
import { visit } from "./visit.ts";

interface LogFlags extends StoreFlags {
  readonly stream?: LogStream[];
  readonly attempt?: number;
  readonly lines?: number;
}

export function addLogs(program: Command, cli: CommandLine): void {
  const group = commandGroup(program, "logs", "Prints the logs of commands.", [
    "logs show 01890a5d-ac96-774b-bcce-b302099a8057",
  ]);
  const id = "01890a5d-ac96-774b-bcce-b302099a8057";
  const note =
    "Prints the bytes as the program wrote them. On a terminal, controls other than colors and tabs are stripped. With --json, each chunk has its text, and dataBase64 where its bytes are not the UTF-8 of that text.";

  withPosition(
    storeCommand(
      group,
      "show",
      "Prints the log of a command.",
      [`logs show ${id}`, `logs show ${id} --lines 100`, `logs show ${id} > log.txt`],
      note,
    ),
  ).action(async (commandId: string, flags: LogFlags) => {
    await visit(cli, flags, async (store) => {
      const out = printer(cli, flags);
      const streams = present({ stream: flags.stream });
      let page = await store.logs.read({ commandId, ...positionOf(flags), ...streams, maxBytes: pageBytes });
      for (;;) {
        for (const chunk of page.chunks) if (!(await out.print(chunk))) return;
        if (page.nextOffset >= page.endOffset || (page.chunks.length === 0 && page.state === "pruned")) break;
        page = await store.logs.read({
          commandId,
          attempt: page.attempt,
          offset: page.nextOffset,
          ...streams,
          maxBytes: pageBytes,
        });
      }
      await out.end();
      if (page.state === "pruned") printMessage(cli, flags, "The log was pruned.");
      else if (!page.ended) printMessage(cli, flags, "The command has not ended: use logs tail to follow it.");
    });
  });

  const tailNote = `${note}
Ends when the command ends, whichever process runs it. When an attempt is lost and the command runs again, the next
attempt is followed; with --attempt, only that one. Ctrl-C ends it earlier, with exit code 130.`;
  withPosition(
    storeCommand(
      group,
      "tail",
      "Prints the end of a command's log, and follows it until the command has ended.",
      [`logs tail ${id}`, `logs tail ${id} --lines 0`],
      tailNote,
    ),
  ).action(async (commandId: string, flags: LogFlags) => {
    await visit(cli, flags, async (store, { signal }) => {
      const out = printer(cli, flags);
      const from = { lastLines: 10, ...positionOf(flags) };
      const until = flags.attempt === undefined ? "ended" : "sealed";
      let { attempt } = await store.commands.get({ commandId });
      const input = { commandId, ...from, ...present({ stream: flags.stream }), until } as const;
      for await (const chunk of store.logs.follow(input, { signal })) {
        if (chunk.attempt > attempt && attempt > 0)
          printMessage(cli, flags, `Attempt ${chunk.attempt - 1} was lost. Following attempt ${chunk.attempt}.`);
        attempt = chunk.attempt;
        if (!(await out.print(chunk))) return;
      }
      await out.end();
      signal.throwIfAborted();
    });
  });

  addTimeline(group, cli, id);

  const sessionNote = `${note}
Says on stderr when a command starts and ends, and which phase begins. Ends when the session has ended, whichever process
runs its commands; --now leaves out what there is already. Ctrl-C ends it earlier, with exit code 130.`;
  withStream(
    storeCommand(
      group,
      "session",
      "Prints the log of a session, with all its commands, and follows it until the session has ended.",
      [`logs session ${id}`, `logs session ${id} --now --stream stderr`],
      sessionNote,
    )
      .argument("<id>", "the id of the session")
      .option("--now", "begin with what is written from now on"),
  ).action(async (sessionId: string, flags: StoreFlags & { now?: true; stream?: LogStream[] }) => {
    await visit(cli, flags, async (store, { signal }) => {
      const out = sessionPrinter(cli, flags);
      const input = {
        sessionId,
        ...present({ stream: flags.stream }),
        ...(flags.now ? { start: "end" as const } : {}),
      };
      for await (const item of store.logs.followSession(input, { signal })) if (!(await out.print(item))) return;
      await out.end();
      signal.throwIfAborted();
    });
  });
}

interface TimelineFlags extends StoreFlags {
  readonly attempt?: number;
  readonly since?: Date;
  readonly until?: Date;
  readonly buckets: number;
}

function addTimeline(group: Command, cli: CommandLine, id: string): void {
  withAttempt(
    storeCommand(
      group,
      "timeline",
      "Prints how many lines a command wrote when.",
      [`logs timeline ${id}`, `logs timeline ${id} --since 2026-11-26T14:00:00Z --until 2026-11-26T14:05:00Z`],
      "A line counts at the time at which its end was stored. Spans without output at the beginning and at the end of the time that is asked for are printed too. The offset is that of the byte with which a span begins.",
    ).argument("<id>", "the id of the command"),
  )
    .addOption(
      new Option("--since <time>", "from this time on: a time in UTC, or a span up to now").argParser(pastTime),
    )
    .addOption(new Option("--until <time>", "up to this time").argParser(pastTime))
    .addOption(
      new Option("--buckets <number>", "the largest number of spans").argParser(wholeNumber(2, 500)).default(24),
    )
    .action(async (commandId: string, { attempt, since, until, buckets, ...flags }: TimelineFlags) => {
      const page = await visit(cli, flags, (store, options) =>
        store.logs.timeline({ commandId, buckets, ...present({ attempt, since, until }) }, options),
      );
      const rows = page.buckets;
      const most = Math.max(1, ...rows.map(({ lines }) => lines));
      printRows(cli, flags, rows, () => [
        // Shorter spans than a second begin at a millisecond.
        column("from", rows, ({ at }) => (page.bucketMs < 1_000 ? at.toISOString() : formatTime(at))),
        column("lines", rows, ({ lines }) => lines, { align: "right" }),
        column("size", rows, ({ bytes }) => formatBytes(bytes), { align: "right" }),
        column("line", rows, ({ line }) => line, { align: "right" }),
        column("offset", rows, ({ offset }) => offset, { align: "right" }),
        column("", rows, ({ lines }) => "#".repeat(Math.ceil((lines / most) * barLength))),
      ]);
      if (page.state === "pruned") printMessage(cli, flags, "The log was pruned.");
      else if (rows.length === 0) printMessage(cli, flags, "None.");
    });
}

const barLength = 20;

const pageBytes = 1_048_576;

function withStream(command: Command): Command {
  return command.addOption(new Option("--stream <names...>", "only output of these streams").choices([...logStreams]));
}

function withPosition(command: Command): Command {
  return withAttempt(
    withStream(command)
      .argument("<id>", "the id of the command")
      .addOption(
        new Option("-n, --lines <number>", "start with this number of last lines").argParser(wholeNumber(0, 100_000)),
      ),
  );
}

function withAttempt(command: Command): Command {
  return command.addOption(
    new Option("--attempt <number>", "of this attempt instead of the latest").argParser(wholeNumber(1, 1_000)),
  );
}

function positionOf({ attempt, lines }: LogFlags): { attempt?: number; lastLines?: number } {
  return present({ attempt, lastLines: lines });
}

interface Printer {
  /** Prints a chunk no faster than the reader reads. Returns false when the reader has gone. */
  print(chunk: Chunk): Promise<boolean>;
  /** Prints what was held back of the last chunks. */
  end(): Promise<void>;
}

/** Prints the log of a session: the output of each attempt by a printer of its own, and the rest as messages. */
function sessionPrinter(
  cli: CommandLine,
  flags: StoreFlags,
): { print(item: SessionLogItem): Promise<boolean>; end(): Promise<void> } {
  const printers = new Map<string, Printer>();
  const end = async (name: string) => {
    await printers.get(name)?.end();
    printers.delete(name);
  };
  return {
    async print(item) {
      const { position: _, ...about } = item;
      const name = `command ${item.commandId}, attempt ${item.attempt}`;
      if (item.kind === "output") {
        const out = printers.get(name) ?? printer(cli, flags, { kind: item.kind, commandId: item.commandId });
        printers.set(name, out);
        const { attempt, offset, droppedBytes, startLine, stream, at, data } = item;
        return await out.print({ attempt, offset, droppedBytes, startLine, stream, at, data });
      }
      await end(name);
      if (flags.json) return await cli.stdout.writeToReader(toJsonLine(about));
      printMessage(cli, flags, messageOf(item, name));
      return true;
    },
    async end() {
      for (const name of [...printers.keys()]) await end(name);
    },
  };
}

function messageOf(item: Exclude<SessionLogItem, { kind: "output" }>, name: string): string {
  if (item.kind === "started") return `${name}: started`;
  if (item.kind === "mark") return [item.phase, item.text].filter((part) => part !== null).join(": ");
  const how = item.signal ?? (item.exitCode === null ? undefined : `exit code ${item.exitCode}`);
  return `${name}: ${item.outcome}${how === undefined ? "" : `, ${how}`}${item.logState === "pruned" ? ", its log was pruned" : ""}`;
}

/** Prints chunks; as JSON, each with the fields of `about`. */
function printer(cli: CommandLine, flags: StoreFlags, about: Readonly<Record<string, string>> = {}): Printer {
  const { stdout } = cli;
  const [toJson, text] = [chunkToJson(), terminalText()];
  const format = (chunk: Chunk): string | Uint8Array => {
    if (flags.json) return toJsonLine({ ...about, ...toJson(chunk) });
    return stdout.isTerminal ? text.print(chunk) : chunk.data;
  };
  return {
    async print(chunk) {
      if (chunk.droppedBytes > 0)
        printMessage(cli, flags, `${chunk.droppedBytes} bytes are missing here: the log exceeded its limit.`);
      return await stdout.writeToReader(format(chunk));
    },
    async end() {
      const rest = text.end();
      if (rest !== "") await stdout.writeToReader(rest);
    },
  };
}
