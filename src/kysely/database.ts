// The tables of a store as Kysely knows them. Generated from the migrations by `npm run docs`.
import type { ColumnType } from "kysely";

/** A time: milliseconds since 1970-01-01 UTC. */
export type Milliseconds = number;

/** A truth value: 1 or 0. */
export type Flag = 0 | 1;

/** The text of a JSON column, which `parseJson` turns into the value. */
export type JsonText = string;

/** Stands where a value would be written. There is no value of this type. */
export interface OnlyReads {
  readonly [onlyReads]: never;
}
declare const onlyReads: unique symbol;

type Column<Value> = ColumnType<Value, OnlyReads, OnlyReads>;

export interface AccountsTable {
  readonly id: Column<string>;
  readonly name: Column<string>;
  readonly name_key: Column<string>;
  readonly kind: Column<"human" | "agent" | "runner">;
  readonly disabled_at: Column<Milliseconds | null>;
  readonly version: Column<number>;
  readonly created_at: Column<Milliseconds>;
  readonly updated_at: Column<Milliseconds>;
}

export interface ArtifactsTable {
  readonly id: Column<string>;
  readonly session_id: Column<string>;
  readonly command_id: Column<string | null>;
  readonly attempt: Column<number | null>;
  readonly name: Column<string>;
  readonly kind: Column<"log" | "coverage" | "junit" | "core-dump" | "custom">;
  readonly state: Column<"pending" | "ready" | "failed" | "deleted">;
  readonly content_type: Column<string | null>;
  readonly description: Column<string | null>;
  readonly size_bytes: Column<number | null>;
  readonly sha256: Column<string | null>;
  readonly uri: Column<string | null>;
  readonly metadata: Column<JsonText | null>;
  readonly expires_at: Column<Milliseconds | null>;
  readonly pinned: Column<Flag>;
  readonly version: Column<number>;
  readonly created_at: Column<Milliseconds>;
  readonly updated_at: Column<Milliseconds>;
}

export interface AttemptsTable {
  readonly id: Column<number>;
  readonly command_id: Column<string>;
  readonly attempt: Column<number>;
  readonly fence: Column<number>;
  readonly runner_id: Column<string>;
  readonly outcome: Column<"succeeded" | "failed" | "timed_out" | "cancelled" | "lost" | null>;
  readonly exit_code: Column<number | null>;
  readonly signal: Column<string | null>;
  readonly started_at: Column<Milliseconds>;
  readonly ended_at: Column<Milliseconds | null>;
  readonly log_state: Column<"open" | "sealed" | "pruned">;
  readonly next_offset: Column<number>;
  readonly next_line: Column<number>;
  readonly first_offset: Column<number>;
  readonly limit_bytes: Column<number>;
  readonly dropped_bytes: Column<number>;
  readonly log_uri: Column<string | null>;
  readonly session_id: Column<string | null>;
  readonly cpu_ms: Column<number | null>;
  readonly memory_bytes: Column<number | null>;
  readonly written_bytes: Column<number | null>;
}

export interface ChangesTable {
  readonly seq: Column<number>;
  readonly at: Column<Milliseconds>;
  readonly entity: Column<string>;
  readonly entity_id: Column<string>;
  readonly op: Column<string>;
  readonly entity_version: Column<number>;
  readonly fence: Column<number | null>;
  readonly actor: Column<string | null>;
  readonly request_id: Column<string | null>;
  readonly session_id: Column<string | null>;
  readonly detail: Column<JsonText | null>;
}

export interface CommandsTable {
  readonly id: Column<string>;
  readonly session_id: Column<string>;
  readonly sequence: Column<number>;
  readonly argv: Column<JsonText>;
  readonly cwd: Column<string | null>;
  readonly env: Column<JsonText | null>;
  readonly secret_env_keys: Column<JsonText | null>;
  readonly state: Column<
    "queued" | "running" | "cancelling" | "succeeded" | "failed" | "timed_out" | "cancelled" | "lost"
  >;
  readonly priority: Column<number>;
  readonly timeout_ms: Column<number | null>;
  readonly attempt: Column<number>;
  readonly max_attempts: Column<number>;
  readonly fence: Column<number>;
  readonly runner_id: Column<string | null>;
  readonly lease_expires_at: Column<Milliseconds | null>;
  readonly exit_code: Column<number | null>;
  readonly signal: Column<string | null>;
  readonly end_reason: Column<string | null>;
  readonly cancel_requested_at: Column<Milliseconds | null>;
  readonly queued_at: Column<Milliseconds>;
  readonly started_at: Column<Milliseconds | null>;
  readonly ended_at: Column<Milliseconds | null>;
  readonly version: Column<number>;
  readonly created_at: Column<Milliseconds>;
  readonly updated_at: Column<Milliseconds>;
  readonly stop_at: Column<Milliseconds | null>;
  readonly confirmed_fence: Column<number>;
  readonly lost_claims: Column<number>;
  readonly requires: Column<string>;
  readonly retries: Column<number>;
  readonly retry_delay_ms: Column<number>;
  readonly failed_attempts: Column<number>;
  readonly not_before: Column<Milliseconds | null>;
  readonly rerun_of: Column<string | null>;
}

export interface CountersTable {
  readonly entity: Column<string>;
  readonly state: Column<string>;
  readonly amount: Column<number>;
}

export interface DebugBreakpointsTable {
  readonly id: Column<string>;
  readonly debug_session_id: Column<string>;
  readonly kind: Column<"source" | "function" | "data" | "instruction" | "exception">;
  readonly source_path: Column<string | null>;
  readonly position: Column<number>;
  readonly line: Column<number | null>;
  readonly requested: Column<JsonText>;
  readonly adapter_id: Column<number | null>;
  readonly verified: Column<Flag>;
  readonly bound: Column<JsonText | null>;
  readonly hit_count: Column<number>;
  readonly version: Column<number>;
  readonly created_at: Column<Milliseconds>;
  readonly updated_at: Column<Milliseconds>;
  readonly origin: Column<"client" | "adapter">;
  readonly as_of: Column<number>;
}

export interface DebugEarlyReportsTable {
  readonly debug_session_id: Column<string>;
  readonly adapter_id: Column<number>;
  readonly position: Column<number>;
  readonly removed: Column<Flag>;
  readonly bound: Column<JsonText | null>;
  readonly hit_count: Column<number>;
}

export interface DebugEventsTable {
  readonly debug_session_id: Column<string>;
  readonly position: Column<number>;
  readonly adapter_run: Column<number>;
  readonly seq: Column<number>;
  readonly stop_epoch: Column<number>;
  readonly at: Column<Milliseconds>;
  readonly event: Column<string>;
  readonly body: Column<JsonText | null>;
  readonly cut: Column<Flag>;
}

export interface DebugHistoryTable {
  readonly debug_session_id: Column<string>;
  readonly position: Column<number>;
  readonly at: Column<Milliseconds>;
  readonly kind: Column<string>;
  readonly actor: Column<string | null>;
  readonly adapter_run: Column<number>;
  readonly stop_epoch: Column<number>;
  readonly event_position: Column<number>;
  readonly request_id: Column<string | null>;
  readonly detail: Column<JsonText | null>;
}

export interface DebugRequestsTable {
  readonly id: Column<string>;
  readonly debug_session_id: Column<string>;
  readonly position: Column<number>;
  readonly adapter_run: Column<number>;
  readonly state: Column<"queued" | "taken" | "answered" | "failed" | "expired" | "cancelled">;
  readonly command: Column<string>;
  readonly exact_arguments: Column<JsonText | null>;
  readonly arguments: Column<JsonText | null>;
  readonly stop_epoch: Column<number | null>;
  readonly thread_id: Column<number | null>;
  readonly requested_by: Column<string | null>;
  readonly success: Column<Flag | null>;
  readonly body: Column<JsonText | null>;
  readonly message: Column<string | null>;
  readonly cut: Column<Flag>;
  readonly reason: Column<string | null>;
  readonly cancel_due: Column<Flag>;
  readonly created_at: Column<Milliseconds>;
  readonly expires_at: Column<Milliseconds>;
  readonly taken_at: Column<Milliseconds | null>;
  readonly ended_at: Column<Milliseconds | null>;
  readonly ended_position: Column<number | null>;
}

export interface DebugSessionsTable {
  readonly id: Column<string>;
  readonly session_id: Column<string>;
  readonly command_id: Column<string | null>;
  readonly name: Column<string>;
  readonly adapter: Column<string>;
  readonly request: Column<"launch" | "attach">;
  readonly state: Column<"initializing" | "configuring" | "running" | "stopped" | "terminated" | "error">;
  readonly capabilities: Column<JsonText | null>;
  readonly payload: Column<JsonText | null>;
  readonly adapter_run: Column<number>;
  readonly stop_epoch: Column<number>;
  readonly stop_reason: Column<string | null>;
  readonly stop_description: Column<string | null>;
  readonly stop_thread_id: Column<number | null>;
  readonly hit_breakpoint_ids: Column<JsonText | null>;
  readonly last_event: Column<number>;
  readonly next_position: Column<number>;
  readonly breakpoint_count: Column<number>;
  readonly revision: Column<number>;
  readonly exit_code: Column<number | null>;
  readonly end_reason: Column<string | null>;
  readonly ended_at: Column<Milliseconds | null>;
  readonly version: Column<number>;
  readonly created_at: Column<Milliseconds>;
  readonly updated_at: Column<Milliseconds>;
  readonly others_stop_epoch: Column<number | null>;
  readonly others_changed_epoch: Column<number>;
  readonly others_last_event: Column<number>;
  readonly stale_frame_ids: Column<JsonText | null>;
  readonly process: Column<JsonText | null>;
  readonly event_counts: Column<JsonText | null>;
  readonly closed_at: Column<Milliseconds | null>;
  readonly bridge_expires_at: Column<Milliseconds | null>;
}

export interface DebugStopsTable {
  readonly debug_session_id: Column<string>;
  readonly stop_epoch: Column<number>;
  readonly thread_id: Column<number>;
  readonly name: Column<string>;
  readonly at: Column<Milliseconds>;
  readonly frames: Column<JsonText>;
  readonly omitted_frames: Column<number>;
  readonly cut: Column<Flag>;
}

export interface DebugThreadsTable {
  readonly debug_session_id: Column<string>;
  readonly thread_id: Column<number>;
  readonly name: Column<string>;
  readonly stop_epoch: Column<number | null>;
  readonly changed_epoch: Column<number>;
  readonly last_event: Column<number>;
  readonly stop_reason: Column<string | null>;
  readonly stop_description: Column<string | null>;
  readonly hit_breakpoint_ids: Column<JsonText | null>;
  readonly awaits_place: Column<Flag>;
  readonly stale_areas: Column<JsonText | null>;
}

export interface DiscardedFilesTable {
  readonly id: Column<string>;
  readonly kind: Column<"artifact" | "log" | "patch" | "environment">;
  readonly uri: Column<string>;
  readonly size_bytes: Column<number | null>;
  readonly session_id: Column<string | null>;
  readonly owner: Column<string | null>;
  readonly fence: Column<number>;
  readonly due_at: Column<Milliseconds>;
  readonly failures: Column<number>;
  readonly last_error: Column<string | null>;
  readonly created_at: Column<Milliseconds>;
  readonly place: Column<string>;
}

export interface EnvironmentPlacesTable {
  readonly id: Column<string>;
  readonly place: Column<string>;
  readonly environment_count: Column<number>;
  readonly size_bytes: Column<number>;
}

export interface EnvironmentsTable {
  readonly id: Column<string>;
  readonly repository_id: Column<string>;
  readonly place: Column<string>;
  readonly hash: Column<string>;
  readonly state: Column<"building" | "ready" | "failed">;
  readonly uri: Column<string | null>;
  readonly size_bytes: Column<number | null>;
  readonly pinned: Column<Flag>;
  readonly fence: Column<number>;
  readonly lease_runner_id: Column<string | null>;
  readonly lease_owner: Column<string | null>;
  readonly leased_at: Column<Milliseconds | null>;
  readonly lease_expires_at: Column<Milliseconds | null>;
  readonly ready_at: Column<Milliseconds | null>;
  readonly failures: Column<number>;
  readonly last_error: Column<string | null>;
  readonly last_used_at: Column<Milliseconds>;
  readonly use_count: Column<number>;
  readonly version: Column<number>;
  readonly created_at: Column<Milliseconds>;
  readonly updated_at: Column<Milliseconds>;
}

export interface FeedConsumersTable {
  readonly id: Column<string>;
  readonly name: Column<string>;
  readonly seq: Column<number>;
  readonly version: Column<number>;
  readonly created_at: Column<Milliseconds>;
  readonly updated_at: Column<Milliseconds>;
  readonly owner: Column<string | null>;
  readonly fence: Column<number>;
  readonly lease_expires_at: Column<Milliseconds | null>;
}

export interface IdempotencyKeysTable {
  readonly operation: Column<string>;
  readonly actor: Column<string>;
  readonly key: Column<string>;
  readonly request_sha256: Column<string>;
  readonly reply: Column<string | null>;
  readonly expires_at: Column<Milliseconds>;
}

export interface LogBlocksTable {
  readonly attempt_id: Column<number>;
  readonly start_offset: Column<number>;
  readonly end_offset: Column<number>;
  readonly byte_length: Column<number>;
  readonly start_line: Column<number>;
  readonly end_line: Column<number>;
  readonly object_offset: Column<number>;
  readonly object_length: Column<number>;
  readonly raw_length: Column<number>;
  readonly checksum: Column<number>;
  readonly times: Column<string | null>;
}

export interface LogChunksTable {
  readonly attempt_id: Column<number>;
  readonly start_offset: Column<number>;
  readonly byte_length: Column<number>;
  readonly start_line: Column<number>;
  readonly line_count: Column<number>;
  readonly stream: Column<"stdout" | "stderr" | "system">;
  readonly at: Column<Milliseconds>;
  readonly data: Column<Uint8Array>;
}

export interface LogMovesTable {
  readonly id: Column<number>;
  readonly attempt_id: Column<number>;
  readonly phase: Column<"wanted" | "writing" | "clearing">;
  readonly fence: Column<number>;
  readonly uri: Column<string | null>;
  readonly due_at: Column<Milliseconds>;
}

export interface PatchesTable {
  readonly id: Column<string>;
  readonly sha256: Column<string>;
  readonly uri: Column<string>;
  readonly size_bytes: Column<number | null>;
  readonly last_used_at: Column<Milliseconds>;
  readonly version: Column<number>;
  readonly created_at: Column<Milliseconds>;
  readonly updated_at: Column<Milliseconds>;
}

export interface PrunedTable {
  readonly kind: Column<string>;
  readonly row_count: Column<number>;
  readonly version: Column<number>;
  readonly updated_at: Column<Milliseconds>;
}

export interface RepositoriesTable {
  readonly id: Column<string>;
  readonly name: Column<string>;
  readonly name_key: Column<string>;
  readonly remote_url: Column<string | null>;
  readonly default_branch: Column<string>;
  readonly description: Column<string | null>;
  readonly settings: Column<JsonText | null>;
  readonly worktree_root: Column<string | null>;
  readonly max_worktrees: Column<number>;
  readonly worktree_count: Column<number>;
  readonly archived_at: Column<Milliseconds | null>;
  readonly version: Column<number>;
  readonly created_at: Column<Milliseconds>;
  readonly updated_at: Column<Milliseconds>;
  readonly retention: Column<JsonText | null>;
}

export interface RepositoryPlacesTable {
  readonly repository_id: Column<string>;
  readonly place: Column<string>;
  readonly worktree_count: Column<number>;
}

export interface RetentionTable {
  readonly id: Column<"store">;
  readonly settings: Column<JsonText>;
  readonly version: Column<number>;
  readonly updated_at: Column<Milliseconds>;
}

export interface RunnersTable {
  readonly id: Column<string>;
  readonly name: Column<string>;
  readonly boot_id: Column<string>;
  readonly host: Column<string>;
  readonly pid: Column<number>;
  readonly labels: Column<JsonText>;
  readonly state: Column<"online" | "draining" | "stalled" | "gone">;
  readonly heartbeat_at: Column<Milliseconds>;
  readonly expires_at: Column<Milliseconds>;
  readonly version: Column<number>;
  readonly created_at: Column<Milliseconds>;
  readonly updated_at: Column<Milliseconds>;
  readonly place: Column<string>;
}

export interface SchemaMigrationsTable {
  readonly revision: Column<string>;
  readonly name: Column<string>;
  readonly sha256: Column<string>;
  readonly applied_at: Column<Milliseconds>;
  readonly duration_ms: Column<number>;
  readonly applied_by: Column<string>;
}

export interface SessionLabelsTable {
  readonly session_id: Column<string>;
  readonly key: Column<string>;
  readonly value: Column<string>;
  readonly created_at: Column<Milliseconds>;
}

export interface SessionMarksTable {
  readonly session_id: Column<string>;
  readonly number: Column<number>;
  readonly at: Column<Milliseconds>;
  readonly phase: Column<string | null>;
  readonly text: Column<string | null>;
  readonly command_id: Column<string | null>;
  readonly attempt: Column<number | null>;
  readonly log_offset: Column<number | null>;
}

export interface SessionsTable {
  readonly id: Column<string>;
  readonly repository_id: Column<string>;
  readonly worktree_id: Column<string | null>;
  readonly worktree_fence: Column<number | null>;
  readonly token_id: Column<string | null>;
  readonly requested_by: Column<string | null>;
  readonly commit_sha: Column<string>;
  readonly patch_hash: Column<string | null>;
  readonly patch_uri: Column<string | null>;
  readonly state: Column<"pending" | "running" | "cancelling" | "completed" | "failed" | "cancelled" | "expired">;
  readonly end_reason: Column<string | null>;
  readonly next_sequence: Column<number>;
  readonly max_parallel: Column<number>;
  readonly auto_complete: Column<Flag>;
  readonly queued_commands: Column<number>;
  readonly active_commands: Column<number>;
  readonly failed_commands: Column<number>;
  readonly ready_priority: Column<number | null>;
  readonly ready_at: Column<Milliseconds | null>;
  readonly idle_ttl_ms: Column<number | null>;
  readonly expires_at: Column<Milliseconds | null>;
  readonly last_activity_at: Column<Milliseconds>;
  readonly started_at: Column<Milliseconds | null>;
  readonly ended_at: Column<Milliseconds | null>;
  readonly metadata: Column<JsonText | null>;
  readonly version: Column<number>;
  readonly created_at: Column<Milliseconds>;
  readonly updated_at: Column<Milliseconds>;
  readonly deadline_at: Column<Milliseconds | null>;
  readonly account_id: Column<string | null>;
  readonly last_command_id: Column<string | null>;
  readonly last_command_state: Column<"succeeded" | "failed" | "timed_out" | "cancelled" | "lost" | null>;
  readonly last_exit_code: Column<number | null>;
  readonly last_signal: Column<string | null>;
  readonly pinned: Column<Flag>;
  readonly logs_pruned_at: Column<Milliseconds | null>;
  readonly requires: Column<string>;
  readonly ready_requires: Column<string>;
  readonly labels: Column<JsonText>;
  readonly patch_id: Column<string | null>;
  readonly environment_id: Column<string | null>;
  readonly on_failure: Column<"continue" | "stop">;
  readonly rerun_of: Column<string | null>;
  readonly due_at: Column<Milliseconds | null>;
}

export interface StoreMetaTable {
  readonly key: Column<string>;
  readonly value: Column<string>;
}

export interface TokensTable {
  readonly id: Column<string>;
  readonly account_id: Column<string>;
  readonly public_id: Column<string>;
  readonly kind: Column<"personal" | "runner">;
  readonly name: Column<string>;
  readonly secret_sha256: Column<string>;
  readonly hint: Column<string>;
  readonly scopes: Column<string>;
  readonly created_by: Column<string | null>;
  readonly rotated_to: Column<string | null>;
  readonly expires_at: Column<Milliseconds | null>;
  readonly revoked_at: Column<Milliseconds | null>;
  readonly revoked_reason: Column<string | null>;
  readonly last_used_at: Column<Milliseconds | null>;
  readonly version: Column<number>;
  readonly created_at: Column<Milliseconds>;
  readonly updated_at: Column<Milliseconds>;
  readonly name_freed_at: Column<Milliseconds | null>;
  readonly repository_ids: Column<string | null>;
  readonly session_id: Column<string | null>;
}

export interface UsageDaysTable {
  readonly kind: Column<"session" | "account" | "requester" | "repository">;
  readonly name: Column<string>;
  readonly day: Column<string>;
  readonly commands: Column<number>;
  readonly duration_ms: Column<number>;
  readonly cpu_ms: Column<number>;
  readonly memory_bytes: Column<number>;
  readonly written_bytes: Column<number>;
}

export interface WorktreesTable {
  readonly id: Column<string>;
  readonly repository_id: Column<string>;
  readonly path: Column<string>;
  readonly commit_sha: Column<string | null>;
  readonly environment_hash: Column<string | null>;
  readonly pinned: Column<Flag>;
  readonly size_bytes: Column<number | null>;
  readonly state: Column<"creating" | "idle" | "dirty" | "leased" | "quarantined" | "evicting" | "removed">;
  readonly fence: Column<number>;
  readonly lease_runner_id: Column<string | null>;
  readonly lease_owner: Column<string | null>;
  readonly leased_at: Column<Milliseconds | null>;
  readonly lease_expires_at: Column<Milliseconds | null>;
  readonly last_used_at: Column<Milliseconds>;
  readonly use_count: Column<number>;
  readonly version: Column<number>;
  readonly created_at: Column<Milliseconds>;
  readonly updated_at: Column<Milliseconds>;
  readonly commit_fence: Column<number | null>;
  readonly environment_fence: Column<number | null>;
  readonly ended_from: Column<"creating" | "leased" | "evicting" | null>;
  readonly place: Column<string>;
}

/** The tables of a store, the same on SQLite and PostgreSQL. They follow the migrations, so a version may change them. */
export interface DebugServerDatabase {
  readonly accounts: AccountsTable;
  readonly artifacts: ArtifactsTable;
  readonly attempts: AttemptsTable;
  readonly changes: ChangesTable;
  readonly commands: CommandsTable;
  readonly counters: CountersTable;
  readonly debug_breakpoints: DebugBreakpointsTable;
  readonly debug_early_reports: DebugEarlyReportsTable;
  readonly debug_events: DebugEventsTable;
  readonly debug_history: DebugHistoryTable;
  readonly debug_requests: DebugRequestsTable;
  readonly debug_sessions: DebugSessionsTable;
  readonly debug_stops: DebugStopsTable;
  readonly debug_threads: DebugThreadsTable;
  readonly discarded_files: DiscardedFilesTable;
  readonly environment_places: EnvironmentPlacesTable;
  readonly environments: EnvironmentsTable;
  readonly feed_consumers: FeedConsumersTable;
  readonly idempotency_keys: IdempotencyKeysTable;
  readonly log_blocks: LogBlocksTable;
  readonly log_chunks: LogChunksTable;
  readonly log_moves: LogMovesTable;
  readonly patches: PatchesTable;
  readonly pruned: PrunedTable;
  readonly repositories: RepositoriesTable;
  readonly repository_places: RepositoryPlacesTable;
  readonly retention: RetentionTable;
  readonly runners: RunnersTable;
  readonly schema_migrations: SchemaMigrationsTable;
  readonly session_labels: SessionLabelsTable;
  readonly session_marks: SessionMarksTable;
  readonly sessions: SessionsTable;
  readonly store_meta: StoreMetaTable;
  readonly tokens: TokensTable;
  readonly usage_days: UsageDaysTable;
  readonly worktrees: WorktreesTable;
}
