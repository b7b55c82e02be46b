// debug-server-db serve: a store over HTTP, with a runner if one is asked for, until it is told to end.
import { type Command, InvalidArgumentError, Option } from "commander";
import { levelOf } from "../events.ts";
import type { Answered } from "../http/index.ts";
import { redactUrl } from "../place.ts";
import { present } from "../present.ts";
import type { StartedRunner } from "../runner/index.ts";
import type { OwnedStore } from "../storeTypes.ts";
import { oneLine, stripTerminalControls } from "../terminal/controls.ts";
import { CliError } from "../terminal/exit.ts";
import { wholeNumber } from "../terminal/wholeNumber.ts";
import { type CommandLine, pathFrom } from "./commandLine.ts";
import { addHelp } from "./help.ts";
import { keyedLabel } from "./labels.ts";
import { urlOption } from "./url.ts";

interface ServeFlags {
  readonly url: string;
  readonly listen: string;
  readonly socketMode: string;
  readonly runner?: string;
  readonly runners?: number;
  readonly name?: string;
  readonly keep?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly inherit?: readonly string[];
  readonly submodules?: true;
  readonly place?: string;
  readonly label?: Readonly<Record<string, string>>;
  readonly artifacts: string;
  readonly origin?: readonly string[];
  readonly proxies: number;
  readonly page: boolean;
  readonly drain: number;
  readonly verbose?: true;
}

/** All clients over HTTP are one client of the store, and most of them wait: as many as there may be connections. */
const serverLimits = { parkedCalls: 12_000, queueCalls: 24_000 };

const examples = [
  "serve",
  "serve --runner .",
  "serve --runner . --keep 'coverage/**' 'reports/*.xml' --env CI=1",
  "serve --listen unix:/run/debug-server/api.sock",
  "serve --listen 0.0.0.0:8080 --url postgres://db.example.org/debug",
];
const note =
  "Creates the store if there is none. Every request needs a token: `admin seed` creates the first one. SIGTERM and Ctrl-C end the server in order: what runs has --drain seconds; a second signal ends it at once. TLS is left to a proxy before it.";

export function addServe(program: Command, cli: CommandLine): void {
  const command = program
    .command("serve")
    .description(
      "Serves the store over HTTP: a page at /, the API at /v1, /openapi.json, /metrics, /livez and /readyz.",
    )
    .option("--listen <address>", "HOST:PORT, or unix:PATH for a socket", "127.0.0.1:8080")
    .option("--socket-mode <mode>", "the rights of the socket: 660 lets a proxy of the same group connect", "600")
    .option("--runner <path>", "also run commands, in worktrees of this git repository and of those in the store")
    .addOption(
      new Option("--runners <number>", "with --runner: the sessions that run at once")
        .default(undefined, "4")
        .argParser(wholeNumber(1, 1_024)),
    )
    .option("--place <name>", "with --runner: where its worktrees are, instead of this host and its folder")
    .addOption(
      new Option(
        "--label <label...>",
        "with --runner: its labels, as KEY or KEY=VALUE; it gets commands that require some of them, or none",
      ).argParser(keyedLabel),
    )
    .option("--name <name>", "with --runner: its name in the store (default: the name of this host)")
    .option("--keep <pattern...>", "with --runner: the files to keep after each command, such as 'coverage/**'")
    .addOption(
      new Option("--env <variable...>", "with --runner: further variables for programs, as NAME=VALUE").argParser(
        variable,
      ),
    )
    .option("--inherit <name...>", "with --runner: the variables of this process that programs get, or all")
    .option("--submodules", "with --runner: check out submodules")
    .option("--artifacts <folder>", "the folder for the bytes of artifacts", ".artifacts/runner/artifacts")
    .option("--origin <origin...>", "pages of these origins may call the API, such as https://app.example.org")
    .option("--no-page", "without the page at /, which shows the store in a browser")
    .addOption(
      new Option("--proxies <number>", "the proxies before this server that append to X-Forwarded-For")
        .default(0)
        .argParser(wholeNumber(0, 10)),
    )
    .addOption(
      new Option("--drain <seconds>", "the time that requests and commands have to end once the server has to")
        .default(30)
        .argParser(wholeNumber(0, 86_400)),
    )
    .option("-v, --verbose", "print each request, and what the runner does")
    .addOption(urlOption());
  addHelp(command, examples, note).action(async (flags: ServeFlags) => {
    const interrupt = cli.listenForInterrupt();
    try {
      await serve(cli, flags, interrupt.signal, () => interrupt[Symbol.dispose]());
    } finally {
      interrupt[Symbol.dispose]();
    }
  });
}

/** The options that say something about a runner. */
const ofRunner = ["runners", "place", "label", "name", "keep", "env", "inherit", "submodules"] as const;

/** Adds a variable of the form NAME=VALUE to those before it. */
function variable(text: string, before: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  const [, name, value] = /^([A-Za-z_]\w*)=(.*)$/s.exec(text) ?? [];
  if (name === undefined || value === undefined) throw new InvalidArgumentError("expected NAME=VALUE");
  return { ...before, [name]: value };
}

/** Serves until the signal fires. From then on, `onDraining` lets a second signal end the process. */
async function serve(cli: CommandLine, flags: ServeFlags, signal: AbortSignal, onDraining: () => void): Promise<void> {
  const lonely = ofRunner.find((name) => flags[name] !== undefined);
  if (flags.runner === undefined && lonely !== undefined)
    throw new CliError("usage", `--${lonely} is for a runner: add --runner PATH`);
  const say = (text: string) => cli.stderr.write(`${stripTerminalControls(text)}\n`);
  // The packages of the server and the runner take a moment, which other commands do not need.
  const [{ openStore }, { serveStore, parseAddress, parseMode, isLocal }] = await Promise.all([
    import("../index.ts"),
    import("../http/index.ts"),
  ]);
  const address = parseAddress(flags.listen);
  const store = await openStore({
    url: flags.url,
    limits: serverLimits,
    onEvent: (event) => {
      if (levelOf(event) !== "info") say(`store: ${event.type}: ${JSON.stringify(event)}`);
    },
  });
  try {
    const api = await serveStore(store, {
      listen: flags.listen,
      socketMode: parseMode(flags.socketMode),
      origins: flags.origin ?? [],
      proxies: flags.proxies,
      page: flags.page,
      artifactsFolder: pathFrom(cli, flags.artifacts),
      ...(flags.verbose ? { onResponse: (answered: Answered) => say(lineOf(answered)) } : {}),
      onError: (error, requestId) =>
        say(`request ${requestId}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`),
    });
    let runner: StartedRunner | undefined;
    try {
      if (flags.runner !== undefined) runner = await startRunner(store, cli, flags, flags.runner, say);
      cli.stdout.write(`listening on ${api.url ?? api.address}\n`);
      const { repository } = runner ?? {};
      say(
        `store ${redactUrl(flags.url)}${repository === undefined ? "" : `, running commands of ${repository.name} (${repository.id})`}`,
      );
      if (!isLocal(address)) say(reachableWarning);
      say(await tokenHint(store));
      await fired(signal);
      say(`ending: what runs has ${flags.drain} s; a second signal ends it at once`);
      onDraining();
      const withinMs = flags.drain * 1_000;
      await Promise.all([api.close({ withinMs }), runner?.close({ drainMs: withinMs })]);
    } finally {
      await Promise.all([api.close({ withinMs: 0 }), runner?.close({ drainMs: 0 })]);
    }
  } finally {
    await store.close();
  }
  say("ended");
}

const reachableWarning =
  "warning: other machines can reach this address, and requests carry tokens: put a proxy with TLS before it";

async function startRunner(
  store: OwnedStore,
  cli: CommandLine,
  flags: ServeFlags,
  path: string,
  say: (text: string) => void,
) {
  const { startRunner: start, formatRunnerEvent, GitError } = await import("../runner/index.ts");
  const { runners: concurrency = 4, name, keep: artifacts, place, label: labels, env, submodules } = flags;
  const inherit = flags.inherit?.includes("all") ? ("all" as const) : flags.inherit;
  return await start(store, {
    repositoryPath: pathFrom(cli, path),
    concurrency,
    ...present({ name, place, labels, artifacts, env, inherit, submodules }),
    signals: false,
    onEvent: (event) => {
      if (flags.verbose || event.type === "problem") say(formatRunnerEvent(event));
    },
  }).catch((error: unknown) => {
    throw error instanceof GitError ? new CliError("failure", `--runner ${path}: ${error.message}`) : error;
  });
}

/** Says how to get a token. A token itself is never printed by a server, whose output is often kept. */
async function tokenHint(store: OwnedStore): Promise<string> {
  const { items } = await store.accounts.list({ limit: 1 });
  return items.length === 0
    ? "no token yet: debug-server-db admin seed --out admin.token"
    : "another token: debug-server-db admin create-token --user NAME --scopes sessions:read,logs:read";
}

function lineOf({ method, path, status, durationMs, actor, requestId }: Answered): string {
  return `${method} ${oneLine(path, 1_000)} ${status} ${durationMs.toFixed(1)} ms ${actor ?? "-"} ${requestId}`;
}

function fired(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
