// The operations that the model knows, and those that it leaves to other tests.
import { accounts } from "./accounts.ts";
import { artifacts } from "./artifacts.ts";
import { commands } from "./commands.ts";
import { consumers } from "./consumers.ts";
import { files } from "./files.ts";
import { logs } from "./logs.ts";
import { maintenance } from "./maintenance.ts";
import { marks } from "./marks.ts";
import type { ModelOperation } from "./operation.ts";
import { patches } from "./patches.ts";
import { repositories } from "./repositories.ts";
import { retention } from "./retention.ts";
import { runners } from "./runners.ts";
import { sessions } from "./sessions.ts";
import { tokens } from "./tokens.ts";
import { worktrees } from "./worktrees.ts";

export const modelled: Readonly<Record<string, ModelOperation>> = {
  ...repositories,
  ...runners,
  ...worktrees,
  ...sessions,
  ...commands,
  ...logs,
  ...marks,
  ...artifacts,
  ...files,
  ...patches,
  ...accounts,
  ...tokens,
  ...maintenance,
  ...retention,
  ...consumers,
};

const ownModel = "test/unit/operations/debug.model.test.ts has a model of its own";
const ownRequestModel = "test/unit/operations/debugRequests.model.test.ts has a model of its own";
const iterates = "an iteration, which conformance/subjects/logs.ts and changes.ts compare with what was written";
const serving = "reports what the server does at the moment, which no row tells";
const readsWhole = "each run ends with a comparison of all rows, which it reads with the lists";
const own = "conformance/subjects/environments.ts has their rules, and no other operation changes their rows";
const explaining = "what it says follows from rows that each step compares";
const archiving = "moves the log to an archive at a time of the server's own, and the tested stores have no archive";

/** The operations that the model does not know, each with the reason. */
export const leftOut: Readonly<Record<string, string>> = {
  ...left("logs", ["follow", "followSession"], iterates),
  ...left("changes", ["watch", "export"], iterates),
  ...left("changes", ["consume"], "returns rows of the feed, of which the model keeps only the times"),
  ...left("changes", ["since"], "each step reads the feed with it, and compares the feed with that of the model"),
  ...left("maintenance", ["stats", "health"], serving),
  ...left("tokens", ["check"], "conformance/subjects/authority.ts compares it with what each operation does"),
  ...left("debug", ["open", "setBreakpoints", "bindBreakpoints", "applyEvent", "putStop"], ownModel),
  ...left("debug", ["patchState", "get", "list", "follow", "close"], ownModel),
  ...left("debug", ["request", "takeRequests", "reply", "cancelRequest", "history"], ownRequestModel),
  ...left(
    "usage",
    ["days"],
    "sums reports that the runners of the model do not make; conformance/subjects/usage.ts adds them up",
  ),
  ...left("commands", ["explain"], explaining),
  ...left("repositories", ["list"], readsWhole),
  ...left("runners", ["list"], readsWhole),
  ...left("logs", ["archive"], archiving),
  ...left("logs", ["timeline"], "conformance/subjects/logTimeline.ts compares it with the chunks of the log"),
  ...left("environments", ["acquire", "renew", "ready", "fail", "pin", "get", "list", "delete", "evict"], own),
  ...left("maintenance", ["fsck", "repair"], "each run ends with a check of the store, which must find nothing"),
};

function left(entity: string, verbs: readonly string[], reason: string) {
  return Object.fromEntries(verbs.map((verb) => [`${entity}.${verb}`, reason]));
}
