// debug-server-db debug: where the debuggers of a session stand; how it is shown is in debug/.
import type { Command } from "commander";
import { Option } from "commander";
import { escapeJsonControls } from "../terminal/controls.ts";
import { readDebugViews, renderDebugViews } from "../terminal/debugView.ts";
import { wholeNumber } from "../terminal/wholeNumber.ts";
import type { CommandLine } from "./commandLine.ts";
import { commandGroup, helpAfter } from "./storeCommand.ts";
import { urlOption } from "./url.ts";
import { visit } from "./visit.ts";

interface ShowFlags {
  readonly url: string;
  readonly json?: true;
  readonly epoch?: number;
  readonly events: number;
}

export function addDebug(program: Command, cli: CommandLine): void {
  commandGroup(program, "debug", "Looks into debug sessions.", examples.slice(0, 1))
    .command("show")
    .description("Prints where the debuggers of a session stand: threads, frames, breakpoints and the last output.")
    .argument("<session>", "the id of a session, or of a debug session")
    .addOption(
      new Option("--epoch <number>", "what was seen at an earlier stop").argParser(
        wholeNumber(1, Number.MAX_SAFE_INTEGER),
      ),
    )
    .addOption(
      new Option("--events <number>", "how many of the last events").default(10).argParser(wholeNumber(0, 500)),
    )
    .option("--json", "all that is stored, as JSON")
    .addOption(urlOption())
    .addHelpText("after", helpAfter(examples))
    .action(async (id: string, { url, json, epoch, events }: ShowFlags) => {
      await visit(cli, { url }, async (store) => {
        const views = await readDebugViews(store, id, { events, stopEpoch: epoch });
        cli.stdout.write(
          json === true
            ? `${escapeJsonControls(JSON.stringify(views, undefined, 2))}\n`
            : renderDebugViews(views, cli.stdout),
        );
      });
    });
}

const examples = [
  "debug show 0199d7a4-5b2c-7c3e-9f00-3c1b6a9f2d11",
  "debug show 0199d7a4-5b2c-7c3e-9f00-3c1b6a9f2d11 --epoch 3",
  "debug show 0199d7a4-5b2c-7c3e-9f00-3c1b6a9f2d11 --json | jq '.[0].threads'",
];
