// Rows as the API sends them: times are text, and so are bytes.
import type {
  Artifact,
  Attempt,
  ChangeRow,
  Chunk,
  Command,
  DebugEntry,
  DebugEvent,
  DebugRequest,
  DebugSession,
  DebugView,
  Repository,
  Runner,
  Session,
  SessionLogItem,
  Store,
  Token,
  Worktree,
} from "../index.ts";

/** A value after its way through JSON. */
export type Json<Value> = Value extends Date | Uint8Array
  ? string
  : Value extends readonly (infer Item)[]
    ? Json<Item>[]
    : Value extends object
      ? { [Name in keyof Value]: Json<Value[Name]> }
      : Value;

export type SessionJson = Json<Session>;
export type CommandJson = Json<Command>;
export type AttemptJson = Json<Attempt>;
export type WorktreeJson = Json<Worktree>;
export type RunnerJson = Json<Runner>;
export type DebugSessionJson = Json<DebugSession>;
export type DebugViewJson = Json<DebugView>;
export type DebugEventJson = Json<DebugEvent>;
export type DebugEntryJson = Json<DebugEntry>;
export type DebugRequestJson = Json<DebugRequest>;
export type FrameJson = DebugViewJson["threads"][number]["frames"][number];
export type VariableJson = NonNullable<NonNullable<FrameJson["scopes"]>[number]["variables"]>[number];
export type TokenJson = Json<Token>;
export type ArtifactJson = Json<Artifact>;
export type RepositoryJson = Json<Repository>;
export type ChangeJson = Json<ChangeRow>;
export type ChunkJson = Json<Chunk>;
export type SessionLogItemJson = Json<SessionLogItem>;

export type StatsJson = Json<Awaited<ReturnType<Store["maintenance"]["stats"]>>>;

/** A row of any list: all have an id and the time of their creation. */
export interface Row {
  readonly id: string;
  readonly createdAt: string;
}

export interface Page<Item> {
  readonly items: Item[];
  readonly nextCursor?: string;
}
