// The other rows in full: worktrees, runners, tokens, artifacts and changes; and all kinds by their names.
import { runnerActions, tokenActions, worktreeActions } from "./actions.ts";
import { type Detail, filterOf } from "./detail.ts";
import { ago, type Child, h, shortId, size } from "./dom.ts";
import { type Fact, idText, rowLink } from "./facts.ts";
import type { ArtifactJson, ChangeJson, CommandJson, Page, RunnerJson, TokenJson, WorktreeJson } from "./json.ts";
import * as kinds from "./kinds.ts";
import { pages } from "./sources.ts";
import { Table } from "./table.ts";
import { commandDetail, sessionDetail } from "./workDetails.ts";

const worktreeDetail: Detail<WorktreeJson> = {
  kind: "worktrees",
  entity: "worktree",
  read: (worktreeId, { api }) => api.call("worktrees.get", { worktreeId }),
  title: ({ path }) => path,
  state: ({ state }) => state,
  facts: (row, { names }) => [
    ["Repository", names.of(row.repositoryId)],
    ["Place", row.place || null],
    ["Commit", row.commitSha === null ? null : h("code", {}, row.commitSha)],
    ["Environment", row.environmentHash],
    ["Size", size(row.sizeBytes)],
    ["Holder", row.leaseOwner],
    ["Runner", rowLink("runners", row.leaseRunnerId, names.of(row.leaseRunnerId))],
    ["Leased", ago(row.leasedAt)],
    ["Lease ends", ago(row.leaseExpiresAt)],
    ["Fencing token", row.fence],
    ["Used", row.useCount === 1 ? "once" : `${row.useCount} times`],
    ["Last used", ago(row.lastUsedAt)],
    ["Pinned", row.pinned ? "yes" : null],
    ["Created", ago(row.createdAt)],
    ["Id", idText(row.id)],
  ],
  actions: (row, { api }) => worktreeActions(row, api.self?.account?.name ?? "page"),
};

const runnerDetail: Detail<RunnerJson> = {
  kind: "runners",
  entity: "runner",
  read: (runnerId, { api }) => api.call("runners.get", { runnerId }),
  title: ({ name }) => name,
  state: ({ state }) => state,
  facts: (row) => [
    ["Host", row.host],
    ["Place", row.place === row.host ? null : row.place || null],
    ["Process", row.pid],
    [
      "Labels",
      Object.entries(row.labels)
        .map(([name, value]) => `${name}=${value}`)
        .join(" "),
    ],
    ["Heartbeat", ago(row.heartbeatAt)],
    ["Lost without one", row.state === "gone" ? null : ago(row.expiresAt)],
    ["Registered", ago(row.createdAt)],
    ["Id", idText(row.id)],
  ],
  actions: runnerActions,
  tabs: [
    {
      name: "commands",
      title: "Commands",
      scope: "commands:read",
      open: ({ id: runnerId }, surroundings) =>
        new Table(
          {
            isPlain: true,
            kind: kinds.commands,
            source: (state) => pages<CommandJson>(surroundings.api, "commands.list", filterOf({ runnerId }, state)),
          },
          surroundings,
        ),
    },
    {
      name: "worktrees",
      title: "Worktrees",
      scope: "worktrees:read",
      open: ({ id: runnerId }, surroundings) =>
        new Table(
          {
            isPlain: true,
            kind: kinds.worktrees,
            source: (state) => pages<WorktreeJson>(surroundings.api, "worktrees.list", filterOf({ runnerId }, state)),
          },
          surroundings,
        ),
    },
  ],
};

const tokenDetail: Detail<TokenJson> = {
  kind: "tokens",
  entity: "token",
  /** Reads a token from the list, which is the only way to it. */
  read: async (id, { api }) => {
    for (let cursor: string | undefined; ; ) {
      const input = { order: "desc", limit: 500, ...(cursor === undefined ? {} : { cursor }) };
      const { items, nextCursor } = await api.call<Page<TokenJson>>("tokens.list", input);
      const found = items.find((token) => token.id === id);
      if (found !== undefined) return found;
      if (!nextCursor) throw new Error(`token ${id} does not exist`);
      cursor = nextCursor;
    }
  },
  title: ({ name }) => `Token ${name}`,
  state: kinds.tokenState,
  facts: (row, { names }) => [
    ["Account", names.of(row.accountId)],
    ["Kind", row.kind],
    ["Begins with", h("code", {}, row.hint)],
    ["Scopes", row.scopes.join(" ")],
    ["Issued by", rowLink("tokens", row.createdBy, `…${row.createdBy?.slice(-8)}`)],
    ["Replaced by", rowLink("tokens", row.rotatedTo, `…${row.rotatedTo?.slice(-8)}`)],
    ["Expires", ago(row.expiresAt) || "never"],
    ["Last used", ago(row.lastUsedAt) || "never"],
    ["Revoked", ago(row.revokedAt)],
    ["Because", row.revokedReason],
    ["Created", ago(row.createdAt)],
    ["Id", idText(row.id)],
  ],
  actions: (row, { api }) => tokenActions(row, api.self?.tokenId ?? ""),
};

const artifactDetail: Detail<ArtifactJson> = {
  kind: "artifacts",
  entity: "artifact",
  read: (artifactId, { api }) => api.call("artifacts.get", { artifactId }),
  title: ({ name }) => name,
  state: ({ state }) => state,
  facts: (row) => [
    ["Kind", row.kind],
    ["Type", row.contentType],
    ["Size", size(row.sizeBytes)],
    ["Description", row.description],
    ["Session", rowLink("sessions", row.sessionId, `…${shortId(row.sessionId)}`)],
    ["Command", rowLink("commands", row.commandId, `…${row.commandId?.slice(-8)}`)],
    ["Place", row.uri],
    ["SHA-256", row.sha256 === null ? null : h("code", {}, row.sha256)],
    ["Expires", ago(row.expiresAt)],
    ["Created", ago(row.createdAt)],
    ["Id", idText(row.id)],
  ],
  json: ({ metadata }) => ["Metadata", metadata],
};

const linked: Readonly<Record<string, string>> = {
  session: "sessions",
  command: "commands",
  worktree: "worktrees",
  runner: "runners",
  token: "tokens",
  artifact: "artifacts",
  debug_session: "debug",
};

const changeDetail: Detail<ChangeJson> = {
  kind: "changes",
  entity: "",
  read: async (seq, { api }) => {
    const { changes } = await api.call<{ changes: ChangeJson[] }>("changes.since", {
      after: Number(seq) - 1,
      limit: 1,
    });
    const [change] = changes;
    if (change?.seq !== Number(seq)) throw new Error(`change ${seq} does not exist`);
    return change;
  },
  title: ({ seq, entity, op }) => `Change ${seq}: ${entity.replaceAll("_", " ")} ${op}`,
  facts: ({ entity, entityId, at, actor, requestId, fence, sessionId, entityVersion }): Fact[] => [
    ["Row", linked[entity] === undefined ? idText(entityId) : rowLink(linked[entity], entityId, entityId)],
    ["When", ago(at)],
    ["By", actor],
    ["Request", requestId],
    ["Fencing token", fence],
    ["Version", entityVersion],
    ["Session", sessionId === null ? null : (rowLink("sessions", sessionId, `…${shortId(sessionId)}`) as Child)],
  ],
  json: ({ detail }) => ["Detail", detail],
};

export const details = {
  sessions: sessionDetail,
  commands: commandDetail,
  worktrees: worktreeDetail,
  runners: runnerDetail,
  tokens: tokenDetail,
  artifacts: artifactDetail,
  changes: changeDetail,
} as const;
