// debug-server-db debug: shows debug sessions. ../terminal/debugView.ts formats them.
import { type Command, Option } from "commander";
import { readDebugViews, renderDebugViews } from "../terminal/debugView.ts";
import { wholeNumber } from "../terminal/wholeNumber.ts";
import type { CommandLine } from "./commandLine.ts";
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
}

const id = "0199d7a4-5b2c-7c3e-9f00-3c1b6a9f2d11";
const examples = [`debug show ${id}`, `debug show ${id} --epoch 3`, `debug show ${id} --json | jq '.[0].threads'`];

export function addDebug(program: Command, cli: CommandLine): void {
  const command = commandGroup(program, "debug", "Shows debug sessions.", examples.slice(0, 1))
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
    .option("--json", "print everything that is stored as one JSON array")
    .addOption(urlOption());
  addHelp(command, examples).action(async (sessionId: string, flags: ShowFlags) => {
    await visit(cli, flags, async (store) => {
      const views = await readDebugViews(store, sessionId, { events: flags.events, stopEpoch: flags.epoch });
      cli.stdout.write(flags.json === true ? toJsonLine(views) : renderDebugViews(views, cli.stdout));
    });
  });
}
