// The operations that the model knows, and those that it leaves to other tests.
import { commands } from "./commands.ts";
import { logs } from "./logs.ts";
import { maintenance } from "./maintenance.ts";
import type { ModelOperation } from "./operation.ts";
import { repositories } from "./repositories.ts";
import { runners } from "./runners.ts";
import { sessions } from "./sessions.ts";
import { worktrees } from "./worktrees.ts";

export const modelled: Readonly<Record<string, ModelOperation>> = {
  ...repositories,
  ...runners,
  ...worktrees,
  ...sessions,
  ...commands,
  ...logs,
  ...maintenance,
};

const ownModel = "test/unit/operations/debug.model.test.ts has a model of its own for debug sessions";
const iterates = "an iteration; test/conformance/subjects/logs.ts and changes.ts compare it with what was written";
const secrets = "test/conformance/subjects/tokens.ts: its answer has a secret, which the model could only believe";

/** The operations that the model does not know, each with the reason. */
export const leftOut: Readonly<Record<string, string>> = {
  "logs.follow": iterates,
  "changes.watch": iterates,
  "changes.since": "each step reads the feed with it, and compares the feed with that of the model",
  "maintenance.stats": "reports what the server does at the moment",
  "maintenance.health": "reports what the server does at the moment",
  ...Object.fromEntries(
    [
      "open",
      "setBreakpoints",
      "bindBreakpoints",
      "applyEvent",
      "putStop",
      "patchState",
      "get",
      "list",
      "follow",
      "close",
    ].map((verb) => [`debug.${verb}`, ownModel]),
  ),
};
void secrets;
