// Sessions and commands in full, with their logs.
import { commandActions, sessionActions } from "./actions.ts";
import { type Detail, filterOf } from "./detail.ts";
import { ago, between, commandText, h, shortId } from "./dom.ts";
import { idText, rowLink } from "./facts.ts";
import type { ArtifactJson, CommandJson, DebugSessionJson, SessionJson } from "./json.ts";
import * as kinds from "./kinds.ts";
import { commandLog, sessionLog } from "./logs.ts";
import { feedBackwards, pages, whole } from "./sources.ts";
import { Table } from "./table.ts";

export const sessionDetail: Detail<SessionJson> = {
  kind: "sessions",
  entity: "session",
  read: (sessionId, { api }) => api.call("sessions.get", { sessionId }),
  title: ({ id }) => `Session …${shortId(id)}`,
  state: ({ state }) => state,
  facts: (row, { names }) => [
    ["Repository", names.of(row.repositoryId)],
    ["Commit", h("code", {}, row.commitSha)],
    ["Commands", kinds.commandCounts(row)],
    ["Requested by", row.requestedBy ?? (row.accountId === null ? null : names.of(row.accountId))],
    ["Worktree", rowLink("worktrees", row.worktreeId, `…${row.worktreeId?.slice(-8)}`)],
    ["Took", between(row.startedAt, row.endedAt)],
    ["Created", ago(row.createdAt)],
    ["Rerun of", rowLink("sessions", row.rerunOf, `…${row.rerunOf?.slice(-8)}`)],
    ["Ended", ago(row.endedAt)],
    ["Because", row.endReason],
    ["Expires", ago(row.endedAt === null ? row.expiresAt : null)],
    ["Id", idText(row.id)],
  ],
  actions: sessionActions,
  json: ({ metadata }) => ["Metadata", metadata],
  tabs: [
    { name: "log", title: "Log", scope: "logs:read", open: (row, surroundings) => sessionLog(row.id, surroundings) },
    {
      name: "commands",
      title: "Commands",
      scope: "commands:read",
      open: ({ id: sessionId }, surroundings) =>
        new Table(
          {
            isPlain: true,
            kind: kinds.commands,
            source: (state) => pages<CommandJson>(surroundings.api, "commands.list", filterOf({ sessionId }, state)),
            concerns: (change) => change.entity === "command" && change.sessionId === sessionId,
          },
          surroundings,
        ),
    },
    {
      name: "debug",
      title: "Debug sessions",
      scope: "debug:read",
      open: ({ id: sessionId }, surroundings) =>
        new Table(
          {
            isPlain: true,
            kind: kinds.debugSessions,
            source: () => pages<DebugSessionJson>(surroundings.api, "debug.list", { sessionId }),
            concerns: (change) => change.entity === "debug_session" && change.sessionId === sessionId,
          },
          surroundings,
        ),
    },
    {
      name: "artifacts",
      title: "Artifacts",
      scope: "artifacts:read",
      open: ({ id: sessionId }, surroundings) =>
        new Table(
          {
            isPlain: true,
            kind: kinds.artifacts,
            source: () => pages<ArtifactJson>(surroundings.api, "artifacts.list", { sessionId }),
            concerns: (change) => change.entity === "artifact" && change.sessionId === sessionId,
          },
          surroundings,
        ),
    },
    {
      name: "changes",
      title: "Changes",
      scope: "changes:read",
      open: ({ id: sessionId }, surroundings) =>
        new Table(
          {
            isPlain: true,
            kind: kinds.changes,
            source: () => feedBackwards(surroundings.api, { sessionId }),
            concerns: (change) => change.sessionId === sessionId,
          },
          surroundings,
        ),
    },
  ],
};

export const commandDetail: Detail<CommandJson> = {
  kind: "commands",
  entity: "command",
  read: (commandId, { api }) => api.call("commands.get", { commandId }),
  title: ({ argv }) => commandText(argv),
  state: ({ state }) => state,
  facts: (row, { names }) => [
    ["Exit code", row.exitCode],
    ["Signal", row.signal],
    ["Because", row.endReason],
    ["Attempt", kinds.attemptText(row)],
    ["Runner", rowLink("runners", row.runnerId, names.of(row.runnerId))],
    ["Session", rowLink("sessions", row.sessionId, `…${shortId(row.sessionId)}`)],
    ["Folder", row.cwd],
    ["Took", between(row.startedAt, row.endedAt)],
    ["Queued", ago(row.queuedAt)],
    ["Not before", row.state === "queued" ? ago(row.notBefore) : null],
    ["Rerun of", rowLink("commands", row.rerunOf, `…${row.rerunOf?.slice(-8)}`)],
    ["Ended", ago(row.endedAt)],
    ["Stops at", row.endedAt === null ? ago(row.stopAt) : null],
    ["Priority", row.priority === 0 ? null : row.priority],
    ["Id", idText(row.id)],
  ],
  actions: commandActions,
  json: ({ env, secretEnvKeys }) => [
    "Environment",
    env === null && secretEnvKeys === null ? null : { env, secretEnvKeys },
  ],
  tabs: [
    {
      name: "log",
      title: "Log",
      scope: "logs:read",
      open: ({ id }, surroundings, rest) => commandLog(id, rest === undefined ? undefined : Number(rest), surroundings),
    },
    {
      name: "attempts",
      title: "Attempts",
      scope: "commands:read",
      open: ({ id: commandId }, surroundings) =>
        new Table(
          {
            isPlain: true,
            kind: kinds.attempts,
            source: () =>
              whole(async (signal) => {
                const rows = await surroundings.api.call<Omit<kinds.AttemptRow, "commandId">[]>(
                  "commands.attempts",
                  { commandId },
                  signal,
                );
                return rows.map((row) => ({ ...row, commandId })).reverse();
              }),
            concerns: (change) => change.entityId === commandId,
          },
          surroundings,
        ),
    },
  ],
};
