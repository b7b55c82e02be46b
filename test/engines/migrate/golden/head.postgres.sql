-- 0001_initial.postgres.sql 4c71a43b4404095ee15b29749ca26e321826ba2b7de80c74cf77b414e79ded3b
-- 0002_accounts_artifacts.postgres.sql ba9884b83bd79058854b6819849fae7941c3fa09537d06caa936aac8d72c4f09
-- 0003_lookups.postgres.sql 2f603d3d4b0f65624d630a474c7cee7adb920b0fc0f1612120f9d18a143a1151
-- 0004_debug.postgres.sql 3c4eab41415ec808614dd632521429b6a0a8ac95f52a8676bda98efb05bc65a3
-- 0005_truth.postgres.sql 56eb3616ef1d358f813b4617331b4324d82f43bdd648e27f48f29371fbb4c338
-- 0006_lists.postgres.sql 5237599981328ea34193442c0112d8c87b004de3cd44802b065f792a5ddbe0c6
-- 0007_token_names.postgres.sql db64a31ddb3cf14a3b4944c9bc3414e166d57ae6a278b770a369afa1c2ba1e6a
-- 0008_ageing.postgres.sql 55f1419a9f1c96f4323eddd69e0aa9bbbc900c5964cab217bba20596ba728d05
-- 0009_discarded_files.postgres.sql 32f85bad1f6c9a82efa5c99ecb63ab7244046887357a1c68cb69eba1a7ddd530
-- 0010_counters.postgres.sql 820e004e6f422d102beebdba01ff2ab7bf248bb029ededfd12bd41989c35b023
-- 0011_retention.postgres.sql 96d9509d2ecbb6400844c184b5f202ad5b5d371bbdb592110ba7c0fd6317c9dc
-- 0012_log_archive.postgres.sql 727384ba1cc346ca2fc4534f08dca321924c3c6d319527d59f43b5812643da3d
-- 0013_session_log.postgres.sql 57c6966f78a5ba86d01a6dd7664afd5da5f563dce75b9366f88a0d9a43f73cf5
-- 0014_places.postgres.sql d3b4698a17dc19cd89ce96a953679edd1d3cac903e9645e27585ab7bb9733d79
-- 0015_discarded_logs.postgres.sql e67ee25f0c691f95eaf0506635150fc266f5d739cc9096ad0fa4b52f93862479
-- 0016_labels.postgres.sql ce47c10dccebbe8ab618cf0d68cda8972c0e65173acd16e9237e0370777c0901
-- 0017_debug_requests.postgres.sql bd3cf474e3c2bc3a5cbb6cb981ea8e73015077fe45a4529716215241d7614efa
-- 0018_leased_consumers.postgres.sql f4372bc232bf8cca33de5466f5904b8c9046dc195a2f68a6f1addcdfe1b02dcc
-- 0019_usage.postgres.sql 6fd45730b79651d112ad6750b82351d6d5e6ee4ed29055a3ead1e58c38ea3100
-- 0020_debug_threads.postgres.sql 3d1a802cd4cd6f71c5aef05ac2c3c6ebe71cdcb0765e61be31c4dd692f42e7e0
-- 0021_debug_origins.postgres.sql 33e20109fd34bffb73612b37173da4c09202a9ae79a7b62205226aa0890b00bb
-- 0022_token_limits.postgres.sql 77061fb99a86ed7cf48af2a21fb764fe90caeb4d1045948cdfecf529241af14c
-- 0023_session_labels.postgres.sql 2312ed7320a9fdfbaeb68ed00b896fd3f96a99e904c22adbeeb407169b1aa8c7
-- 0024_patches.postgres.sql 83b40e3c39dcfb9b4664750a6194e97f6e420ff7b0735da225a9df06b5cb98d3
-- 0025_environments.postgres.sql 016f5ce58d8ec014014729fe9d255601bad6ca85f06fffaaae736523a3090f40
-- 0026_failure_policy.postgres.sql 412840073c04c69702fcbd8aeee07b2fe8def91c9a4521a1fb645694bcb22667
-- 0027_debug_bridges.postgres.sql c35cbca7c658c0179cf3761d52a6fa6f76f72d7368ee7db5db4a5e06850e365d
-- 0028_log_times.postgres.sql 0c46aee633b5be6f43c48c1d0fd5a4e87d9e8189e817c47c6c565ca7b1b18266

CREATE TABLE accounts (
  id uuid NOT NULL,
  name text COLLATE "C" NOT NULL,
  name_key text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL,
  disabled_at timestamp with time zone,
  version bigint NOT NULL DEFAULT 1,
  created_at timestamp with time zone NOT NULL,
  updated_at timestamp with time zone NOT NULL,
  CONSTRAINT accounts_kind_check CHECK (kind = 'human'::text OR kind = 'agent'::text OR kind = 'runner'::text),
  CONSTRAINT accounts_name_key_key UNIQUE (name_key),
  CONSTRAINT accounts_pkey PRIMARY KEY (id),
  CONSTRAINT accounts_version_check CHECK (version > 0)
);

CREATE INDEX accounts_page ON accounts USING btree (created_at, id);

CREATE INDEX accounts_page_of_live ON accounts USING btree (created_at, id) WHERE disabled_at IS NULL;

CREATE TABLE artifacts (
  id uuid NOT NULL,
  session_id uuid NOT NULL,
  command_id uuid,
  attempt bigint,
  name text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL,
  state text COLLATE "C" NOT NULL,
  content_type text COLLATE "C",
  description text COLLATE "C",
  size_bytes bigint,
  sha256 text COLLATE "C",
  uri text COLLATE "C",
  metadata json,
  expires_at timestamp with time zone,
  pinned boolean NOT NULL DEFAULT false,
  version bigint NOT NULL DEFAULT 1,
  created_at timestamp with time zone NOT NULL,
  updated_at timestamp with time zone NOT NULL,
  CONSTRAINT artifacts_attempt_check CHECK (attempt > 0),
  CONSTRAINT artifacts_check CHECK ((command_id IS NULL) = (attempt IS NULL)),
  CONSTRAINT artifacts_check1 CHECK (state <> 'ready'::text AND state <> 'deleted'::text OR size_bytes IS NOT NULL AND sha256 IS NOT NULL AND uri IS NOT NULL),
  CONSTRAINT artifacts_check2 CHECK (state <> 'pending'::text OR uri IS NULL AND expires_at IS NOT NULL),
  CONSTRAINT artifacts_command_id_fkey FOREIGN KEY (command_id) REFERENCES commands(id) ON DELETE CASCADE,
  CONSTRAINT artifacts_kind_check CHECK (kind = 'log'::text OR kind = 'coverage'::text OR kind = 'junit'::text OR kind = 'core-dump'::text OR kind = 'custom'::text),
  CONSTRAINT artifacts_name_check CHECK (name <> ''::text),
  CONSTRAINT artifacts_pkey PRIMARY KEY (id),
  CONSTRAINT artifacts_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE,
  CONSTRAINT artifacts_sha256_check CHECK (length(sha256) = 64),
  CONSTRAINT artifacts_size_bytes_check CHECK (size_bytes >= 0),
  CONSTRAINT artifacts_state_check CHECK (state = 'pending'::text OR state = 'ready'::text OR state = 'failed'::text OR state = 'deleted'::text),
  CONSTRAINT artifacts_version_check CHECK (version > 0)
);

CREATE INDEX artifacts_ended ON artifacts USING btree ((
CASE
    WHEN state = ANY (ARRAY['failed'::text, 'deleted'::text]) THEN updated_at
    ELSE NULL::timestamp with time zone
END), id) WHERE 
CASE
    WHEN state = ANY (ARRAY['failed'::text, 'deleted'::text]) THEN updated_at
    ELSE NULL::timestamp with time zone
END IS NOT NULL;

CREATE INDEX artifacts_expiry ON artifacts USING btree (expires_at) WHERE expires_at IS NOT NULL AND NOT pinned AND state <> 'failed'::text AND state <> 'deleted'::text;

CREATE UNIQUE INDEX artifacts_name_in_command ON artifacts USING btree (session_id, command_id, attempt, name) WHERE command_id IS NOT NULL AND state <> 'failed'::text AND state <> 'deleted'::text;

CREATE UNIQUE INDEX artifacts_name_in_session ON artifacts USING btree (session_id, name) WHERE command_id IS NULL AND state <> 'failed'::text AND state <> 'deleted'::text;

CREATE INDEX artifacts_page ON artifacts USING btree (created_at, id);

CREATE INDEX artifacts_page_of_command ON artifacts USING btree (command_id, created_at, id) WHERE command_id IS NOT NULL;

CREATE INDEX artifacts_page_of_kind ON artifacts USING btree (kind, created_at, id);

CREATE INDEX artifacts_page_of_kind_and_state ON artifacts USING btree (kind, state, created_at, id);

CREATE INDEX artifacts_page_of_session ON artifacts USING btree (session_id, created_at, id);

CREATE INDEX artifacts_page_of_state ON artifacts USING btree (state, created_at, id);

CREATE INDEX artifacts_pinned ON artifacts USING btree (session_id) WHERE pinned;

CREATE INDEX artifacts_uri ON artifacts USING btree (md5(uri)) WHERE state = 'ready'::text;

CREATE TABLE attempts (
  id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  command_id uuid NOT NULL,
  attempt bigint NOT NULL,
  fence bigint NOT NULL,
  runner_id uuid NOT NULL,
  outcome text COLLATE "C",
  exit_code bigint,
  signal text COLLATE "C",
  started_at timestamp with time zone NOT NULL,
  ended_at timestamp with time zone,
  log_state text COLLATE "C" NOT NULL DEFAULT 'open'::text,
  next_offset bigint NOT NULL DEFAULT 0,
  next_line bigint NOT NULL DEFAULT 0,
  first_offset bigint NOT NULL DEFAULT 0,
  limit_bytes bigint NOT NULL,
  dropped_bytes bigint NOT NULL DEFAULT 0,
  log_uri text COLLATE "C",
  session_id uuid,
  cpu_ms bigint,
  memory_bytes bigint,
  written_bytes bigint,
  CONSTRAINT attempts_attempt_check CHECK (attempt > 0),
  CONSTRAINT attempts_check CHECK ((outcome IS NULL) = (ended_at IS NULL)),
  CONSTRAINT attempts_check1 CHECK ((outcome IS NULL) = (log_state = 'open'::text)),
  CONSTRAINT attempts_check2 CHECK (first_offset <= next_offset AND dropped_bytes <= next_offset),
  CONSTRAINT attempts_command_id_attempt_key UNIQUE (command_id, attempt),
  CONSTRAINT attempts_command_id_fence_key UNIQUE (command_id, fence),
  CONSTRAINT attempts_command_id_fkey FOREIGN KEY (command_id) REFERENCES commands(id) ON DELETE CASCADE,
  CONSTRAINT attempts_cpu_ms_check CHECK (cpu_ms >= 0),
  CONSTRAINT attempts_dropped_bytes_check CHECK (dropped_bytes >= 0),
  CONSTRAINT attempts_fence_check CHECK (fence > 0),
  CONSTRAINT attempts_first_offset_check CHECK (first_offset >= 0),
  CONSTRAINT attempts_limit_bytes_check CHECK (limit_bytes > 0),
  CONSTRAINT attempts_log_state_check CHECK (log_state = 'open'::text OR log_state = 'sealed'::text OR log_state = 'pruned'::text),
  CONSTRAINT attempts_memory_bytes_check CHECK (memory_bytes >= 0),
  CONSTRAINT attempts_next_line_check CHECK (next_line >= 0),
  CONSTRAINT attempts_next_offset_check CHECK (next_offset >= 0),
  CONSTRAINT attempts_outcome_check CHECK (outcome = 'succeeded'::text OR outcome = 'failed'::text OR outcome = 'timed_out'::text OR outcome = 'cancelled'::text OR outcome = 'lost'::text),
  CONSTRAINT attempts_pkey PRIMARY KEY (id),
  CONSTRAINT attempts_runner_id_fkey FOREIGN KEY (runner_id) REFERENCES runners(id),
  CONSTRAINT attempts_written_bytes_check CHECK (written_bytes >= 0)
);

CREATE INDEX attempts_of_runner ON attempts USING btree (runner_id);

CREATE INDEX attempts_of_session ON attempts USING btree (session_id, id);

CREATE TABLE changes (
  seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  at timestamp with time zone NOT NULL,
  entity text COLLATE "C" NOT NULL,
  entity_id text COLLATE "C" NOT NULL,
  op text COLLATE "C" NOT NULL,
  entity_version bigint NOT NULL,
  fence bigint,
  actor text COLLATE "C",
  request_id text COLLATE "C",
  session_id uuid,
  detail json,
  CONSTRAINT changes_pkey PRIMARY KEY (seq)
);

CREATE INDEX changes_of_session ON changes USING btree (session_id, seq) WHERE session_id IS NOT NULL;

CREATE TABLE commands (
  id uuid NOT NULL,
  session_id uuid NOT NULL,
  sequence bigint NOT NULL,
  argv json NOT NULL,
  cwd text COLLATE "C",
  env json,
  secret_env_keys json,
  state text COLLATE "C" NOT NULL,
  priority bigint NOT NULL DEFAULT 0,
  timeout_ms bigint,
  attempt bigint NOT NULL DEFAULT 0,
  max_attempts bigint NOT NULL DEFAULT 1,
  fence bigint NOT NULL DEFAULT 0,
  runner_id uuid,
  lease_expires_at timestamp with time zone,
  exit_code bigint,
  signal text COLLATE "C",
  end_reason text COLLATE "C",
  cancel_requested_at timestamp with time zone,
  queued_at timestamp with time zone NOT NULL,
  started_at timestamp with time zone,
  ended_at timestamp with time zone,
  version bigint NOT NULL DEFAULT 1,
  created_at timestamp with time zone NOT NULL,
  updated_at timestamp with time zone NOT NULL,
  stop_at timestamp with time zone,
  confirmed_fence bigint NOT NULL DEFAULT 0,
  lost_claims bigint NOT NULL DEFAULT 0,
  requires text COLLATE "C" NOT NULL DEFAULT ''::text,
  retries bigint NOT NULL DEFAULT 0,
  retry_delay_ms bigint NOT NULL DEFAULT 10000,
  failed_attempts bigint NOT NULL DEFAULT 0,
  not_before timestamp with time zone,
  rerun_of uuid,
  CONSTRAINT commands_attempt_check CHECK (attempt >= 0),
  CONSTRAINT commands_check CHECK ((state = ANY (ARRAY['running'::text, 'cancelling'::text])) = (lease_expires_at IS NOT NULL)),
  CONSTRAINT commands_check1 CHECK (lease_expires_at IS NULL OR runner_id IS NOT NULL),
  CONSTRAINT commands_check2 CHECK ((state = 'succeeded'::text OR state = 'failed'::text OR state = 'timed_out'::text OR state = 'cancelled'::text OR state = 'lost'::text) = (ended_at IS NOT NULL)),
  CONSTRAINT commands_check3 CHECK (state <> 'succeeded'::text OR exit_code = 0),
  CONSTRAINT commands_check4 CHECK (state <> 'cancelling'::text OR cancel_requested_at IS NOT NULL),
  CONSTRAINT commands_check5 CHECK (exit_code IS NULL OR ended_at IS NOT NULL),
  CONSTRAINT commands_check6 CHECK (signal IS NULL OR ended_at IS NOT NULL),
  CONSTRAINT commands_check7 CHECK (stop_at IS NULL OR lease_expires_at IS NOT NULL),
  CONSTRAINT commands_confirmed_fence_check CHECK (confirmed_fence >= 0),
  CONSTRAINT commands_failed_attempts_check CHECK (failed_attempts >= 0),
  CONSTRAINT commands_fence_check CHECK (fence >= 0),
  CONSTRAINT commands_lost_claims_check CHECK (lost_claims >= 0),
  CONSTRAINT commands_max_attempts_check CHECK (max_attempts > 0),
  CONSTRAINT commands_pkey PRIMARY KEY (id),
  CONSTRAINT commands_retries_check CHECK (retries >= 0),
  CONSTRAINT commands_retry_delay_ms_check CHECK (retry_delay_ms >= 0),
  CONSTRAINT commands_runner_id_fkey FOREIGN KEY (runner_id) REFERENCES runners(id),
  CONSTRAINT commands_sequence_check CHECK (sequence > 0),
  CONSTRAINT commands_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE,
  CONSTRAINT commands_session_id_sequence_key UNIQUE (session_id, sequence),
  CONSTRAINT commands_state_check CHECK (state = 'queued'::text OR state = 'running'::text OR state = 'cancelling'::text OR state = 'succeeded'::text OR state = 'failed'::text OR state = 'timed_out'::text OR state = 'cancelled'::text OR state = 'lost'::text),
  CONSTRAINT commands_timeout_ms_check CHECK (timeout_ms > 0),
  CONSTRAINT commands_version_check CHECK (version > 0)
);

CREATE INDEX commands_active ON commands USING btree (session_id) WHERE lease_expires_at IS NOT NULL;

CREATE INDEX commands_expiry ON commands USING btree (lease_expires_at) WHERE lease_expires_at IS NOT NULL;

CREATE INDEX commands_page ON commands USING btree (created_at, id);

CREATE INDEX commands_page_of_runner ON commands USING btree (runner_id, created_at, id) WHERE runner_id IS NOT NULL;

CREATE INDEX commands_page_of_state ON commands USING btree (state, created_at, id);

CREATE INDEX commands_ready ON commands USING btree (session_id, sequence) WHERE state = 'queued'::text;

CREATE INDEX commands_requires ON commands USING btree (requires) WHERE requires <> ''::text AND ended_at IS NULL;

CREATE INDEX commands_stop ON commands USING btree (stop_at) WHERE stop_at IS NOT NULL;

CREATE TABLE counters (
  entity text COLLATE "C" NOT NULL,
  state text COLLATE "C" NOT NULL,
  amount bigint NOT NULL,
  CONSTRAINT counters_pkey PRIMARY KEY (entity, state)
);

CREATE TABLE debug_breakpoints (
  id uuid NOT NULL,
  debug_session_id uuid NOT NULL,
  kind text COLLATE "C" NOT NULL,
  source_path text COLLATE "C",
  "position" bigint NOT NULL,
  line bigint,
  requested json NOT NULL,
  adapter_id bigint,
  verified boolean NOT NULL DEFAULT false,
  bound json,
  hit_count bigint NOT NULL DEFAULT 0,
  version bigint NOT NULL DEFAULT 1,
  created_at timestamp with time zone NOT NULL,
  updated_at timestamp with time zone NOT NULL,
  origin text COLLATE "C" NOT NULL DEFAULT 'client'::text,
  as_of bigint NOT NULL DEFAULT 0,
  CONSTRAINT debug_breakpoints_as_of_check CHECK (as_of >= 0),
  CONSTRAINT debug_breakpoints_check CHECK ((kind = 'source'::text) = (source_path IS NOT NULL)),
  CONSTRAINT debug_breakpoints_check1 CHECK ((kind = 'source'::text) = (line IS NOT NULL)),
  CONSTRAINT debug_breakpoints_check2 CHECK (bound IS NOT NULL OR adapter_id IS NULL),
  CONSTRAINT debug_breakpoints_debug_session_id_fkey FOREIGN KEY (debug_session_id) REFERENCES debug_sessions(id) ON DELETE CASCADE,
  CONSTRAINT debug_breakpoints_hit_count_check CHECK (hit_count >= 0),
  CONSTRAINT debug_breakpoints_kind_check CHECK (kind = 'source'::text OR kind = 'function'::text OR kind = 'data'::text OR kind = 'instruction'::text OR kind = 'exception'::text),
  CONSTRAINT debug_breakpoints_origin_check CHECK (origin = 'client'::text OR origin = 'adapter'::text),
  CONSTRAINT debug_breakpoints_pkey PRIMARY KEY (id),
  CONSTRAINT debug_breakpoints_position_check CHECK ("position" >= 0),
  CONSTRAINT debug_breakpoints_version_check CHECK (version > 0)
);

CREATE INDEX debug_breakpoints_adapter ON debug_breakpoints USING btree (debug_session_id, adapter_id) WHERE adapter_id IS NOT NULL;

CREATE INDEX debug_breakpoints_source ON debug_breakpoints USING btree (debug_session_id, kind, "position");

CREATE TABLE debug_early_reports (
  debug_session_id uuid NOT NULL,
  adapter_id bigint NOT NULL,
  "position" bigint NOT NULL,
  removed boolean NOT NULL,
  bound json,
  hit_count bigint NOT NULL,
  CONSTRAINT debug_early_reports_debug_session_id_fkey FOREIGN KEY (debug_session_id) REFERENCES debug_sessions(id) ON DELETE CASCADE,
  CONSTRAINT debug_early_reports_hit_count_check CHECK (hit_count >= 0),
  CONSTRAINT debug_early_reports_pkey PRIMARY KEY (debug_session_id, adapter_id),
  CONSTRAINT debug_early_reports_position_check CHECK ("position" > 0)
);

CREATE INDEX debug_early_reports_age ON debug_early_reports USING btree (debug_session_id, "position");

CREATE TABLE debug_events (
  debug_session_id uuid NOT NULL,
  "position" bigint NOT NULL,
  adapter_run bigint NOT NULL,
  seq bigint NOT NULL,
  stop_epoch bigint NOT NULL,
  at timestamp with time zone NOT NULL,
  event text COLLATE "C" NOT NULL,
  body json,
  cut boolean NOT NULL,
  CONSTRAINT debug_events_adapter_run_check CHECK (adapter_run > 0),
  CONSTRAINT debug_events_debug_session_id_fkey FOREIGN KEY (debug_session_id) REFERENCES debug_sessions(id) ON DELETE CASCADE,
  CONSTRAINT debug_events_pkey PRIMARY KEY (debug_session_id, "position"),
  CONSTRAINT debug_events_position_check CHECK ("position" > 0),
  CONSTRAINT debug_events_seq_check CHECK (seq >= 0),
  CONSTRAINT debug_events_stop_epoch_check CHECK (stop_epoch >= 0)
);

CREATE INDEX debug_events_seq ON debug_events USING btree (debug_session_id, adapter_run, seq);

CREATE TABLE debug_history (
  debug_session_id uuid NOT NULL,
  "position" bigint NOT NULL,
  at timestamp with time zone NOT NULL,
  kind text COLLATE "C" NOT NULL,
  actor text COLLATE "C",
  adapter_run bigint NOT NULL,
  stop_epoch bigint NOT NULL,
  event_position bigint NOT NULL,
  request_id uuid,
  detail json,
  CONSTRAINT debug_history_adapter_run_check CHECK (adapter_run > 0),
  CONSTRAINT debug_history_debug_session_id_fkey FOREIGN KEY (debug_session_id) REFERENCES debug_sessions(id) ON DELETE CASCADE,
  CONSTRAINT debug_history_event_position_check CHECK (event_position > 0),
  CONSTRAINT debug_history_pkey PRIMARY KEY (debug_session_id, "position"),
  CONSTRAINT debug_history_position_check CHECK ("position" > 0),
  CONSTRAINT debug_history_stop_epoch_check CHECK (stop_epoch >= 0)
);

CREATE TABLE debug_requests (
  id uuid NOT NULL,
  debug_session_id uuid NOT NULL,
  "position" bigint NOT NULL,
  adapter_run bigint NOT NULL,
  state text COLLATE "C" NOT NULL,
  command text COLLATE "C" NOT NULL,
  exact_arguments json,
  arguments json,
  stop_epoch bigint,
  thread_id bigint,
  requested_by text COLLATE "C",
  success boolean,
  body json,
  message text COLLATE "C",
  cut boolean NOT NULL DEFAULT false,
  reason text COLLATE "C",
  cancel_due boolean NOT NULL DEFAULT false,
  created_at timestamp with time zone NOT NULL,
  expires_at timestamp with time zone NOT NULL,
  taken_at timestamp with time zone,
  ended_at timestamp with time zone,
  ended_position bigint,
  CONSTRAINT debug_requests_adapter_run_check CHECK (adapter_run > 0),
  CONSTRAINT debug_requests_check CHECK (ended_position > "position"),
  CONSTRAINT debug_requests_check1 CHECK ((state = 'queued'::text OR state = 'taken'::text) = (ended_at IS NULL)),
  CONSTRAINT debug_requests_check2 CHECK ((ended_at IS NULL) = (ended_position IS NULL)),
  CONSTRAINT debug_requests_check3 CHECK ((state = 'answered'::text) = (success IS NOT NULL)),
  CONSTRAINT debug_requests_check4 CHECK (state <> 'queued'::text OR taken_at IS NULL),
  CONSTRAINT debug_requests_check5 CHECK (state <> 'taken'::text OR taken_at IS NOT NULL),
  CONSTRAINT debug_requests_check6 CHECK (ended_at IS NULL OR exact_arguments IS NULL),
  CONSTRAINT debug_requests_debug_session_id_fkey FOREIGN KEY (debug_session_id) REFERENCES debug_sessions(id) ON DELETE CASCADE,
  CONSTRAINT debug_requests_debug_session_id_position_key UNIQUE (debug_session_id, "position"),
  CONSTRAINT debug_requests_pkey PRIMARY KEY (id),
  CONSTRAINT debug_requests_position_check CHECK ("position" > 0),
  CONSTRAINT debug_requests_state_check CHECK (state = 'queued'::text OR state = 'taken'::text OR state = 'answered'::text OR state = 'failed'::text OR state = 'expired'::text OR state = 'cancelled'::text),
  CONSTRAINT debug_requests_stop_epoch_check CHECK (stop_epoch > 0)
);

CREATE INDEX debug_requests_cancel ON debug_requests USING btree (debug_session_id, "position") WHERE cancel_due;

CREATE INDEX debug_requests_ended ON debug_requests USING btree (debug_session_id, ended_position) WHERE ended_position IS NOT NULL;

CREATE INDEX debug_requests_expiry ON debug_requests USING btree (expires_at) WHERE ended_at IS NULL;

CREATE INDEX debug_requests_open ON debug_requests USING btree (debug_session_id, "position") WHERE ended_at IS NULL;

CREATE TABLE debug_sessions (
  id uuid NOT NULL,
  session_id uuid NOT NULL,
  command_id uuid,
  name text COLLATE "C" NOT NULL,
  adapter text COLLATE "C" NOT NULL,
  request text COLLATE "C" NOT NULL,
  state text COLLATE "C" NOT NULL,
  capabilities json,
  payload json,
  adapter_run bigint NOT NULL DEFAULT 1,
  stop_epoch bigint NOT NULL DEFAULT 0,
  stop_reason text COLLATE "C",
  stop_description text COLLATE "C",
  stop_thread_id bigint,
  hit_breakpoint_ids json,
  last_event bigint NOT NULL DEFAULT 0,
  next_position bigint NOT NULL DEFAULT 1,
  breakpoint_count bigint NOT NULL DEFAULT 0,
  revision bigint NOT NULL DEFAULT 1,
  exit_code bigint,
  end_reason text COLLATE "C",
  ended_at timestamp with time zone,
  version bigint NOT NULL DEFAULT 1,
  created_at timestamp with time zone NOT NULL,
  updated_at timestamp with time zone NOT NULL,
  others_stop_epoch bigint,
  others_changed_epoch bigint NOT NULL DEFAULT 0,
  others_last_event bigint NOT NULL DEFAULT 0,
  stale_frame_ids json,
  process json,
  event_counts json,
  closed_at timestamp with time zone,
  bridge_expires_at timestamp with time zone,
  CONSTRAINT debug_sessions_adapter_run_check CHECK (adapter_run > 0),
  CONSTRAINT debug_sessions_breakpoint_count_check CHECK (breakpoint_count >= 0),
  CONSTRAINT debug_sessions_check CHECK ((state = 'stopped'::text) = (stop_reason IS NOT NULL)),
  CONSTRAINT debug_sessions_check1 CHECK (stop_reason IS NOT NULL OR stop_description IS NULL),
  CONSTRAINT debug_sessions_check2 CHECK (stop_reason IS NOT NULL OR stop_thread_id IS NULL),
  CONSTRAINT debug_sessions_check3 CHECK (stop_reason IS NOT NULL OR hit_breakpoint_ids IS NULL),
  CONSTRAINT debug_sessions_check4 CHECK ((state = 'terminated'::text OR state = 'error'::text) = (ended_at IS NOT NULL)),
  CONSTRAINT debug_sessions_check5 CHECK (end_reason IS NULL OR ended_at IS NOT NULL),
  CONSTRAINT debug_sessions_check6 CHECK (closed_at IS NULL OR ended_at IS NOT NULL),
  CONSTRAINT debug_sessions_check7 CHECK (bridge_expires_at IS NULL OR ended_at IS NULL),
  CONSTRAINT debug_sessions_command_id_fkey FOREIGN KEY (command_id) REFERENCES commands(id) ON DELETE CASCADE,
  CONSTRAINT debug_sessions_last_event_check CHECK (last_event >= 0),
  CONSTRAINT debug_sessions_next_position_check CHECK (next_position > 0),
  CONSTRAINT debug_sessions_others_changed_epoch_check CHECK (others_changed_epoch >= 0),
  CONSTRAINT debug_sessions_others_last_event_check CHECK (others_last_event >= 0),
  CONSTRAINT debug_sessions_others_stop_epoch_check CHECK (others_stop_epoch > 0),
  CONSTRAINT debug_sessions_pkey PRIMARY KEY (id),
  CONSTRAINT debug_sessions_request_check CHECK (request = 'launch'::text OR request = 'attach'::text),
  CONSTRAINT debug_sessions_revision_check CHECK (revision > 0),
  CONSTRAINT debug_sessions_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE,
  CONSTRAINT debug_sessions_session_id_name_key UNIQUE (session_id, name),
  CONSTRAINT debug_sessions_state_check CHECK (state = 'initializing'::text OR state = 'configuring'::text OR state = 'running'::text OR state = 'stopped'::text OR state = 'terminated'::text OR state = 'error'::text),
  CONSTRAINT debug_sessions_stop_epoch_check CHECK (stop_epoch >= 0),
  CONSTRAINT debug_sessions_version_check CHECK (version > 0)
);

CREATE INDEX debug_sessions_bridges ON debug_sessions USING btree (bridge_expires_at) WHERE bridge_expires_at IS NOT NULL;

CREATE INDEX debug_sessions_command ON debug_sessions USING btree (command_id) WHERE command_id IS NOT NULL;

CREATE INDEX debug_sessions_ended ON debug_sessions USING btree (ended_at, id) WHERE ended_at IS NOT NULL;

CREATE INDEX debug_sessions_open ON debug_sessions USING btree (session_id, id) WHERE ended_at IS NULL;

CREATE INDEX debug_sessions_page ON debug_sessions USING btree (session_id, created_at, id);

CREATE TABLE debug_stops (
  debug_session_id uuid NOT NULL,
  stop_epoch bigint NOT NULL,
  thread_id bigint NOT NULL,
  name text COLLATE "C" NOT NULL,
  at timestamp with time zone NOT NULL,
  frames json NOT NULL,
  omitted_frames bigint NOT NULL,
  cut boolean NOT NULL,
  CONSTRAINT debug_stops_debug_session_id_fkey FOREIGN KEY (debug_session_id) REFERENCES debug_sessions(id) ON DELETE CASCADE,
  CONSTRAINT debug_stops_omitted_frames_check CHECK (omitted_frames >= 0),
  CONSTRAINT debug_stops_pkey PRIMARY KEY (debug_session_id, stop_epoch, thread_id),
  CONSTRAINT debug_stops_stop_epoch_check CHECK (stop_epoch > 0)
);

CREATE TABLE debug_threads (
  debug_session_id uuid NOT NULL,
  thread_id bigint NOT NULL,
  name text COLLATE "C" NOT NULL,
  stop_epoch bigint,
  changed_epoch bigint NOT NULL,
  last_event bigint NOT NULL,
  stop_reason text COLLATE "C",
  stop_description text COLLATE "C",
  hit_breakpoint_ids json,
  awaits_place boolean NOT NULL,
  stale_areas json,
  CONSTRAINT debug_threads_changed_epoch_check CHECK (changed_epoch >= 0),
  CONSTRAINT debug_threads_check CHECK (stop_reason IS NULL OR stop_epoch IS NOT NULL),
  CONSTRAINT debug_threads_check1 CHECK (stop_description IS NULL OR stop_reason IS NOT NULL),
  CONSTRAINT debug_threads_check2 CHECK (NOT awaits_place OR stop_reason IS NOT NULL),
  CONSTRAINT debug_threads_check3 CHECK (hit_breakpoint_ids IS NULL OR stop_reason IS NOT NULL),
  CONSTRAINT debug_threads_debug_session_id_fkey FOREIGN KEY (debug_session_id) REFERENCES debug_sessions(id) ON DELETE CASCADE,
  CONSTRAINT debug_threads_last_event_check CHECK (last_event >= 0),
  CONSTRAINT debug_threads_pkey PRIMARY KEY (debug_session_id, thread_id),
  CONSTRAINT debug_threads_stop_epoch_check CHECK (stop_epoch > 0)
);

CREATE TABLE discarded_files (
  id uuid NOT NULL,
  kind text COLLATE "C" NOT NULL,
  uri text COLLATE "C" NOT NULL,
  size_bytes bigint,
  session_id uuid,
  owner text COLLATE "C",
  fence bigint NOT NULL DEFAULT 0,
  due_at timestamp with time zone NOT NULL,
  failures bigint NOT NULL DEFAULT 0,
  last_error text COLLATE "C",
  created_at timestamp with time zone NOT NULL,
  place text COLLATE "C" NOT NULL DEFAULT ''::text,
  CONSTRAINT discarded_files_check CHECK (owner IS NULL OR fence > 0),
  CONSTRAINT discarded_files_failures_check CHECK (failures >= 0),
  CONSTRAINT discarded_files_fence_check CHECK (fence >= 0),
  CONSTRAINT discarded_files_kind_check CHECK (kind = 'artifact'::text OR kind = 'log'::text OR kind = 'patch'::text OR kind = 'environment'::text),
  CONSTRAINT discarded_files_pkey PRIMARY KEY (id),
  CONSTRAINT discarded_files_size_bytes_check CHECK (size_bytes >= 0)
);

CREATE INDEX discarded_files_due ON discarded_files USING btree (kind, place, due_at);

CREATE INDEX discarded_files_page ON discarded_files USING btree (created_at, id);

CREATE INDEX discarded_files_page_of_kind ON discarded_files USING btree (kind, created_at, id);

CREATE UNIQUE INDEX discarded_files_uri ON discarded_files USING btree (md5(uri), place);

CREATE TABLE environment_places (
  id uuid NOT NULL,
  place text COLLATE "C" NOT NULL,
  environment_count bigint NOT NULL,
  size_bytes bigint NOT NULL,
  CONSTRAINT environment_places_environment_count_check CHECK (environment_count >= 0),
  CONSTRAINT environment_places_pkey PRIMARY KEY (id),
  CONSTRAINT environment_places_place_key UNIQUE (place),
  CONSTRAINT environment_places_size_bytes_check CHECK (size_bytes >= 0)
);

CREATE TABLE environments (
  id uuid NOT NULL,
  repository_id uuid NOT NULL,
  place text COLLATE "C" NOT NULL,
  hash text COLLATE "C" NOT NULL,
  state text COLLATE "C" NOT NULL,
  uri text COLLATE "C",
  size_bytes bigint,
  pinned boolean NOT NULL DEFAULT false,
  fence bigint NOT NULL,
  lease_runner_id uuid,
  lease_owner text COLLATE "C",
  leased_at timestamp with time zone,
  lease_expires_at timestamp with time zone,
  ready_at timestamp with time zone,
  failures bigint NOT NULL DEFAULT 0,
  last_error text COLLATE "C",
  last_used_at timestamp with time zone NOT NULL,
  use_count bigint NOT NULL DEFAULT 0,
  version bigint NOT NULL DEFAULT 1,
  created_at timestamp with time zone NOT NULL,
  updated_at timestamp with time zone NOT NULL,
  CONSTRAINT environments_check CHECK ((state = 'building'::text) = (lease_expires_at IS NOT NULL)),
  CONSTRAINT environments_check1 CHECK ((lease_expires_at IS NULL) = (leased_at IS NULL)),
  CONSTRAINT environments_check2 CHECK (lease_expires_at IS NOT NULL OR lease_runner_id IS NULL AND lease_owner IS NULL),
  CONSTRAINT environments_check3 CHECK (lease_expires_at IS NULL OR lease_owner IS NOT NULL),
  CONSTRAINT environments_check4 CHECK ((state = 'ready'::text) = (uri IS NOT NULL)),
  CONSTRAINT environments_check5 CHECK ((uri IS NULL) = (size_bytes IS NULL)),
  CONSTRAINT environments_check6 CHECK ((uri IS NULL) = (ready_at IS NULL)),
  CONSTRAINT environments_failures_check CHECK (failures >= 0),
  CONSTRAINT environments_fence_check CHECK (fence > 0),
  CONSTRAINT environments_lease_runner_id_fkey FOREIGN KEY (lease_runner_id) REFERENCES runners(id),
  CONSTRAINT environments_pkey PRIMARY KEY (id),
  CONSTRAINT environments_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES repositories(id),
  CONSTRAINT environments_repository_id_place_hash_key UNIQUE (repository_id, place, hash),
  CONSTRAINT environments_size_bytes_check CHECK (size_bytes >= 0),
  CONSTRAINT environments_state_check CHECK (state = 'building'::text OR state = 'ready'::text OR state = 'failed'::text),
  CONSTRAINT environments_use_count_check CHECK (use_count >= 0),
  CONSTRAINT environments_version_check CHECK (version > 0)
);

CREATE INDEX environments_aged ON environments USING btree (place, ready_at, id) WHERE ready_at IS NOT NULL AND state <> 'building'::text AND NOT pinned;

CREATE INDEX environments_evictable ON environments USING btree (place, last_used_at, id) WHERE state <> 'building'::text AND NOT pinned;

CREATE INDEX environments_expiry ON environments USING btree (lease_expires_at) WHERE lease_expires_at IS NOT NULL;

CREATE INDEX environments_of_runner ON environments USING btree (lease_runner_id) WHERE lease_runner_id IS NOT NULL;

CREATE INDEX environments_page ON environments USING btree (created_at, id);

CREATE INDEX environments_page_of_place ON environments USING btree (place, created_at, id);

CREATE INDEX environments_page_of_repository ON environments USING btree (repository_id, created_at, id);

CREATE INDEX environments_page_of_state ON environments USING btree (state, created_at, id);

CREATE INDEX environments_uri ON environments USING btree (md5(uri), place) WHERE uri IS NOT NULL;

CREATE INDEX environments_used ON environments USING btree (last_used_at, id);

CREATE TABLE feed_consumers (
  id uuid NOT NULL,
  name text COLLATE "C" NOT NULL,
  seq bigint NOT NULL,
  version bigint NOT NULL DEFAULT 1,
  created_at timestamp with time zone NOT NULL,
  updated_at timestamp with time zone NOT NULL,
  owner text COLLATE "C",
  fence bigint NOT NULL DEFAULT 0,
  lease_expires_at timestamp with time zone,
  CONSTRAINT feed_consumers_fence_check CHECK (fence >= 0),
  CONSTRAINT feed_consumers_name_key UNIQUE (name),
  CONSTRAINT feed_consumers_pkey PRIMARY KEY (id),
  CONSTRAINT feed_consumers_seq_check CHECK (seq >= 0),
  CONSTRAINT feed_consumers_version_check CHECK (version > 0)
);

CREATE INDEX feed_consumers_behind ON feed_consumers USING btree (seq, name);

CREATE INDEX feed_consumers_leased ON feed_consumers USING btree (lease_expires_at) WHERE lease_expires_at IS NOT NULL;

CREATE TABLE idempotency_keys (
  operation text COLLATE "C" NOT NULL,
  actor text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  request_sha256 text COLLATE "C" NOT NULL,
  reply text COLLATE "C",
  expires_at timestamp with time zone NOT NULL,
  CONSTRAINT idempotency_keys_pkey PRIMARY KEY (operation, actor, key),
  CONSTRAINT idempotency_keys_request_sha256_check CHECK (length(request_sha256) = 64)
);

CREATE INDEX idempotency_keys_expiry ON idempotency_keys USING btree (expires_at);

CREATE TABLE log_blocks (
  attempt_id bigint NOT NULL,
  start_offset bigint NOT NULL,
  end_offset bigint NOT NULL,
  byte_length bigint NOT NULL,
  start_line bigint NOT NULL,
  end_line bigint NOT NULL,
  object_offset bigint NOT NULL,
  object_length bigint NOT NULL,
  raw_length bigint NOT NULL,
  checksum bigint NOT NULL,
  times text COLLATE "C",
  CONSTRAINT log_blocks_attempt_id_fkey FOREIGN KEY (attempt_id) REFERENCES attempts(id) ON DELETE CASCADE,
  CONSTRAINT log_blocks_check CHECK (byte_length >= 1 AND byte_length <= (end_offset - start_offset)),
  CONSTRAINT log_blocks_check1 CHECK (end_line >= start_line),
  CONSTRAINT log_blocks_check2 CHECK (raw_length > byte_length),
  CONSTRAINT log_blocks_object_length_check CHECK (object_length > 0),
  CONSTRAINT log_blocks_object_offset_check CHECK (object_offset >= 0),
  CONSTRAINT log_blocks_pkey PRIMARY KEY (attempt_id, start_offset),
  CONSTRAINT log_blocks_start_line_check CHECK (start_line >= 0),
  CONSTRAINT log_blocks_start_offset_check CHECK (start_offset >= 0)
);

CREATE TABLE log_chunks (
  attempt_id bigint NOT NULL,
  start_offset bigint NOT NULL,
  byte_length bigint NOT NULL,
  start_line bigint NOT NULL,
  line_count bigint NOT NULL,
  stream text COLLATE "C" NOT NULL,
  at timestamp with time zone NOT NULL,
  data bytea NOT NULL,
  CONSTRAINT log_chunks_attempt_id_fkey FOREIGN KEY (attempt_id) REFERENCES attempts(id) ON DELETE CASCADE,
  CONSTRAINT log_chunks_check CHECK (byte_length = octet_length(data) AND byte_length >= 1 AND byte_length <= 65536),
  CONSTRAINT log_chunks_check1 CHECK (line_count >= 0 AND line_count <= byte_length),
  CONSTRAINT log_chunks_pkey PRIMARY KEY (attempt_id, start_offset),
  CONSTRAINT log_chunks_start_offset_check CHECK (start_offset >= 0),
  CONSTRAINT log_chunks_stream_check CHECK (stream = 'stdout'::text OR stream = 'stderr'::text OR stream = 'system'::text)
);

CREATE TABLE log_moves (
  id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  attempt_id bigint NOT NULL,
  phase text COLLATE "C" NOT NULL,
  fence bigint NOT NULL DEFAULT 0,
  uri text COLLATE "C",
  due_at timestamp with time zone NOT NULL,
  CONSTRAINT log_moves_attempt_id_key UNIQUE (attempt_id),
  CONSTRAINT log_moves_check CHECK ((phase = 'wanted'::text) = (uri IS NULL)),
  CONSTRAINT log_moves_phase_check CHECK (phase = 'wanted'::text OR phase = 'writing'::text OR phase = 'clearing'::text),
  CONSTRAINT log_moves_pkey PRIMARY KEY (id)
);

CREATE INDEX log_moves_due ON log_moves USING btree (due_at, id);

CREATE TABLE patches (
  id uuid NOT NULL,
  sha256 text COLLATE "C" NOT NULL,
  uri text COLLATE "C" NOT NULL,
  size_bytes bigint,
  last_used_at timestamp with time zone NOT NULL,
  version bigint NOT NULL DEFAULT 1,
  created_at timestamp with time zone NOT NULL,
  updated_at timestamp with time zone NOT NULL,
  CONSTRAINT patches_pkey PRIMARY KEY (id),
  CONSTRAINT patches_sha256_key UNIQUE (sha256),
  CONSTRAINT patches_size_bytes_check CHECK (size_bytes >= 0),
  CONSTRAINT patches_version_check CHECK (version > 0)
);

CREATE INDEX patches_page ON patches USING btree (created_at, id);

CREATE INDEX patches_uri ON patches USING btree (md5(uri));

CREATE INDEX patches_used ON patches USING btree (last_used_at, id);

CREATE TABLE pruned (
  kind text COLLATE "C" NOT NULL,
  row_count bigint NOT NULL,
  version bigint NOT NULL DEFAULT 1,
  updated_at timestamp with time zone NOT NULL,
  CONSTRAINT pruned_pkey PRIMARY KEY (kind),
  CONSTRAINT pruned_row_count_check CHECK (row_count > 0),
  CONSTRAINT pruned_version_check CHECK (version > 0)
);

CREATE TABLE repositories (
  id uuid NOT NULL,
  name text COLLATE "C" NOT NULL,
  name_key text COLLATE "C" NOT NULL,
  remote_url text COLLATE "C",
  default_branch text COLLATE "C" NOT NULL,
  description text COLLATE "C",
  settings json,
  worktree_root text COLLATE "C",
  max_worktrees bigint NOT NULL,
  worktree_count bigint NOT NULL DEFAULT 0,
  archived_at timestamp with time zone,
  version bigint NOT NULL DEFAULT 1,
  created_at timestamp with time zone NOT NULL,
  updated_at timestamp with time zone NOT NULL,
  retention json,
  CONSTRAINT repositories_max_worktrees_check CHECK (max_worktrees >= 0),
  CONSTRAINT repositories_name_key_key UNIQUE (name_key),
  CONSTRAINT repositories_pkey PRIMARY KEY (id),
  CONSTRAINT repositories_version_check CHECK (version > 0),
  CONSTRAINT repositories_worktree_count_check CHECK (worktree_count >= 0)
);

CREATE INDEX repositories_page ON repositories USING btree (created_at, id);

CREATE INDEX repositories_page_of_live ON repositories USING btree (created_at, id) WHERE archived_at IS NULL;

CREATE INDEX repositories_retention ON repositories USING btree (id) WHERE retention IS NOT NULL;

CREATE TABLE repository_places (
  repository_id uuid NOT NULL,
  place text COLLATE "C" NOT NULL,
  worktree_count bigint NOT NULL,
  CONSTRAINT repository_places_pkey PRIMARY KEY (repository_id, place),
  CONSTRAINT repository_places_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES repositories(id),
  CONSTRAINT repository_places_worktree_count_check CHECK (worktree_count >= 0)
);

CREATE TABLE retention (
  id text COLLATE "C" NOT NULL,
  settings json NOT NULL,
  version bigint NOT NULL DEFAULT 1,
  updated_at timestamp with time zone NOT NULL,
  CONSTRAINT retention_id_check CHECK (id = 'store'::text),
  CONSTRAINT retention_pkey PRIMARY KEY (id),
  CONSTRAINT retention_version_check CHECK (version > 0)
);

CREATE TABLE runners (
  id uuid NOT NULL,
  name text COLLATE "C" NOT NULL,
  boot_id uuid NOT NULL,
  host text COLLATE "C" NOT NULL,
  pid bigint NOT NULL,
  labels json NOT NULL,
  state text COLLATE "C" NOT NULL,
  heartbeat_at timestamp with time zone NOT NULL,
  expires_at timestamp with time zone NOT NULL,
  version bigint NOT NULL DEFAULT 1,
  created_at timestamp with time zone NOT NULL,
  updated_at timestamp with time zone NOT NULL,
  place text COLLATE "C" NOT NULL DEFAULT ''::text,
  CONSTRAINT runners_boot_id_key UNIQUE (boot_id),
  CONSTRAINT runners_pkey PRIMARY KEY (id),
  CONSTRAINT runners_state_check CHECK (state = 'online'::text OR state = 'draining'::text OR state = 'stalled'::text OR state = 'gone'::text),
  CONSTRAINT runners_version_check CHECK (version > 0)
);

CREATE INDEX runners_expiry ON runners USING btree (state, expires_at) WHERE state <> 'gone'::text;

CREATE INDEX runners_gone ON runners USING btree ((
CASE
    WHEN state = 'gone'::text THEN updated_at
    ELSE NULL::timestamp with time zone
END), id) WHERE 
CASE
    WHEN state = 'gone'::text THEN updated_at
    ELSE NULL::timestamp with time zone
END IS NOT NULL;

CREATE INDEX runners_page ON runners USING btree (created_at, id);

CREATE INDEX runners_page_of_name ON runners USING btree (name, created_at, id);

CREATE INDEX runners_page_of_state ON runners USING btree (state, created_at, id);

CREATE TABLE session_labels (
  session_id uuid NOT NULL,
  key text COLLATE "C" NOT NULL,
  value text COLLATE "C" NOT NULL,
  created_at timestamp with time zone NOT NULL,
  CONSTRAINT session_labels_pkey PRIMARY KEY (session_id, key),
  CONSTRAINT session_labels_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE
);

CREATE INDEX session_labels_key ON session_labels USING btree (key, created_at, session_id);

CREATE INDEX session_labels_value ON session_labels USING btree (key, value, created_at, session_id);

CREATE TABLE session_marks (
  session_id uuid NOT NULL,
  number bigint NOT NULL,
  at timestamp with time zone NOT NULL,
  phase text COLLATE "C",
  text text COLLATE "C",
  command_id uuid,
  attempt bigint,
  log_offset bigint,
  CONSTRAINT session_marks_check CHECK (phase IS NOT NULL OR text IS NOT NULL),
  CONSTRAINT session_marks_check1 CHECK ((command_id IS NULL) = (attempt IS NULL)),
  CONSTRAINT session_marks_check2 CHECK ((command_id IS NULL) = (log_offset IS NULL)),
  CONSTRAINT session_marks_number_check CHECK (number > 0),
  CONSTRAINT session_marks_pkey PRIMARY KEY (session_id, number),
  CONSTRAINT session_marks_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE
);

CREATE TABLE sessions (
  id uuid NOT NULL,
  repository_id uuid NOT NULL,
  worktree_id uuid,
  worktree_fence bigint,
  token_id uuid,
  requested_by text COLLATE "C",
  commit_sha text COLLATE "C" NOT NULL,
  patch_hash text COLLATE "C",
  patch_uri text COLLATE "C",
  state text COLLATE "C" NOT NULL,
  end_reason text COLLATE "C",
  next_sequence bigint NOT NULL DEFAULT 1,
  max_parallel bigint NOT NULL DEFAULT 1,
  auto_complete boolean NOT NULL DEFAULT false,
  queued_commands bigint NOT NULL DEFAULT 0,
  active_commands bigint NOT NULL DEFAULT 0,
  failed_commands bigint NOT NULL DEFAULT 0,
  ready_priority bigint,
  ready_at timestamp with time zone,
  idle_ttl_ms bigint,
  expires_at timestamp with time zone,
  last_activity_at timestamp with time zone NOT NULL,
  started_at timestamp with time zone,
  ended_at timestamp with time zone,
  metadata json,
  version bigint NOT NULL DEFAULT 1,
  created_at timestamp with time zone NOT NULL,
  updated_at timestamp with time zone NOT NULL,
  deadline_at timestamp with time zone,
  account_id uuid,
  last_command_id uuid,
  last_command_state text COLLATE "C",
  last_exit_code bigint,
  last_signal text COLLATE "C",
  pinned boolean NOT NULL DEFAULT false,
  logs_pruned_at timestamp with time zone,
  requires text COLLATE "C" NOT NULL DEFAULT ''::text,
  ready_requires text COLLATE "C" NOT NULL DEFAULT ''::text,
  labels json NOT NULL DEFAULT '{"json":{}}'::json,
  patch_id uuid,
  environment_id uuid,
  on_failure text COLLATE "C" NOT NULL DEFAULT 'continue'::text,
  rerun_of uuid,
  due_at timestamp with time zone,
  CONSTRAINT sessions_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts(id),
  CONSTRAINT sessions_active_commands_check CHECK (active_commands >= 0),
  CONSTRAINT sessions_check CHECK ((state = 'completed'::text OR state = 'failed'::text OR state = 'cancelled'::text OR state = 'expired'::text) = (ended_at IS NOT NULL)),
  CONSTRAINT sessions_check1 CHECK ((worktree_id IS NULL) = (worktree_fence IS NULL)),
  CONSTRAINT sessions_check2 CHECK ((ready_at IS NULL) = (ready_priority IS NULL)),
  CONSTRAINT sessions_check3 CHECK (ready_at IS NULL OR (state = ANY (ARRAY['pending'::text, 'running'::text])) AND queued_commands > 0 AND active_commands < max_parallel),
  CONSTRAINT sessions_check4 CHECK (queued_commands = 0 OR (state = ANY (ARRAY['pending'::text, 'running'::text]))),
  CONSTRAINT sessions_failed_commands_check CHECK (failed_commands >= 0),
  CONSTRAINT sessions_idle_ttl_ms_check CHECK (idle_ttl_ms > 0),
  CONSTRAINT sessions_last_command_state_check CHECK (last_command_state = 'succeeded'::text OR last_command_state = 'failed'::text OR last_command_state = 'timed_out'::text OR last_command_state = 'cancelled'::text OR last_command_state = 'lost'::text),
  CONSTRAINT sessions_max_parallel_check CHECK (max_parallel > 0),
  CONSTRAINT sessions_next_sequence_check CHECK (next_sequence > 0),
  CONSTRAINT sessions_on_failure_check CHECK (on_failure = 'continue'::text OR on_failure = 'stop'::text),
  CONSTRAINT sessions_patch_id_fkey FOREIGN KEY (patch_id) REFERENCES patches(id),
  CONSTRAINT sessions_pkey PRIMARY KEY (id),
  CONSTRAINT sessions_queued_commands_check CHECK (queued_commands >= 0),
  CONSTRAINT sessions_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES repositories(id),
  CONSTRAINT sessions_state_check CHECK (state = 'pending'::text OR state = 'running'::text OR state = 'cancelling'::text OR state = 'completed'::text OR state = 'failed'::text OR state = 'cancelled'::text OR state = 'expired'::text),
  CONSTRAINT sessions_token_id_fkey FOREIGN KEY (token_id) REFERENCES tokens(id),
  CONSTRAINT sessions_version_check CHECK (version > 0),
  CONSTRAINT sessions_worktree_id_fkey FOREIGN KEY (worktree_id) REFERENCES worktrees(id)
);

CREATE INDEX sessions_deadline ON sessions USING btree (deadline_at) WHERE deadline_at IS NOT NULL AND ended_at IS NULL;

CREATE INDEX sessions_due ON sessions USING btree (due_at) WHERE due_at IS NOT NULL;

CREATE INDEX sessions_ended ON sessions USING btree (repository_id, ended_at, id) WHERE ended_at IS NOT NULL AND NOT pinned;

CREATE INDEX sessions_expiry ON sessions USING btree (expires_at) WHERE expires_at IS NOT NULL AND ended_at IS NULL AND active_commands = 0 AND queued_commands = 0;

CREATE INDEX sessions_logs ON sessions USING btree (repository_id, ended_at, id) WHERE ended_at IS NOT NULL AND NOT pinned AND logs_pruned_at IS NULL;

CREATE INDEX sessions_of_worktree ON sessions USING btree (worktree_id) WHERE worktree_id IS NOT NULL;

CREATE INDEX sessions_page ON sessions USING btree (created_at, id);

CREATE INDEX sessions_page_of_account ON sessions USING btree (account_id, created_at, id) WHERE account_id IS NOT NULL;

CREATE INDEX sessions_page_of_commit ON sessions USING btree (commit_sha, created_at, id);

CREATE INDEX sessions_page_of_patch ON sessions USING btree (patch_id, created_at, id) WHERE patch_id IS NOT NULL;

CREATE INDEX sessions_page_of_repository ON sessions USING btree (repository_id, created_at, id);

CREATE INDEX sessions_page_of_repository_and_state ON sessions USING btree (repository_id, state, created_at, id);

CREATE INDEX sessions_page_of_requester ON sessions USING btree (requested_by, created_at, id) WHERE requested_by IS NOT NULL;

CREATE INDEX sessions_page_of_state ON sessions USING btree (state, created_at, id);

CREATE INDEX sessions_page_of_token ON sessions USING btree (token_id, created_at, id) WHERE token_id IS NOT NULL;

CREATE INDEX sessions_ready ON sessions USING btree (ready_requires, ready_at, id) WHERE ready_at IS NOT NULL AND worktree_id IS NULL;

CREATE INDEX sessions_using_environment ON sessions USING btree (environment_id) WHERE environment_id IS NOT NULL AND (ended_at IS NULL OR active_commands > 0);

CREATE INDEX sessions_working ON sessions USING btree (worktree_id, active_commands) WHERE worktree_id IS NOT NULL AND active_commands > 0;

CREATE UNIQUE INDEX sessions_worktree ON sessions USING btree (worktree_id) WHERE worktree_id IS NOT NULL AND (state = ANY (ARRAY['pending'::text, 'running'::text, 'cancelling'::text]));

CREATE TABLE store_meta (
  key text COLLATE "C" NOT NULL,
  value text COLLATE "C" NOT NULL,
  CONSTRAINT store_meta_pkey PRIMARY KEY (key)
);

CREATE TABLE tokens (
  id uuid NOT NULL,
  account_id uuid NOT NULL,
  public_id text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  secret_sha256 text COLLATE "C" NOT NULL,
  hint text COLLATE "C" NOT NULL,
  scopes text COLLATE "C" NOT NULL,
  created_by uuid,
  rotated_to uuid,
  expires_at timestamp with time zone,
  revoked_at timestamp with time zone,
  revoked_reason text COLLATE "C",
  last_used_at timestamp with time zone,
  version bigint NOT NULL DEFAULT 1,
  created_at timestamp with time zone NOT NULL,
  updated_at timestamp with time zone NOT NULL,
  name_freed_at timestamp with time zone,
  repository_ids text COLLATE "C",
  session_id uuid,
  CONSTRAINT tokens_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts(id),
  CONSTRAINT tokens_check CHECK (revoked_reason IS NULL OR revoked_at IS NOT NULL),
  CONSTRAINT tokens_check1 CHECK (rotated_to IS NULL OR expires_at IS NOT NULL),
  CONSTRAINT tokens_created_by_fkey FOREIGN KEY (created_by) REFERENCES tokens(id),
  CONSTRAINT tokens_kind_check CHECK (kind = 'personal'::text OR kind = 'runner'::text),
  CONSTRAINT tokens_pkey PRIMARY KEY (id),
  CONSTRAINT tokens_public_id_check CHECK (length(public_id) = 10),
  CONSTRAINT tokens_public_id_key UNIQUE (public_id),
  CONSTRAINT tokens_repository_ids_check CHECK (repository_ids <> ''::text),
  CONSTRAINT tokens_rotated_to_fkey FOREIGN KEY (rotated_to) REFERENCES tokens(id),
  CONSTRAINT tokens_scopes_check CHECK (scopes <> ''::text),
  CONSTRAINT tokens_secret_sha256_check CHECK (length(secret_sha256) = 64),
  CONSTRAINT tokens_secret_sha256_key UNIQUE (secret_sha256),
  CONSTRAINT tokens_version_check CHECK (version > 0)
);

CREATE INDEX tokens_admin ON tokens USING btree (created_at) WHERE scopes = 'admin'::text AND revoked_at IS NULL;

CREATE INDEX tokens_created_by ON tokens USING btree (created_by) WHERE created_by IS NOT NULL;

CREATE INDEX tokens_ended ON tokens USING btree (COALESCE(revoked_at, expires_at), id) WHERE COALESCE(revoked_at, expires_at) IS NOT NULL;

CREATE UNIQUE INDEX tokens_name ON tokens USING btree (account_id, name) WHERE revoked_at IS NULL AND rotated_to IS NULL AND name_freed_at IS NULL;

CREATE INDEX tokens_page ON tokens USING btree (created_at, id);

CREATE INDEX tokens_page_of_account ON tokens USING btree (account_id, created_at, id);

CREATE INDEX tokens_rotated_to ON tokens USING btree (rotated_to) WHERE rotated_to IS NOT NULL;

CREATE INDEX tokens_session ON tokens USING btree (session_id) WHERE session_id IS NOT NULL;

CREATE TABLE usage_days (
  kind text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  day text COLLATE "C" NOT NULL,
  commands bigint NOT NULL,
  duration_ms bigint NOT NULL,
  cpu_ms bigint NOT NULL,
  memory_bytes bigint NOT NULL,
  written_bytes bigint NOT NULL,
  CONSTRAINT usage_days_commands_check CHECK (commands > 0),
  CONSTRAINT usage_days_cpu_ms_check CHECK (cpu_ms >= 0),
  CONSTRAINT usage_days_day_check CHECK (length(day) = 10),
  CONSTRAINT usage_days_duration_ms_check CHECK (duration_ms >= 0),
  CONSTRAINT usage_days_kind_check CHECK (kind = 'session'::text OR kind = 'account'::text OR kind = 'requester'::text OR kind = 'repository'::text),
  CONSTRAINT usage_days_memory_bytes_check CHECK (memory_bytes >= 0),
  CONSTRAINT usage_days_pkey PRIMARY KEY (kind, name, day),
  CONSTRAINT usage_days_written_bytes_check CHECK (written_bytes >= 0)
);

CREATE INDEX usage_days_due ON usage_days USING btree (day, kind, name);

CREATE INDEX usage_days_of_kind ON usage_days USING btree (kind, day, name);

CREATE TABLE worktrees (
  id uuid NOT NULL,
  repository_id uuid NOT NULL,
  path text COLLATE "C" NOT NULL,
  commit_sha text COLLATE "C",
  environment_hash text COLLATE "C",
  pinned boolean NOT NULL DEFAULT false,
  size_bytes bigint,
  state text COLLATE "C" NOT NULL,
  fence bigint NOT NULL DEFAULT 0,
  lease_runner_id uuid,
  lease_owner text COLLATE "C",
  leased_at timestamp with time zone,
  lease_expires_at timestamp with time zone,
  last_used_at timestamp with time zone NOT NULL,
  use_count bigint NOT NULL DEFAULT 0,
  version bigint NOT NULL DEFAULT 1,
  created_at timestamp with time zone NOT NULL,
  updated_at timestamp with time zone NOT NULL,
  commit_fence bigint,
  environment_fence bigint,
  ended_from text COLLATE "C",
  place text COLLATE "C" NOT NULL DEFAULT ''::text,
  CONSTRAINT worktrees_check CHECK ((state = 'creating'::text OR state = 'leased'::text OR state = 'evicting'::text) = (lease_expires_at IS NOT NULL)),
  CONSTRAINT worktrees_check1 CHECK ((lease_expires_at IS NULL) = (leased_at IS NULL)),
  CONSTRAINT worktrees_check2 CHECK ((lease_expires_at IS NULL) = (lease_owner IS NULL)),
  CONSTRAINT worktrees_check3 CHECK (lease_runner_id IS NULL OR lease_expires_at IS NOT NULL),
  CONSTRAINT worktrees_ended_from_check CHECK (ended_from = 'creating'::text OR ended_from = 'leased'::text OR ended_from = 'evicting'::text),
  CONSTRAINT worktrees_fence_check CHECK (fence >= 0),
  CONSTRAINT worktrees_lease_runner_id_fkey FOREIGN KEY (lease_runner_id) REFERENCES runners(id),
  CONSTRAINT worktrees_pkey PRIMARY KEY (id),
  CONSTRAINT worktrees_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES repositories(id),
  CONSTRAINT worktrees_size_bytes_check CHECK (size_bytes >= 0),
  CONSTRAINT worktrees_state_check CHECK (state = 'creating'::text OR state = 'idle'::text OR state = 'dirty'::text OR state = 'leased'::text OR state = 'quarantined'::text OR state = 'evicting'::text OR state = 'removed'::text),
  CONSTRAINT worktrees_version_check CHECK (version > 0)
);

CREATE INDEX worktrees_any ON worktrees USING btree (repository_id, place, state DESC, last_used_at) WHERE state = ANY (ARRAY['idle'::text, 'dirty'::text]);

CREATE INDEX worktrees_commit ON worktrees USING btree (repository_id, place, commit_sha, state DESC, last_used_at) WHERE state = ANY (ARRAY['idle'::text, 'dirty'::text]);

CREATE INDEX worktrees_environment ON worktrees USING btree (repository_id, place, environment_hash, state DESC, last_used_at) WHERE state = ANY (ARRAY['idle'::text, 'dirty'::text]);

CREATE INDEX worktrees_evictable ON worktrees USING btree (repository_id, place, last_used_at) WHERE (state = ANY (ARRAY['idle'::text, 'dirty'::text])) AND NOT pinned;

CREATE INDEX worktrees_expiry ON worktrees USING btree (lease_expires_at) WHERE lease_expires_at IS NOT NULL;

CREATE INDEX worktrees_next_free ON worktrees USING btree (repository_id, place, lease_expires_at) WHERE lease_expires_at IS NOT NULL;

CREATE INDEX worktrees_page ON worktrees USING btree (repository_id, created_at, id);

CREATE INDEX worktrees_page_all ON worktrees USING btree (created_at, id);

CREATE INDEX worktrees_page_of_place ON worktrees USING btree (place, created_at, id);

CREATE INDEX worktrees_page_of_repository_and_state ON worktrees USING btree (repository_id, state, created_at, id);

CREATE INDEX worktrees_page_of_runner ON worktrees USING btree (lease_runner_id, created_at, id) WHERE lease_runner_id IS NOT NULL;

CREATE INDEX worktrees_page_of_state ON worktrees USING btree (state, created_at, id);

CREATE UNIQUE INDEX worktrees_path ON worktrees USING btree (place, md5(path)) WHERE state <> 'removed'::text;

CREATE INDEX worktrees_quarantined ON worktrees USING btree (repository_id, place, last_used_at) WHERE state = 'quarantined'::text;

CREATE INDEX worktrees_removed ON worktrees USING btree ((
CASE
    WHEN state = 'removed'::text THEN updated_at
    ELSE NULL::timestamp with time zone
END), id) WHERE 
CASE
    WHEN state = 'removed'::text THEN updated_at
    ELSE NULL::timestamp with time zone
END IS NOT NULL;

CREATE INDEX worktrees_same ON worktrees USING btree (repository_id, place, environment_hash, commit_sha, state DESC, last_used_at) WHERE state = ANY (ARRAY['idle'::text, 'dirty'::text]);
