-- 0001_initial.sqlite.sql 1b114168f468e5bf547b446f338d3625ca2105c61060bea4acf43daf470dfccc
-- 0002_accounts_artifacts.sqlite.sql f6af617c73e440e6a6c42b08d10be3566e0a40747bbec1007c39f6569e247d36
-- 0003_lookups.sqlite.sql 3f21846aa935f004cbb341fe5fd758f957f1f9a2fde341adcaf9064f0712f40f
-- 0004_debug.sqlite.sql dc199dc33e69488faaace51a939811a371d0abf7a4866f5d5c81282d0fa73f91
-- 0005_truth.sqlite.sql 48b775f09a9bd833d44703012cf67e6b87390337a37f0485ab73eed2bba4a378
-- 0006_lists.sqlite.sql 86cb87c5589394c20384e0e10ffd12d1d343f51839bba5e105c86e9f650a9f6c
-- 0007_token_names.sqlite.sql b59013ef48fc397794dcba2e44a4d08363368fca0d02cc408f8f835c2aad3b33
-- 0008_ageing.sqlite.sql e138a9ff9413836311c308b95437f7cdbbce5adc779f142e6ae41f886d0e20c6
-- 0009_discarded_files.sqlite.sql 16c91901e3cc83fd46ed4ff6eadf8a14988ce338e56bc23b126b07f2f41815c3
-- 0010_counters.sqlite.sql dae67c95d2433844fcfd3c98a85af9bf4452d58f1135209b56f827df9771919f
-- 0011_retention.sqlite.sql 8703543801b0ba24080faeb4d9850a962df8316ed2635bfdcd3b75741cb5dd60
-- 0012_log_archive.sqlite.sql d217f2716531f5518d6b4d89efda15647e760654bd9062085aaecea61bd91373
-- 0013_session_log.sqlite.sql c9a45a4b7595aef677b46f9782028256c92117304bec9cc5c71a8f3e6e81dd31
-- 0014_places.sqlite.sql 97d326c7d78e9122cc62d8b774b5b4c4c2f2b80903ef8d315302a3b18f2642da
-- 0015_discarded_logs.sqlite.sql c940efc5f416d78ac5a4dfcf973a5d3cce48ca1ba10cf53678e8d036ccf8b60f
-- 0016_labels.sqlite.sql 8c80c8b85948da13209d6999337d60366342d70800234db0e99364d100b63e87
-- 0017_debug_requests.sqlite.sql f3e3834472c5b6eff696d5a50c02edff97f55ffec0000a6c7213e8956ea5d7c8
-- 0018_leased_consumers.sqlite.sql 2a69b56de2e18a1ee75c84ff8e3afb5c8fcd57dca310a4f598027c5a41def616
-- 0019_usage.sqlite.sql 32006ebac98343291114daa3774c35c3af97f9890c3225cb3793c471ca39590d
-- 0020_debug_threads.sqlite.sql 85565f00547973c1899c0bab501bf5de1ea2dbb70f7cfb1cbd9031fe5bf45c92
-- 0021_debug_origins.sqlite.sql bd24666ad6376a62d8fcf67b8c56eb1c9ec77926f6ae3d6b06153186002ecb5e
-- 0022_token_limits.sqlite.sql d2d62ec0e3e48095961ad2b0b9a51fdec9dc92ef3db30b284f5b4a09753b44eb
-- 0023_session_labels.sqlite.sql dcf503cd6444c7723c7895e7dcf8da866b06d6fce9d6e37185c294fb200d03cf
-- 0024_patches.sqlite.sql 4d3df7f7ed5459bfa17f46d9d65ea2785e7c3e40aa8137ce2eb019da5a1a6f05
-- 0025_environments.sqlite.sql 826cbb5fe2f71637f5d97d04f167d847e1760c55cf2cf22720a813f2b2f7ea5a
-- 0026_failure_policy.sqlite.sql 79f461e5969d84d63a214eced6f148db4f18ac82b1a55666322fca270773a47b
-- 0027_debug_bridges.sqlite.sql 6dc6c704d78dd1bb2bc35cc3ceed2cf847d6e844c39c9642a6850ac9070bb6b8
-- 0028_log_times.sqlite.sql 75d49e031892bce52cd3b59a90c1eb7a78886678f4e3d75476fea77304c219ac

-- application_id 1146307650
-- auto_vacuum 2
-- journal_mode wal
-- user_version 0

CREATE TABLE accounts (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  name_key TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL CHECK (kind = 'human' OR kind = 'agent' OR kind = 'runner'),
  disabled_at INTEGER,
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;

CREATE INDEX accounts_page ON accounts (created_at, id);

CREATE INDEX accounts_page_of_live ON accounts (created_at, id) WHERE disabled_at IS NULL;

CREATE TABLE artifacts (
  id TEXT NOT NULL PRIMARY KEY,
  session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  command_id TEXT REFERENCES commands (id) ON DELETE CASCADE,
  attempt INTEGER CHECK (attempt > 0),
  name TEXT NOT NULL CHECK (name <> ''),
  kind TEXT NOT NULL CHECK (kind = 'log' OR kind = 'coverage' OR kind = 'junit' OR kind = 'core-dump' OR kind = 'custom'),
  state TEXT NOT NULL CHECK (state = 'pending' OR state = 'ready' OR state = 'failed' OR state = 'deleted'),
  content_type TEXT,
  description TEXT,
  size_bytes INTEGER CHECK (size_bytes >= 0),
  sha256 TEXT CHECK (length(sha256) = 64),
  uri TEXT,
  metadata TEXT CHECK (json_valid(metadata)),
  -- While pending: when it is given up. Then: when it is deleted, unless it is pinned.
  expires_at INTEGER,
  pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  CHECK ((command_id IS NULL) = (attempt IS NULL)),
  CHECK ((state <> 'ready' AND state <> 'deleted') OR (size_bytes IS NOT NULL AND sha256 IS NOT NULL AND uri IS NOT NULL)),
  CHECK (state <> 'pending' OR (uri IS NULL AND expires_at IS NOT NULL))
) STRICT;

CREATE INDEX artifacts_ended ON artifacts ((CASE WHEN state IN ('failed', 'deleted') THEN updated_at END), id) WHERE CASE WHEN state IN ('failed', 'deleted') THEN updated_at END IS NOT NULL;

CREATE INDEX artifacts_expiry ON artifacts (expires_at) WHERE expires_at IS NOT NULL AND NOT pinned AND state <> 'failed' AND state <> 'deleted';

CREATE UNIQUE INDEX artifacts_name_in_command ON artifacts (session_id, command_id, attempt, name)
  WHERE command_id IS NOT NULL AND state <> 'failed' AND state <> 'deleted';

CREATE UNIQUE INDEX artifacts_name_in_session ON artifacts (session_id, name) WHERE command_id IS NULL AND state <> 'failed' AND state <> 'deleted';

CREATE INDEX artifacts_page ON artifacts (created_at, id);

CREATE INDEX artifacts_page_of_command ON artifacts (command_id, created_at, id) WHERE command_id IS NOT NULL;

CREATE INDEX artifacts_page_of_kind ON artifacts (kind, created_at, id);

CREATE INDEX artifacts_page_of_kind_and_state ON artifacts (kind, state, created_at, id);

CREATE INDEX artifacts_page_of_session ON artifacts (session_id, created_at, id);

CREATE INDEX artifacts_page_of_state ON artifacts (state, created_at, id);

CREATE INDEX artifacts_pinned ON artifacts (session_id) WHERE pinned;

CREATE INDEX artifacts_uri ON artifacts (uri) WHERE state = 'ready';

CREATE TABLE attempts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  command_id TEXT NOT NULL REFERENCES commands (id) ON DELETE CASCADE,
  attempt INTEGER NOT NULL CHECK (attempt > 0),
  fence INTEGER NOT NULL CHECK (fence > 0),
  runner_id TEXT NOT NULL REFERENCES runners (id),
  outcome TEXT CHECK (outcome = 'succeeded' OR outcome = 'failed' OR outcome = 'timed_out' OR outcome = 'cancelled' OR outcome = 'lost'),
  exit_code INTEGER,
  signal TEXT,
  started_at INTEGER NOT NULL,
  ended_at INTEGER,
  log_state TEXT NOT NULL DEFAULT 'open' CHECK (log_state = 'open' OR log_state = 'sealed' OR log_state = 'pruned'),
  next_offset INTEGER NOT NULL DEFAULT 0 CHECK (next_offset >= 0),
  next_line INTEGER NOT NULL DEFAULT 0 CHECK (next_line >= 0),
  first_offset INTEGER NOT NULL DEFAULT 0 CHECK (first_offset >= 0),
  limit_bytes INTEGER NOT NULL CHECK (limit_bytes > 0),
  dropped_bytes INTEGER NOT NULL DEFAULT 0 CHECK (dropped_bytes >= 0),
  log_uri TEXT, session_id TEXT, cpu_ms INTEGER CHECK (cpu_ms >= 0), memory_bytes INTEGER CHECK (memory_bytes >= 0), written_bytes INTEGER CHECK (written_bytes >= 0),
  UNIQUE (command_id, attempt),
  UNIQUE (command_id, fence),
  CHECK ((outcome IS NULL) = (ended_at IS NULL)),
  CHECK ((outcome IS NULL) = (log_state = 'open')),
  CHECK (first_offset <= next_offset AND dropped_bytes <= next_offset)
) STRICT;

CREATE INDEX attempts_of_runner ON attempts (runner_id);

CREATE INDEX attempts_of_session ON attempts (session_id, id);

CREATE TABLE changes (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  entity TEXT NOT NULL,
  entity_id TEXT NOT NULL,
  op TEXT NOT NULL,
  entity_version INTEGER NOT NULL,
  fence INTEGER,
  actor TEXT,
  request_id TEXT,
  session_id TEXT,
  detail TEXT CHECK (json_valid(detail))
) STRICT;

CREATE INDEX changes_of_session ON changes (session_id, seq) WHERE session_id IS NOT NULL;

CREATE TABLE commands (
  id TEXT NOT NULL PRIMARY KEY,
  session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  sequence INTEGER NOT NULL CHECK (sequence > 0),
  argv TEXT NOT NULL CHECK (json_valid(argv)),
  cwd TEXT,
  env TEXT CHECK (json_valid(env)),
  secret_env_keys TEXT CHECK (json_valid(secret_env_keys)),
  state TEXT NOT NULL CHECK (state = 'queued' OR state = 'running' OR state = 'cancelling' OR state = 'succeeded' OR state = 'failed' OR state = 'timed_out' OR state = 'cancelled' OR state = 'lost'),
  priority INTEGER NOT NULL DEFAULT 0,
  timeout_ms INTEGER CHECK (timeout_ms > 0),
  attempt INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
  max_attempts INTEGER NOT NULL DEFAULT 1 CHECK (max_attempts > 0),
  fence INTEGER NOT NULL DEFAULT 0 CHECK (fence >= 0),
  runner_id TEXT REFERENCES runners (id),
  lease_expires_at INTEGER,
  exit_code INTEGER,
  signal TEXT,
  end_reason TEXT,
  cancel_requested_at INTEGER,
  queued_at INTEGER NOT NULL,
  started_at INTEGER,
  ended_at INTEGER,
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL, stop_at INTEGER CHECK (stop_at IS NULL OR lease_expires_at IS NOT NULL), confirmed_fence INTEGER NOT NULL DEFAULT 0 CHECK (confirmed_fence >= 0), lost_claims INTEGER NOT NULL DEFAULT 0 CHECK (lost_claims >= 0), requires TEXT NOT NULL DEFAULT '', retries INTEGER NOT NULL DEFAULT 0 CHECK (retries >= 0), retry_delay_ms INTEGER NOT NULL DEFAULT 10000 CHECK (retry_delay_ms >= 0), failed_attempts INTEGER NOT NULL DEFAULT 0 CHECK (failed_attempts >= 0), not_before INTEGER, rerun_of TEXT,
  UNIQUE (session_id, sequence),
  CHECK ((state IN ('running', 'cancelling')) = (lease_expires_at IS NOT NULL)),
  CHECK (lease_expires_at IS NULL OR runner_id IS NOT NULL),
  CHECK ((state = 'succeeded' OR state = 'failed' OR state = 'timed_out' OR state = 'cancelled' OR state = 'lost') = (ended_at IS NOT NULL)),
  CHECK (state <> 'succeeded' OR exit_code = 0),
  CHECK (state <> 'cancelling' OR cancel_requested_at IS NOT NULL),
  CHECK (exit_code IS NULL OR ended_at IS NOT NULL),
  CHECK (signal IS NULL OR ended_at IS NOT NULL)
) STRICT;

CREATE INDEX commands_active ON commands (session_id) WHERE lease_expires_at IS NOT NULL;

CREATE INDEX commands_expiry ON commands (lease_expires_at) WHERE lease_expires_at IS NOT NULL;

CREATE INDEX commands_page ON commands (created_at, id);

CREATE INDEX commands_page_of_runner ON commands (runner_id, created_at, id) WHERE runner_id IS NOT NULL;

CREATE INDEX commands_page_of_state ON commands (state, created_at, id);

CREATE INDEX commands_ready ON commands (session_id, sequence) WHERE state = 'queued';

CREATE INDEX commands_requires ON commands (requires) WHERE requires <> '' AND ended_at IS NULL;

CREATE INDEX commands_stop ON commands (stop_at) WHERE stop_at IS NOT NULL;

CREATE TABLE counters (
  entity TEXT NOT NULL,
  state TEXT NOT NULL,
  amount INTEGER NOT NULL,
  PRIMARY KEY (entity, state)
) STRICT, WITHOUT ROWID;

CREATE TABLE debug_breakpoints (
  id TEXT NOT NULL PRIMARY KEY,
  debug_session_id TEXT NOT NULL REFERENCES debug_sessions (id) ON DELETE CASCADE,
  kind TEXT NOT NULL CHECK (kind = 'source' OR kind = 'function' OR kind = 'data' OR kind = 'instruction' OR kind = 'exception'),
  source_path TEXT,
  -- The place among those that were set together.
  position INTEGER NOT NULL CHECK (position >= 0),
  line INTEGER,
  requested TEXT NOT NULL CHECK (json_valid(requested)),
  adapter_id INTEGER,
  verified INTEGER NOT NULL DEFAULT 0 CHECK (verified IN (0, 1)),
  bound TEXT CHECK (json_valid(bound)),
  hit_count INTEGER NOT NULL DEFAULT 0 CHECK (hit_count >= 0),
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL, origin TEXT NOT NULL DEFAULT 'client' CHECK (origin = 'client' OR origin = 'adapter'), as_of INTEGER NOT NULL DEFAULT 0 CHECK (as_of >= 0),
  CHECK ((kind = 'source') = (source_path IS NOT NULL)),
  CHECK ((kind = 'source') = (line IS NOT NULL)),
  CHECK (bound IS NOT NULL OR adapter_id IS NULL)
) STRICT;

CREATE INDEX debug_breakpoints_adapter ON debug_breakpoints (debug_session_id, adapter_id) WHERE adapter_id IS NOT NULL;

CREATE INDEX debug_breakpoints_source ON debug_breakpoints (debug_session_id, kind, position);

CREATE TABLE debug_early_reports (
  debug_session_id TEXT NOT NULL REFERENCES debug_sessions (id) ON DELETE CASCADE,
  adapter_id INTEGER NOT NULL,
  -- The position of the last event about it.
  position INTEGER NOT NULL CHECK (position > 0),
  removed INTEGER NOT NULL CHECK (removed IN (0, 1)),
  -- Nothing if it was only hit.
  bound TEXT CHECK (json_valid(bound)),
  hit_count INTEGER NOT NULL CHECK (hit_count >= 0),
  PRIMARY KEY (debug_session_id, adapter_id)
) STRICT;

CREATE INDEX debug_early_reports_age ON debug_early_reports (debug_session_id, position);

CREATE TABLE debug_events (
  debug_session_id TEXT NOT NULL REFERENCES debug_sessions (id) ON DELETE CASCADE,
  position INTEGER NOT NULL CHECK (position > 0),
  adapter_run INTEGER NOT NULL CHECK (adapter_run > 0),
  seq INTEGER NOT NULL CHECK (seq >= 0),
  stop_epoch INTEGER NOT NULL CHECK (stop_epoch >= 0),
  at INTEGER NOT NULL,
  event TEXT NOT NULL,
  body TEXT CHECK (json_valid(body)),
  cut INTEGER NOT NULL CHECK (cut IN (0, 1)),
  PRIMARY KEY (debug_session_id, position)
) STRICT;

CREATE INDEX debug_events_seq ON debug_events (debug_session_id, adapter_run, seq);

CREATE TABLE debug_history (
  debug_session_id TEXT NOT NULL REFERENCES debug_sessions (id) ON DELETE CASCADE,
  position INTEGER NOT NULL CHECK (position > 0),
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  actor TEXT,
  adapter_run INTEGER NOT NULL CHECK (adapter_run > 0),
  stop_epoch INTEGER NOT NULL CHECK (stop_epoch >= 0),
  -- The position that the next event had: by it, the entry has its place among the events.
  event_position INTEGER NOT NULL CHECK (event_position > 0),
  request_id TEXT,
  detail TEXT CHECK (json_valid(detail)),
  PRIMARY KEY (debug_session_id, position)
) STRICT;

CREATE TABLE debug_requests (
  id TEXT NOT NULL PRIMARY KEY,
  debug_session_id TEXT NOT NULL REFERENCES debug_sessions (id) ON DELETE CASCADE,
  -- That of its entry in the history, which is also its place in the queue.
  position INTEGER NOT NULL CHECK (position > 0),
  adapter_run INTEGER NOT NULL CHECK (adapter_run > 0),
  state TEXT NOT NULL CHECK (state = 'queued' OR state = 'taken' OR state = 'answered' OR state = 'failed' OR state = 'expired' OR state = 'cancelled'),
  command TEXT NOT NULL,
  -- As they were asked; they are removed when the request ends.
  exact_arguments TEXT CHECK (json_valid(exact_arguments)),
  -- The same without secrets.
  arguments TEXT CHECK (json_valid(arguments)),
  stop_epoch INTEGER CHECK (stop_epoch > 0),
  thread_id INTEGER,
  requested_by TEXT,
  success INTEGER CHECK (success IN (0, 1)),
  body TEXT CHECK (json_valid(body)),
  message TEXT,
  cut INTEGER NOT NULL DEFAULT 0 CHECK (cut IN (0, 1)),
  reason TEXT,
  -- True while the bridge that has it must still be told that nobody waits for it any more.
  cancel_due INTEGER NOT NULL DEFAULT 0 CHECK (cancel_due IN (0, 1)),
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  taken_at INTEGER,
  ended_at INTEGER,
  -- The position of the entry of its end.
  ended_position INTEGER CHECK (ended_position > position),
  UNIQUE (debug_session_id, position),
  CHECK ((state = 'queued' OR state = 'taken') = (ended_at IS NULL)),
  CHECK ((ended_at IS NULL) = (ended_position IS NULL)),
  CHECK ((state = 'answered') = (success IS NOT NULL)),
  CHECK (state <> 'queued' OR taken_at IS NULL),
  CHECK (state <> 'taken' OR taken_at IS NOT NULL),
  CHECK (ended_at IS NULL OR exact_arguments IS NULL)
) STRICT;

CREATE INDEX debug_requests_cancel ON debug_requests (debug_session_id, position) WHERE cancel_due;

CREATE INDEX debug_requests_ended ON debug_requests (debug_session_id, ended_position) WHERE ended_position IS NOT NULL;

CREATE INDEX debug_requests_expiry ON debug_requests (expires_at) WHERE ended_at IS NULL;

CREATE INDEX debug_requests_open ON debug_requests (debug_session_id, position) WHERE ended_at IS NULL;

CREATE TABLE debug_sessions (
  id TEXT NOT NULL PRIMARY KEY,
  session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  command_id TEXT REFERENCES commands (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  adapter TEXT NOT NULL,
  request TEXT NOT NULL CHECK (request = 'launch' OR request = 'attach'),
  state TEXT NOT NULL CHECK (state = 'initializing' OR state = 'configuring' OR state = 'running' OR state = 'stopped' OR state = 'terminated' OR state = 'error'),
  capabilities TEXT CHECK (json_valid(capabilities)),
  payload TEXT CHECK (json_valid(payload)),
  -- Grows with every start of the adapter, whose numbers begin anew then.
  adapter_run INTEGER NOT NULL DEFAULT 1 CHECK (adapter_run > 0),
  -- Grows with every stopped and continued, also over restarts of the adapter.
  stop_epoch INTEGER NOT NULL DEFAULT 0 CHECK (stop_epoch >= 0),
  stop_reason TEXT,
  stop_description TEXT,
  stop_thread_id INTEGER,
  hit_breakpoint_ids TEXT CHECK (json_valid(hit_breakpoint_ids)),
  -- The adapter's number of the last event that was applied, and our own number of the next.
  last_event INTEGER NOT NULL DEFAULT 0 CHECK (last_event >= 0),
  next_position INTEGER NOT NULL DEFAULT 1 CHECK (next_position > 0),
  breakpoint_count INTEGER NOT NULL DEFAULT 0 CHECK (breakpoint_count >= 0),
  -- Grows with every write to this row or to what hangs on it, so that a reader knows whether all it read is of one moment.
  revision INTEGER NOT NULL DEFAULT 1 CHECK (revision > 0),
  exit_code INTEGER,
  end_reason TEXT,
  ended_at INTEGER,
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL, others_stop_epoch INTEGER CHECK (others_stop_epoch > 0), others_changed_epoch INTEGER NOT NULL DEFAULT 0 CHECK (others_changed_epoch >= 0), others_last_event INTEGER NOT NULL DEFAULT 0 CHECK (others_last_event >= 0), stale_frame_ids TEXT CHECK (json_valid(stale_frame_ids)), process TEXT CHECK (json_valid(process)), event_counts TEXT CHECK (json_valid(event_counts)), closed_at INTEGER CHECK (closed_at IS NULL OR ended_at IS NOT NULL), bridge_expires_at INTEGER CHECK (bridge_expires_at IS NULL OR ended_at IS NULL),
  UNIQUE (session_id, name),
  CHECK ((state = 'stopped') = (stop_reason IS NOT NULL)),
  CHECK (stop_reason IS NOT NULL OR stop_description IS NULL),
  CHECK (stop_reason IS NOT NULL OR stop_thread_id IS NULL),
  CHECK (stop_reason IS NOT NULL OR hit_breakpoint_ids IS NULL),
  CHECK ((state = 'terminated' OR state = 'error') = (ended_at IS NOT NULL)),
  CHECK (end_reason IS NULL OR ended_at IS NOT NULL)
) STRICT;

CREATE INDEX debug_sessions_bridges ON debug_sessions (bridge_expires_at) WHERE bridge_expires_at IS NOT NULL;

CREATE INDEX debug_sessions_command ON debug_sessions (command_id) WHERE command_id IS NOT NULL;

CREATE INDEX debug_sessions_ended ON debug_sessions (ended_at, id) WHERE ended_at IS NOT NULL;

CREATE INDEX debug_sessions_open ON debug_sessions (session_id, id) WHERE ended_at IS NULL;

CREATE INDEX debug_sessions_page ON debug_sessions (session_id, created_at, id);

CREATE TABLE debug_stops (
  debug_session_id TEXT NOT NULL REFERENCES debug_sessions (id) ON DELETE CASCADE,
  stop_epoch INTEGER NOT NULL CHECK (stop_epoch > 0),
  thread_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  at INTEGER NOT NULL,
  frames TEXT NOT NULL CHECK (json_valid(frames)),
  omitted_frames INTEGER NOT NULL CHECK (omitted_frames >= 0),
  cut INTEGER NOT NULL CHECK (cut IN (0, 1)),
  PRIMARY KEY (debug_session_id, stop_epoch, thread_id)
) STRICT;

CREATE TABLE debug_threads (
  debug_session_id TEXT NOT NULL REFERENCES debug_sessions (id) ON DELETE CASCADE,
  thread_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  -- The stop at which the thread is, while it is stopped.
  stop_epoch INTEGER CHECK (stop_epoch > 0),
  -- The epoch at which it has stopped, gone on or appeared.
  changed_epoch INTEGER NOT NULL CHECK (changed_epoch >= 0),
  -- The adapter's number of the last event that has changed it.
  last_event INTEGER NOT NULL CHECK (last_event >= 0),
  -- Why it has stopped itself; nothing if it has stopped because another thread did.
  stop_reason TEXT CHECK (stop_reason IS NULL OR stop_epoch IS NOT NULL),
  stop_description TEXT CHECK (stop_description IS NULL OR stop_reason IS NOT NULL),
  hit_breakpoint_ids TEXT CHECK (json_valid(hit_breakpoint_ids)),
  -- The adapter has not said which breakpoint was hit: the place of the first frame will.
  awaits_place INTEGER NOT NULL CHECK (awaits_place IN (0, 1)),
  stale_areas TEXT CHECK (json_valid(stale_areas)),
  PRIMARY KEY (debug_session_id, thread_id),
  CHECK (NOT awaits_place OR stop_reason IS NOT NULL),
  CHECK (hit_breakpoint_ids IS NULL OR stop_reason IS NOT NULL)
) STRICT;

CREATE TABLE discarded_files (
  id TEXT NOT NULL PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind = 'artifact' OR kind = 'log' OR kind = 'patch' OR kind = 'environment'),
  uri TEXT NOT NULL,
  size_bytes INTEGER CHECK (size_bytes >= 0),
  session_id TEXT,
  -- Who has it until due_at. Without an owner, due_at is the time from which it is handed out.
  owner TEXT,
  fence INTEGER NOT NULL DEFAULT 0 CHECK (fence >= 0),
  due_at INTEGER NOT NULL,
  failures INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
  last_error TEXT,
  created_at INTEGER NOT NULL,
  place TEXT NOT NULL DEFAULT '',
  CHECK (owner IS NULL OR fence > 0)
) STRICT;

CREATE INDEX discarded_files_due ON discarded_files (kind, place, due_at);

CREATE INDEX discarded_files_page ON discarded_files (created_at, id);

CREATE INDEX discarded_files_page_of_kind ON discarded_files (kind, created_at, id);

CREATE UNIQUE INDEX discarded_files_uri ON discarded_files (uri, place);

CREATE TABLE environment_places (
  id TEXT NOT NULL PRIMARY KEY,
  place TEXT NOT NULL UNIQUE,
  -- Its environments that are ready: what is too much is known without adding up.
  environment_count INTEGER NOT NULL CHECK (environment_count >= 0),
  size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0)
) STRICT;

CREATE TABLE environments (
  id TEXT NOT NULL PRIMARY KEY,
  repository_id TEXT NOT NULL REFERENCES repositories (id),
  place TEXT NOT NULL,
  hash TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state = 'building' OR state = 'ready' OR state = 'failed'),
  uri TEXT,
  size_bytes INTEGER CHECK (size_bytes >= 0),
  pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
  fence INTEGER NOT NULL CHECK (fence > 0),
  -- Whoever builds it.
  lease_runner_id TEXT REFERENCES runners (id),
  lease_owner TEXT,
  leased_at INTEGER,
  lease_expires_at INTEGER,
  ready_at INTEGER,
  -- How often the building has failed since it was ready, and why for the last time.
  failures INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
  last_error TEXT,
  last_used_at INTEGER NOT NULL,
  use_count INTEGER NOT NULL DEFAULT 0 CHECK (use_count >= 0),
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE (repository_id, place, hash),
  CHECK ((state = 'building') = (lease_expires_at IS NOT NULL)),
  CHECK ((lease_expires_at IS NULL) = (leased_at IS NULL)),
  CHECK (lease_expires_at IS NOT NULL OR (lease_runner_id IS NULL AND lease_owner IS NULL)),
  CHECK (lease_expires_at IS NULL OR lease_owner IS NOT NULL),
  CHECK ((state = 'ready') = (uri IS NOT NULL)),
  CHECK ((uri IS NULL) = (size_bytes IS NULL)),
  CHECK ((uri IS NULL) = (ready_at IS NULL))
) STRICT;

CREATE INDEX environments_aged ON environments (place, ready_at, id) WHERE ready_at IS NOT NULL AND state <> 'building' AND NOT pinned;

CREATE INDEX environments_evictable ON environments (place, last_used_at, id) WHERE state <> 'building' AND NOT pinned;

CREATE INDEX environments_expiry ON environments (lease_expires_at) WHERE lease_expires_at IS NOT NULL;

CREATE INDEX environments_of_runner ON environments (lease_runner_id) WHERE lease_runner_id IS NOT NULL;

CREATE INDEX environments_page ON environments (created_at, id);

CREATE INDEX environments_page_of_place ON environments (place, created_at, id);

CREATE INDEX environments_page_of_repository ON environments (repository_id, created_at, id);

CREATE INDEX environments_page_of_state ON environments (state, created_at, id);

CREATE INDEX environments_uri ON environments (uri, place) WHERE uri IS NOT NULL;

CREATE INDEX environments_used ON environments (last_used_at, id);

CREATE TABLE feed_consumers (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  -- The last change that it has handled.
  seq INTEGER NOT NULL CHECK (seq >= 0),
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
, owner TEXT, fence INTEGER NOT NULL DEFAULT 0 CHECK (fence >= 0), lease_expires_at INTEGER) STRICT;

CREATE INDEX feed_consumers_behind ON feed_consumers (seq, name);

CREATE INDEX feed_consumers_leased ON feed_consumers (lease_expires_at) WHERE lease_expires_at IS NOT NULL;

CREATE TABLE idempotency_keys (
  operation TEXT NOT NULL,
  -- Empty when the caller named none.
  actor TEXT NOT NULL,
  key TEXT NOT NULL,
  request_sha256 TEXT NOT NULL CHECK (length(request_sha256) = 64),
  -- Null only within the transaction that runs the call.
  reply TEXT,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (operation, actor, key)
) STRICT;

CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

CREATE TABLE log_blocks (
  attempt_id INTEGER NOT NULL REFERENCES attempts (id) ON DELETE CASCADE,
  start_offset INTEGER NOT NULL CHECK (start_offset >= 0),
  end_offset INTEGER NOT NULL,
  byte_length INTEGER NOT NULL CHECK (byte_length BETWEEN 1 AND end_offset - start_offset),
  start_line INTEGER NOT NULL CHECK (start_line >= 0),
  end_line INTEGER NOT NULL CHECK (end_line >= start_line),
  object_offset INTEGER NOT NULL CHECK (object_offset >= 0),
  object_length INTEGER NOT NULL CHECK (object_length > 0),
  raw_length INTEGER NOT NULL CHECK (raw_length > byte_length),
  checksum INTEGER NOT NULL, times TEXT,
  PRIMARY KEY (attempt_id, start_offset)
) STRICT;

CREATE TABLE log_chunks (
  attempt_id INTEGER NOT NULL REFERENCES attempts (id) ON DELETE CASCADE,
  start_offset INTEGER NOT NULL CHECK (start_offset >= 0),
  byte_length INTEGER NOT NULL CHECK (byte_length = length(data) AND byte_length BETWEEN 1 AND 65536),
  start_line INTEGER NOT NULL,
  line_count INTEGER NOT NULL CHECK (line_count BETWEEN 0 AND byte_length),
  stream TEXT NOT NULL CHECK (stream = 'stdout' OR stream = 'stderr' OR stream = 'system'),
  at INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (attempt_id, start_offset)
) STRICT;

CREATE TABLE log_moves (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  attempt_id INTEGER NOT NULL UNIQUE,
  phase TEXT NOT NULL CHECK (phase = 'wanted' OR phase = 'writing' OR phase = 'clearing'),
  fence INTEGER NOT NULL DEFAULT 0,
  uri TEXT,
  due_at INTEGER NOT NULL,
  CHECK ((phase = 'wanted') = (uri IS NULL))
) STRICT;

CREATE INDEX log_moves_due ON log_moves (due_at, id);

CREATE TABLE patches (
  id TEXT NOT NULL PRIMARY KEY,
  sha256 TEXT NOT NULL UNIQUE,
  uri TEXT NOT NULL,
  size_bytes INTEGER CHECK (size_bytes >= 0),
  last_used_at INTEGER NOT NULL,
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;

CREATE INDEX patches_page ON patches (created_at, id);

CREATE INDEX patches_uri ON patches (uri);

CREATE INDEX patches_used ON patches (last_used_at, id);

CREATE TABLE pruned (
  kind TEXT NOT NULL PRIMARY KEY,
  -- All rows of this kind that retention has removed.
  row_count INTEGER NOT NULL CHECK (row_count > 0),
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE repositories (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  name_key TEXT NOT NULL UNIQUE,
  remote_url TEXT,
  default_branch TEXT NOT NULL,
  description TEXT,
  settings TEXT CHECK (json_valid(settings)),
  worktree_root TEXT,
  max_worktrees INTEGER NOT NULL CHECK (max_worktrees >= 0),
  -- Worktrees that are not removed: the limit is checked without counting them.
  worktree_count INTEGER NOT NULL DEFAULT 0 CHECK (worktree_count >= 0),
  archived_at INTEGER,
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
, retention TEXT CHECK (json_valid(retention))) STRICT;

CREATE INDEX repositories_page ON repositories (created_at, id);

CREATE INDEX repositories_page_of_live ON repositories (created_at, id) WHERE archived_at IS NULL;

CREATE INDEX repositories_retention ON repositories (id) WHERE retention IS NOT NULL;

CREATE TABLE repository_places (
  repository_id TEXT NOT NULL REFERENCES repositories (id),
  place TEXT NOT NULL,
  -- Its worktrees that are not removed: the limit is checked without counting them.
  worktree_count INTEGER NOT NULL CHECK (worktree_count >= 0),
  PRIMARY KEY (repository_id, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE retention (
  id TEXT NOT NULL PRIMARY KEY CHECK (id = 'store'),
  -- Only what was set: the rest has its default.
  settings TEXT NOT NULL CHECK (json_valid(settings)),
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE runners (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  boot_id TEXT NOT NULL UNIQUE,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  labels TEXT NOT NULL CHECK (json_valid(labels)),
  state TEXT NOT NULL CHECK (state = 'online' OR state = 'draining' OR state = 'stalled' OR state = 'gone'),
  heartbeat_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
, place TEXT NOT NULL DEFAULT '') STRICT;

CREATE INDEX runners_expiry ON runners (state, expires_at) WHERE state <> 'gone';

CREATE INDEX runners_gone ON runners ((CASE WHEN state = 'gone' THEN updated_at END), id) WHERE CASE WHEN state = 'gone' THEN updated_at END IS NOT NULL;

CREATE INDEX runners_page ON runners (created_at, id);

CREATE INDEX runners_page_of_name ON runners (name, created_at, id);

CREATE INDEX runners_page_of_state ON runners (state, created_at, id);

CREATE TABLE schema_migrations (
  revision TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  applied_at INTEGER NOT NULL,
  duration_ms INTEGER NOT NULL,
  applied_by TEXT NOT NULL
) STRICT;

CREATE TABLE session_labels (
  session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (session_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX session_labels_key ON session_labels (key, created_at, session_id);

CREATE INDEX session_labels_value ON session_labels (key, value, created_at, session_id);

CREATE TABLE session_marks (
  session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  number INTEGER NOT NULL CHECK (number > 0),
  at INTEGER NOT NULL,
  phase TEXT,
  text TEXT,
  command_id TEXT,
  attempt INTEGER,
  -- The length of the attempt's log when the mark was made.
  log_offset INTEGER,
  PRIMARY KEY (session_id, number),
  CHECK (phase IS NOT NULL OR text IS NOT NULL),
  CHECK ((command_id IS NULL) = (attempt IS NULL)),
  CHECK ((command_id IS NULL) = (log_offset IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
  id TEXT NOT NULL PRIMARY KEY,
  repository_id TEXT NOT NULL REFERENCES repositories (id),
  worktree_id TEXT REFERENCES worktrees (id),
  worktree_fence INTEGER,
  token_id TEXT REFERENCES tokens (id),
  requested_by TEXT,
  commit_sha TEXT NOT NULL,
  patch_hash TEXT,
  patch_uri TEXT,
  state TEXT NOT NULL CHECK (state = 'pending' OR state = 'running' OR state = 'cancelling' OR state = 'completed' OR state = 'failed' OR state = 'cancelled' OR state = 'expired'),
  end_reason TEXT,
  next_sequence INTEGER NOT NULL DEFAULT 1 CHECK (next_sequence > 0),
  max_parallel INTEGER NOT NULL DEFAULT 1 CHECK (max_parallel > 0),
  auto_complete INTEGER NOT NULL DEFAULT 0 CHECK (auto_complete IN (0, 1)),
  -- How many of its commands wait, run, and have failed, timed out or been lost: no operation counts rows.
  queued_commands INTEGER NOT NULL DEFAULT 0 CHECK (queued_commands >= 0),
  active_commands INTEGER NOT NULL DEFAULT 0 CHECK (active_commands >= 0),
  failed_commands INTEGER NOT NULL DEFAULT 0 CHECK (failed_commands >= 0),
  -- Priority and age of the command at the head of its queue, set exactly while a runner may claim it.
  ready_priority INTEGER,
  ready_at INTEGER,
  idle_ttl_ms INTEGER CHECK (idle_ttl_ms > 0),
  expires_at INTEGER,
  last_activity_at INTEGER NOT NULL,
  started_at INTEGER,
  ended_at INTEGER,
  metadata TEXT CHECK (json_valid(metadata)),
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  -- The time at which the session ends, whatever it does.
  deadline_at INTEGER, account_id TEXT REFERENCES accounts (id), last_command_id TEXT, last_command_state TEXT CHECK (last_command_state = 'succeeded' OR last_command_state = 'failed' OR last_command_state = 'timed_out' OR last_command_state = 'cancelled' OR last_command_state = 'lost'), last_exit_code INTEGER, last_signal TEXT, pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned = 0 OR pinned = 1), logs_pruned_at INTEGER, requires TEXT NOT NULL DEFAULT '', ready_requires TEXT NOT NULL DEFAULT '', labels TEXT NOT NULL DEFAULT '{"json":{}}' CHECK (json_valid(labels)), patch_id TEXT REFERENCES patches (id), environment_id TEXT, on_failure TEXT NOT NULL DEFAULT 'continue' CHECK (on_failure = 'continue' OR on_failure = 'stop'), rerun_of TEXT, due_at INTEGER,
  CHECK ((state = 'completed' OR state = 'failed' OR state = 'cancelled' OR state = 'expired') = (ended_at IS NOT NULL)),
  CHECK ((worktree_id IS NULL) = (worktree_fence IS NULL)),
  CHECK ((ready_at IS NULL) = (ready_priority IS NULL)),
  CHECK (ready_at IS NULL OR (state IN ('pending', 'running') AND queued_commands > 0 AND active_commands < max_parallel)),
  CHECK (queued_commands = 0 OR state IN ('pending', 'running'))
) STRICT;

CREATE INDEX sessions_deadline ON sessions (deadline_at) WHERE deadline_at IS NOT NULL AND ended_at IS NULL;

CREATE INDEX sessions_due ON sessions (due_at) WHERE due_at IS NOT NULL;

CREATE INDEX sessions_ended ON sessions (repository_id, ended_at, id) WHERE ended_at IS NOT NULL AND NOT pinned;

CREATE INDEX sessions_expiry ON sessions (expires_at)
  WHERE expires_at IS NOT NULL AND ended_at IS NULL AND active_commands = 0 AND queued_commands = 0;

CREATE INDEX sessions_logs ON sessions (repository_id, ended_at, id) WHERE ended_at IS NOT NULL AND NOT pinned AND logs_pruned_at IS NULL;

CREATE INDEX sessions_of_worktree ON sessions (worktree_id) WHERE worktree_id IS NOT NULL;

CREATE INDEX sessions_page ON sessions (created_at, id);

CREATE INDEX sessions_page_of_account ON sessions (account_id, created_at, id) WHERE account_id IS NOT NULL;

CREATE INDEX sessions_page_of_commit ON sessions (commit_sha, created_at, id);

CREATE INDEX sessions_page_of_patch ON sessions (patch_id, created_at, id) WHERE patch_id IS NOT NULL;

CREATE INDEX sessions_page_of_repository ON sessions (repository_id, created_at, id);

CREATE INDEX sessions_page_of_repository_and_state ON sessions (repository_id, state, created_at, id);

CREATE INDEX sessions_page_of_requester ON sessions (requested_by, created_at, id) WHERE requested_by IS NOT NULL;

CREATE INDEX sessions_page_of_state ON sessions (state, created_at, id);

CREATE INDEX sessions_page_of_token ON sessions (token_id, created_at, id) WHERE token_id IS NOT NULL;

CREATE INDEX sessions_ready ON sessions (ready_requires, ready_at, id) WHERE ready_at IS NOT NULL AND worktree_id IS NULL;

CREATE INDEX sessions_using_environment ON sessions (environment_id)
  WHERE environment_id IS NOT NULL AND (ended_at IS NULL OR active_commands > 0);

CREATE INDEX sessions_working ON sessions (worktree_id, active_commands) WHERE worktree_id IS NOT NULL AND active_commands > 0;

CREATE UNIQUE INDEX sessions_worktree ON sessions (worktree_id) WHERE worktree_id IS NOT NULL AND state IN ('pending', 'running', 'cancelling');

CREATE TABLE store_meta (
  key TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
  id TEXT NOT NULL PRIMARY KEY,
  account_id TEXT NOT NULL REFERENCES accounts (id),
  public_id TEXT NOT NULL UNIQUE CHECK (length(public_id) = 10),
  kind TEXT NOT NULL CHECK (kind = 'personal' OR kind = 'runner'),
  name TEXT NOT NULL,
  -- Of the secret itself nothing is stored.
  secret_sha256 TEXT NOT NULL UNIQUE CHECK (length(secret_sha256) = 64),
  hint TEXT NOT NULL,
  -- Separated by blanks, in the order of the closed list; `admin` stands alone: https://www.rfc-editor.org/rfc/rfc6749#section-3.3
  scopes TEXT NOT NULL CHECK (scopes <> ''),
  created_by TEXT REFERENCES tokens (id),
  rotated_to TEXT REFERENCES tokens (id),
  expires_at INTEGER,
  revoked_at INTEGER,
  revoked_reason TEXT,
  last_used_at INTEGER,
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL, name_freed_at INTEGER, repository_ids TEXT CHECK (repository_ids <> ''), session_id TEXT,
  CHECK (revoked_reason IS NULL OR revoked_at IS NOT NULL),
  -- A token that was replaced ends.
  CHECK (rotated_to IS NULL OR expires_at IS NOT NULL)
) STRICT;

CREATE INDEX tokens_admin ON tokens (created_at) WHERE scopes = 'admin' AND revoked_at IS NULL;

CREATE INDEX tokens_created_by ON tokens (created_by) WHERE created_by IS NOT NULL;

CREATE INDEX tokens_ended ON tokens (coalesce(revoked_at, expires_at), id) WHERE coalesce(revoked_at, expires_at) IS NOT NULL;

CREATE UNIQUE INDEX tokens_name ON tokens (account_id, name)
  WHERE revoked_at IS NULL AND rotated_to IS NULL AND name_freed_at IS NULL;

CREATE INDEX tokens_page ON tokens (created_at, id);

CREATE INDEX tokens_page_of_account ON tokens (account_id, created_at, id);

CREATE INDEX tokens_rotated_to ON tokens (rotated_to) WHERE rotated_to IS NOT NULL;

CREATE INDEX tokens_session ON tokens (session_id) WHERE session_id IS NOT NULL;

CREATE TABLE usage_days (
  kind TEXT NOT NULL CHECK (kind = 'session' OR kind = 'account' OR kind = 'requester' OR kind = 'repository'),
  -- The id of the row, or the name of the requester.
  name TEXT NOT NULL,
  -- In UTC, such as 2026-11-28.
  day TEXT NOT NULL CHECK (length(day) = 10),
  commands INTEGER NOT NULL CHECK (commands > 0),
  duration_ms INTEGER NOT NULL CHECK (duration_ms >= 0),
  cpu_ms INTEGER NOT NULL CHECK (cpu_ms >= 0),
  -- The most that one command has used.
  memory_bytes INTEGER NOT NULL CHECK (memory_bytes >= 0),
  written_bytes INTEGER NOT NULL CHECK (written_bytes >= 0),
  PRIMARY KEY (kind, name, day)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_days_due ON usage_days (day, kind, name);

CREATE INDEX usage_days_of_kind ON usage_days (kind, day, name);

CREATE TABLE worktrees (
  id TEXT NOT NULL PRIMARY KEY,
  repository_id TEXT NOT NULL REFERENCES repositories (id),
  path TEXT NOT NULL,
  commit_sha TEXT,
  environment_hash TEXT,
  pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
  size_bytes INTEGER CHECK (size_bytes >= 0),
  state TEXT NOT NULL CHECK (state = 'creating' OR state = 'idle' OR state = 'dirty' OR state = 'leased' OR state = 'quarantined' OR state = 'evicting' OR state = 'removed'),
  fence INTEGER NOT NULL DEFAULT 0 CHECK (fence >= 0),
  lease_runner_id TEXT REFERENCES runners (id),
  lease_owner TEXT,
  leased_at INTEGER,
  lease_expires_at INTEGER,
  last_used_at INTEGER NOT NULL,
  use_count INTEGER NOT NULL DEFAULT 0,
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL, commit_fence INTEGER, environment_fence INTEGER, ended_from TEXT CHECK (ended_from = 'creating' OR ended_from = 'leased' OR ended_from = 'evicting'), place TEXT NOT NULL DEFAULT '',
  CHECK ((state = 'creating' OR state = 'leased' OR state = 'evicting') = (lease_expires_at IS NOT NULL)),
  CHECK ((lease_expires_at IS NULL) = (leased_at IS NULL)),
  CHECK ((lease_expires_at IS NULL) = (lease_owner IS NULL)),
  CHECK (lease_runner_id IS NULL OR lease_expires_at IS NOT NULL)
) STRICT;

CREATE INDEX worktrees_any ON worktrees (repository_id, place, state DESC, last_used_at) WHERE state IN ('idle', 'dirty');

CREATE INDEX worktrees_commit ON worktrees (repository_id, place, commit_sha, state DESC, last_used_at) WHERE state IN ('idle', 'dirty');

CREATE INDEX worktrees_environment ON worktrees (repository_id, place, environment_hash, state DESC, last_used_at) WHERE state IN ('idle', 'dirty');

CREATE INDEX worktrees_evictable ON worktrees (repository_id, place, last_used_at) WHERE state IN ('idle', 'dirty') AND NOT pinned;

CREATE INDEX worktrees_expiry ON worktrees (lease_expires_at) WHERE lease_expires_at IS NOT NULL;

CREATE INDEX worktrees_next_free ON worktrees (repository_id, place, lease_expires_at) WHERE lease_expires_at IS NOT NULL;

CREATE INDEX worktrees_page ON worktrees (repository_id, created_at, id);

CREATE INDEX worktrees_page_all ON worktrees (created_at, id);

CREATE INDEX worktrees_page_of_place ON worktrees (place, created_at, id);

CREATE INDEX worktrees_page_of_repository_and_state ON worktrees (repository_id, state, created_at, id);

CREATE INDEX worktrees_page_of_runner ON worktrees (lease_runner_id, created_at, id) WHERE lease_runner_id IS NOT NULL;

CREATE INDEX worktrees_page_of_state ON worktrees (state, created_at, id);

CREATE UNIQUE INDEX worktrees_path ON worktrees (place, path) WHERE state <> 'removed';

CREATE INDEX worktrees_quarantined ON worktrees (repository_id, place, last_used_at) WHERE state = 'quarantined';

CREATE INDEX worktrees_removed ON worktrees ((CASE WHEN state = 'removed' THEN updated_at END), id) WHERE CASE WHEN state = 'removed' THEN updated_at END IS NOT NULL;

CREATE INDEX worktrees_same ON worktrees (repository_id, place, environment_hash, commit_sha, state DESC, last_used_at) WHERE state IN ('idle', 'dirty');
