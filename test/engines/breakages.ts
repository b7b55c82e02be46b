// Faults in the rows of a store, one or more for each check: the statements that make them by hand, and those that mend
// them where nothing in the store can.
import type { TestClock } from "../../src/clock.ts";
import { newId, type Store } from "../../src/index.ts";
import { fixtures } from "../../src/testing/index.ts";

export interface Breakage {
  readonly check: string;
  /** The checks that find something too, because it follows from the fault. */
  readonly also?: readonly string[];
  readonly statements: readonly string[];
  /** The way back, for what cannot be repaired. */
  readonly mend?: readonly string[];
  readonly engine?: "sqlite";
}

/** Creates rows of every kind, and returns the ways to break them. */
export async function breakagesOf(store: Store, clock: TestClock): Promise<readonly Breakage[]> {
  const given = fixtures(store);
  const { worktree: idle } = await given.worktree();
  const { worktree: leased } = await given.lease();
  const { token } = await given.token();
  const rotated = await store.tokens.rotate({ tokenId: token.id });
  const { session: waiting } = await given.session({
    tokenId: rotated.token.id,
    idleTtlMs: 3_600_000,
    labels: { team: "core" },
  });
  await store.commands.enqueue({
    sessionId: waiting.id,
    commands: [{ argv: ["a"], priority: 3 }, { argv: ["b"] }, { argv: ["c"] }],
  });
  const { patch } = await given.patch();
  const { session: patched } = await given.session({ patchHash: patch.sha256 });
  const { environment } = await given.environment();
  await given.environment({ place: "build-7" });
  const { session: empty } = await given.session();
  const running = await given.claim();
  const finished = await given.claim();
  await store.commands.finish({ commandId: finished.command.id, fence: finished.fence, outcome: "succeeded" });
  const { runner } = await given.runner();
  const { session: bound } = await given.session({ reserve: { runnerId: runner.id } });
  const { session: ended } = await given.session({ reserve: { owner: "a" }, commands: [{ argv: ["a"] }] });
  await store.sessions.cancel({ sessionId: ended.id });
  const { session: retried } = await given.session({ commands: [{ argv: ["a"], maxAttempts: 2 }] });
  const [first] = (await store.commands.list({ sessionId: retried.id })).items;
  const retriedId = first?.id as string;
  await store.commands.claim({ runnerId: runner.id, sessionId: retried.id, ttlMs: 1_000 });
  clock.advance(2_000);
  await store.maintenance.reap();
  const again = await store.commands.claim({ runnerId: runner.id, sessionId: retried.id });
  await store.commands.finish({ commandId: retriedId, fence: again?.fence as number, outcome: "failed", exitCode: 1 });
  for (const [index, text] of ["one\n", "two\n", "three\n"].entries())
    await store.logs.append({
      commandId: running.command.id,
      fence: running.fence,
      offset: [0, 4, 8][index] as number,
      data: Buffer.from(text),
    });
  const cut = await given.claim();
  for (let chunk = 0; chunk < 16; chunk++)
    await store.logs.append({
      commandId: cut.command.id,
      fence: cut.fence,
      offset: chunk * 32_768,
      data: Buffer.alloc(32_768, "line\n"),
    });
  const { artifact } = await given.artifact({ sessionId: finished.session.id, commandId: finished.command.id });
  const { artifact: deleted } = await given.artifact({
    sessionId: finished.session.id,
    uri: "file:///srv/artifacts/deleted.txt",
  });
  await store.artifacts.delete({ artifactId: deleted.id });
  await store.sessions.touch({ sessionId: bound.id }, { idempotencyKey: newId() });
  const { debugSessionId, adapterRun } = await given.debugStop();
  await store.debug.applyEvent({ debugSessionId, adapterRun, seq: 7, event: "output", body: { output: "a" } });
  for (const command of ["threads", "modules"])
    await store.debug.request({ debugSessionId, command, wait: false, timeoutMs: 600_000 });
  const { requests } = await store.debug.takeRequests({ debugSessionId, adapterRun, limit: 1, waitMs: 0 });
  for (const request of requests) await store.debug.reply({ debugSessionId, adapterRun, request, body: {} });

  const update = (table: string, set: string, id: string, more = "") =>
    `UPDATE ${table} SET ${set} WHERE id = '${id}'${more}`;
  const ofCommand = (set: string, commandId: string, more = "") =>
    `UPDATE attempts SET ${set} WHERE command_id = '${commandId}'${more}`;
  const chunk = (set: string) =>
    `UPDATE log_chunks SET ${set} WHERE start_offset IN (4, 5) AND attempt_id = (SELECT id FROM attempts WHERE command_id = '${running.command.id}')`;
  const ofDebug = (table: string, set: string, more = "") =>
    `UPDATE ${table} SET ${set} WHERE debug_session_id = '${debugSessionId}'${more}`;
  const queuedId = (await store.commands.list({ sessionId: waiting.id })).items.at(-1)?.id as string;
  const cancelledId = (await store.commands.list({ sessionId: ended.id })).items[0]?.id as string;

  const endedWorktreeId = (await store.sessions.get({ sessionId: ended.id })).worktreeId as string;

  return [
    {
      check: "repository-worktree-count",
      statements: [update("repositories", "worktree_count = worktree_count + 1", idle.repositoryId)],
    },
    {
      check: "place-worktree-count",
      statements: ["UPDATE repository_places SET worktree_count = worktree_count + 1"],
    },
    { check: "place-worktree-count", statements: ["UPDATE repository_places SET worktree_count = 0"] },
    { check: "worktree-place", statements: ["DELETE FROM repository_places"] },
    { check: "place-environment-size", statements: ["UPDATE environment_places SET size_bytes = size_bytes + 1"] },
    {
      check: "place-environment-size",
      statements: ["UPDATE environment_places SET environment_count = environment_count + 1"],
    },
    { check: "environment-place", statements: ["DELETE FROM environment_places"] },
    { check: "session-environment", statements: [update("sessions", `environment_id = '${newId()}'`, patched.id)] },
    { check: "worktree-ended-from", statements: [update("worktrees", "ended_from = 'leased'", leased.id)] },
    { check: "worktree-facts", statements: [update("worktrees", "commit_fence = fence + 1", idle.id)] },
    { check: "worktree-facts", statements: [update("worktrees", "commit_sha = 'a', commit_fence = NULL", leased.id)] },
    {
      check: "command-open-attempt",
      statements: [update("commands", `runner_id = '${runner.id}'`, running.command.id)],
      mend: [update("commands", `runner_id = '${running.runner.id}'`, running.command.id)],
    },
    {
      check: "command-open-attempt",
      also: ["command-outcome"],
      statements: [ofCommand("outcome = NULL, ended_at = NULL, log_state = 'open'", finished.command.id)],
      mend: [ofCommand("outcome = 'succeeded', ended_at = started_at, log_state = 'sealed'", finished.command.id)],
    },
    { check: "attempt-session", statements: [ofCommand("session_id = NULL", finished.command.id)] },
    { check: "attempt-session", statements: [ofCommand(`session_id = '${waiting.id}'`, finished.command.id)] },
    { check: "command-attempt-number", statements: [update("commands", "attempt = 1", queuedId)] },
    {
      check: "command-attempt-gap",
      statements: [
        update("commands", "attempt = 2", finished.command.id),
        ofCommand("attempt = 2", finished.command.id),
      ],
      mend: [update("commands", "attempt = 1", finished.command.id), ofCommand("attempt = 1", finished.command.id)],
    },
    {
      check: "command-fence",
      also: ["command-claims"],
      statements: [update("commands", "fence = 0", finished.command.id)],
    },
    {
      check: "command-outcome",
      statements: [ofCommand("outcome = 'failed'", finished.command.id)],
      mend: [ofCommand("outcome = 'succeeded'", finished.command.id)],
    },
    { check: "command-runner", statements: [update("commands", "started_at = created_at", queuedId)] },
    {
      check: "command-runner",
      statements: [update("commands", "started_at = NULL", running.command.id)],
    },
    { check: "command-stop", statements: [update("commands", "stop_at = started_at", running.command.id)] },
    { check: "command-claims", statements: [update("commands", "confirmed_fence = 7", queuedId)] },
    { check: "command-claims", statements: [update("commands", "lost_claims = 7", queuedId)] },
    {
      check: "command-queue",
      statements: [update("commands", "state = 'queued', ended_at = NULL", cancelledId)],
      mend: [update("commands", "state = 'cancelled', ended_at = queued_at", cancelledId)],
    },
    {
      check: "attempt-fence-order",
      statements: [ofCommand("fence = 5", retriedId, " AND attempt = 1"), update("commands", "fence = 5", retriedId)],
      mend: [ofCommand("fence = 1", retriedId, " AND attempt = 1"), update("commands", "fence = 2", retriedId)],
    },
    {
      check: "session-queued-count",
      statements: [update("sessions", "queued_commands = queued_commands + 1", waiting.id)],
    },
    {
      check: "session-active-count",
      statements: [update("sessions", "active_commands = active_commands + 1", running.session.id)],
    },
    {
      check: "session-failed-count",
      statements: [update("sessions", "failed_commands = failed_commands + 1", finished.session.id)],
    },
    {
      check: "session-ready",
      statements: [update("sessions", "ready_at = NULL, ready_priority = NULL", waiting.id)],
    },
    { check: "session-ready", statements: [update("sessions", "ready_priority = ready_priority + 1", waiting.id)] },
    { check: "session-ready", statements: [update("sessions", "ready_at = created_at", waiting.id)] },
    { check: "session-ready", statements: [update("sessions", "ready_requires = 'gpu'", waiting.id)] },
    {
      check: "session-label-time",
      statements: ["UPDATE session_labels SET created_at = (SELECT min(created_at) FROM repositories)"],
    },
    {
      check: "session-next-sequence",
      statements: [update("sessions", "next_sequence = next_sequence + 1", waiting.id)],
    },
    {
      check: "session-sequence-gap",
      statements: [
        update("commands", "sequence = sequence + 1", queuedId),
        update("sessions", "next_sequence = next_sequence + 1", waiting.id),
      ],
      mend: [
        update("commands", "sequence = sequence - 1", queuedId),
        update("sessions", "next_sequence = next_sequence - 1", waiting.id),
      ],
    },
    {
      check: "session-last-command",
      statements: [update("sessions", "last_command_state = 'lost'", finished.session.id)],
    },
    { check: "session-last-command", statements: [update("sessions", "last_command_id = NULL", finished.session.id)] },
    { check: "session-patch", statements: [update("sessions", "patch_uri = 'file:///srv/other'", patched.id)] },
    { check: "session-account", statements: [update("sessions", "account_id = NULL", waiting.id)] },
    { check: "session-idle-timeout", statements: [update("sessions", "expires_at = NULL", waiting.id)] },
    {
      check: "session-start",
      statements: [update("sessions", "started_at = created_at", empty.id)],
      mend: [update("sessions", "started_at = NULL", empty.id)],
    },
    {
      check: "session-cancelling",
      statements: [update("sessions", "state = 'cancelling'", empty.id)],
      mend: [update("sessions", "state = 'pending'", empty.id)],
    },
    {
      check: "session-kept-lease",
      also: ["repository-worktree-count", "worktree-place"],
      statements: [
        update(
          "worktrees",
          "state = 'leased', lease_owner = 'a', leased_at = created_at, lease_expires_at = created_at, ended_from = NULL",
          endedWorktreeId,
        ),
      ],
      mend: [
        update(
          "worktrees",
          "state = 'removed', lease_owner = NULL, leased_at = NULL, lease_expires_at = NULL",
          endedWorktreeId,
        ),
      ],
    },
    {
      check: "session-worktree",
      statements: [update("sessions", "worktree_fence = worktree_fence + 1", bound.id)],
    },
    { check: "log-end", statements: [ofCommand("next_offset = next_offset + 1", running.command.id)] },
    { check: "log-end", statements: [ofCommand("next_line = next_line + 1", running.command.id)] },
    { check: "log-dropped", statements: [ofCommand("dropped_bytes = dropped_bytes + 1", cut.command.id)] },
    { check: "log-gap", statements: [chunk("start_offset = 5")], mend: [chunk("start_offset = 4")] },
    { check: "log-lines", statements: [chunk("start_line = 2")], mend: [chunk("start_line = 1")] },
    {
      check: "artifact-parent",
      statements: [update("artifacts", "attempt = 9", artifact.id)],
      mend: [update("artifacts", "attempt = 1", artifact.id)],
    },
    { check: "artifact-pin", statements: [update("artifacts", "pinned = TRUE", deleted.id)] },
    {
      check: "token-successor",
      statements: [update("tokens", "rotated_to = id", token.id)],
      mend: [update("tokens", `rotated_to = '${rotated.token.id}'`, token.id)],
    },
    { check: "key-reply", statements: ["UPDATE idempotency_keys SET reply = NULL"] },
    {
      check: "store-facts",
      statements: ["UPDATE store_meta SET value = 'x' WHERE key = 'feed_floor'"],
      mend: ["UPDATE store_meta SET value = '0' WHERE key = 'feed_floor'"],
    },
    {
      check: "debug-breakpoint-count",
      statements: [update("debug_sessions", "breakpoint_count = breakpoint_count + 1", debugSessionId)],
    },
    {
      check: "debug-event-position",
      statements: [update("debug_sessions", "next_position = next_position + 1", debugSessionId)],
    },
    { check: "debug-last-event", statements: [update("debug_sessions", "last_event = 1", debugSessionId)] },
    {
      check: "debug-event-gap",
      statements: [
        ofDebug("debug_events", "position = 10", " AND position = 3"),
        update("debug_sessions", "next_position = 11", debugSessionId),
      ],
      mend: [
        ofDebug("debug_events", "position = 3", " AND position = 10"),
        update("debug_sessions", "next_position = 4", debugSessionId),
      ],
    },
    {
      check: "debug-stop-epoch",
      statements: [ofDebug("debug_stops", "stop_epoch = stop_epoch + 1")],
      mend: [ofDebug("debug_stops", "stop_epoch = stop_epoch - 1")],
    },
    {
      check: "debug-stopped",
      statements: [
        ofDebug(
          "debug_threads",
          "stop_epoch = NULL, stop_reason = NULL, stop_description = NULL, hit_breakpoint_ids = NULL",
        ),
      ],
      mend: [ofDebug("debug_threads", "stop_epoch = 1, stop_reason = 'breakpoint'")],
    },
    {
      check: "debug-command",
      statements: [update("debug_sessions", `command_id = '${queuedId}'`, debugSessionId)],
      mend: [update("debug_sessions", "command_id = NULL", debugSessionId)],
    },
    {
      check: "debug-history-gap",
      also: ["debug-request-entry"],
      statements: [ofDebug("debug_history", "position = 100", " AND kind = 'answered'")],
      mend: [
        ofDebug(
          "debug_history",
          "position = (SELECT ended_position FROM debug_requests WHERE ended_position IS NOT NULL)",
          " AND position = 100",
        ),
      ],
    },
    {
      check: "debug-request-entry",
      statements: [ofDebug("debug_history", "kind = 'state'", " AND kind = 'asked'")],
      mend: [ofDebug("debug_history", "kind = 'asked'", " AND kind = 'state' AND request_id IS NOT NULL")],
    },
    {
      check: "debug-request-open",
      statements: [ofDebug("debug_requests", "adapter_run = 2", " AND state = 'queued'")],
      mend: [ofDebug("debug_requests", "adapter_run = 1", " AND state = 'queued'")],
    },
    {
      check: "counter",
      statements: ["UPDATE counters SET amount = amount + 5 WHERE entity = 'command' AND state = 'queued'"],
    },
    {
      check: "counter",
      statements: ["DELETE FROM counters WHERE entity = 'artifact'"],
    },
    {
      check: "feed-gap",
      engine: "sqlite",
      statements: [
        "UPDATE changes SET seq = 100000 WHERE seq = (SELECT min(seq) FROM changes WHERE entity = 'worktree')",
      ],
      mend: [
        "UPDATE changes SET seq = (SELECT min(seq) + 1 FROM changes AS one WHERE NOT EXISTS (SELECT 1 FROM changes AS two WHERE two.seq = one.seq + 1)) WHERE seq = 100000",
      ],
    },
    {
      check: "feed-versions",
      statements: [
        `UPDATE changes SET entity_version = 9 WHERE entity_id = '${finished.command.id}' AND entity_version = 2`,
      ],
      mend: [`UPDATE changes SET entity_version = 2 WHERE entity_id = '${finished.command.id}' AND entity_version = 9`],
    },
    {
      check: "feed-other-versions",
      statements: [`UPDATE changes SET entity_version = 9 WHERE entity_id = '${idle.id}' AND entity_version = 2`],
      mend: [`UPDATE changes SET entity_version = 2 WHERE entity_id = '${idle.id}' AND entity_version = 9`],
    },
    ...[
      ["session", "sessions", empty.id],
      ["command", "commands", queuedId],
      ["artifact", "artifacts", artifact.id],
      ["debug-session", "debug_sessions", debugSessionId],
      ["account", "accounts", token.accountId],
      ["environment", "environments", environment.id],
      ["patch", "patches", patch.id],
      ["repository", "repositories", idle.repositoryId],
      ["runner", "runners", runner.id],
      ["token", "tokens", token.id],
      ["worktree", "worktrees", idle.id],
    ].map(
      ([name, table, id]): Breakage => ({
        check: `${name}-version`,
        statements: [update(table as string, "version = version + 1", id as string)],
        mend: [update(table as string, "version = version - 1", id as string)],
      }),
    ),
  ];
}
