// debug-server-db debug: shows debug sessions, and asks their debuggers. ../terminal/debugView.ts formats them.
import { type Command, InvalidArgumentError, Option } from "commander";
import type { CallOptions } from "../client.ts";
import type { DebugView } from "../model/debug.ts";
import { dependsOnStop } from "../model/debugCommands.ts";
import type { DebugEntry } from "../model/debugRequests.ts";
import { isPlainObject } from "../model/plainObject.ts";
import { present } from "../present.ts";
import type { Store } from "../storeTypes.ts";
import { oneLine } from "../terminal/controls.ts";
import { formatDebugHistory } from "../terminal/debugHistory.ts";
import { readDebugViews, renderDebugViews } from "../terminal/debugView.ts";
import { CliError } from "../terminal/exit.ts";
import { wholeNumber } from "../terminal/wholeNumber.ts";
import type { CommandLine } from "./commandLine.ts";
import { duration } from "./duration.ts";
import { addHelp } from "./help.ts";
import { toJsonLine } from "./rows.ts";
import { commandGroup } from "./storeCommand.ts";
import { urlOption } from "./url.ts";
import { visit } from "./visit.ts";

interface ShowFlags {
  readonly url: string;
  readonly json?: true;
  readonly epoch?: number;
  readonly events: number;
  readonly history?: true;
}

interface RequestFlags {
  readonly url: string;
  readonly json?: true;
  readonly arguments?: Record<string, unknown>;
  readonly epoch?: number;
  readonly timeout: number;
  readonly wait: boolean;
}

const id = "0199d7a4-5b2c-7c3e-9f00-3c1b6a9f2d11";
const requestExamples = [
  `debug request ${id} next`,
  `debug request ${id} evaluate --arguments '{"expression": "1 + 1"}'`,
];
const examples = [
  `debug show ${id}`,
  `debug show ${id} --epoch 3`,
  `debug show ${id} --json | jq '.[0].threads'`,
  `debug show ${id} --history`,
];

export function addDebug(program: Command, cli: CommandLine): void {
  const group = commandGroup(program, "debug", "Shows debug sessions, and asks their debuggers.", examples.slice(0, 1));
  addRequest(group, cli);
  const command = group
    .command("show")
    .description("Shows the debug sessions of a session: threads, frames, breakpoints and the last output.")
    .argument("<session>", "the id of a session, or of a debug session")
    .addOption(
      new Option("--epoch <number>", "show what was recorded at an earlier stop").argParser(
        wholeNumber(1, Number.MAX_SAFE_INTEGER),
      ),
    )
    .addOption(
      new Option("--events <number>", "number of last events to show").default(10).argParser(wholeNumber(0, 500)),
    )
    .option("--history", "also show what was set, asked and answered, and by whom")
    .option("--json", "print everything that is stored as one JSON array")
    .addOption(urlOption());
  addHelp(command, examples).action(async (sessionId: string, flags: ShowFlags) => {
    await visit(cli, flags, async (store) => {
      const views = await readDebugViews(store, sessionId, { events: flags.events, stopEpoch: flags.epoch });
      const told = flags.history === true ? await withHistory(store, views) : [];
      if (flags.json === true) return cli.stdout.write(toJsonLine(flags.history === true ? told : views));
      cli.stdout.write(renderDebugViews(views, cli.stdout));
      for (const { debugSession, history } of told)
        cli.stdout.write(`\nhistory of ${oneLine(debugSession.name, 60)}\n${formatDebugHistory(history, cli.stdout)}`);
    });
  });
}

/** Adds the whole history to each debug session. */
async function withHistory(store: Store, views: Awaited<ReturnType<typeof readDebugViews>>) {
  return await Promise.all(
    views.map(async (view) => {
      const history: DebugEntry[] = [];
      const { id: debugSessionId } = view.debugSession;
      for (let after = 0; ; ) {
        const { entries, nextPosition } = await store.debug.history({ debugSessionId, after, limit: 500 });
        if (entries.length === 0) return { ...view, history };
        history.push(...entries);
        after = nextPosition;
      }
    }),
  );
}

function addRequest(group: Command, cli: CommandLine): void {
  const command = group
    .command("request")
    .description("Asks the debugger of a session something, and prints the answer of its adapter.")
    .argument("<session>", "the id of a session, or of a debug session")
    .argument("<command>", "a request of the Debug Adapter Protocol, such as next, continue, pause or evaluate")
    .addOption(new Option("--arguments <json>", "the arguments of the request").argParser(jsonObject))
    .addOption(
      new Option("--epoch <number>", "the stop that the request depends on (default: the current one)").argParser(
        wholeNumber(1, Number.MAX_SAFE_INTEGER),
      ),
    )
    .addOption(
      new Option("--timeout <time>", "the time to wait for the answer")
        .default(30_000, "30s")
        .argParser(duration(1_000, 600_000)),
    )
    .option("--no-wait", "print the id of the request at once; debug show --history tells what became of it")
    .option("--json", "print the whole request as one JSON value")
    .addOption(urlOption());
  addHelp(command, requestExamples).action(async (sessionId: string, asked: string, flags: RequestFlags) => {
    await visit(cli, flags, async (store, options) => {
      const { debugSession, threads } = await openDebugSession(store, sessionId);
      const { id: debugSessionId, stopThreadId } = debugSession;
      const { arguments: args, timeout: timeoutMs, wait } = flags;
      // Threads stop at epochs of their own. A person means the one that is shown first.
      const threadId = typeof args?.threadId === "number" ? args.threadId : (stopThreadId ?? undefined);
      const stopEpoch = flags.epoch ?? threads.find((thread) => thread.threadId === threadId)?.stopEpoch;
      const stop = dependsOnStop(asked, args)
        ? { stopEpoch: stopEpoch ?? Math.max(1, debugSession.stopEpoch), ...present({ threadId }) }
        : {};
      const request = { debugSessionId, command: asked, timeoutMs, wait, ...stop, ...present({ arguments: args }) };
      const answered = await store.debug.request(request, options satisfies CallOptions);
      if (flags.json === true) cli.stdout.write(toJsonLine(answered));
      else if (!wait) cli.stdout.write(`${answered.id}\n`);
      else if (answered.body !== null) cli.stdout.write(toJsonLine(answered.body));
      if (answered.success === false) throw new CliError("failure", answered.message ?? `${asked} was refused`);
    });
  });
}

/** Returns the debug session with this id, or the only one of this session that is open. */
async function openDebugSession(store: Store, id: string): Promise<DebugView> {
  const views = await readDebugViews(store, id, { events: 0 });
  const [only, ...others] = views.filter(({ debugSession }) => debugSession.endedAt === null);
  if (only === undefined) throw new CliError("failure", "no debugger of the session runs");
  if (others.length === 0) return only;
  const ids = [only, ...others].map(({ debugSession: { id, name } }) => `${id} (${name})`).join(", ");
  throw new CliError("failure", `the session has several debuggers: name one of ${ids}`);
}

function jsonObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (isPlainObject(value)) return value;
  } catch {
    // The message below says what was expected.
  }
  throw new InvalidArgumentError('Expected a JSON object, such as {"expression": "1 + 1"}.');
}
