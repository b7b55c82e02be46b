// What happens on the serving side and is nobody's answer.

export type StoreEvent =
  | { readonly type: "opened"; readonly epoch: number }
  /** A fault of ours, or damage; the call got the code alone. */
  | { readonly type: "fault"; readonly code: string; readonly message: string; readonly cause: string | undefined }
  | {
      readonly type: "reaped";
      readonly worktrees: readonly string[];
      readonly commands: readonly string[];
      readonly sessions: readonly string[];
      readonly runners: readonly string[];
      readonly artifacts: readonly string[];
    }
  | { readonly type: "message_refused"; readonly reason: string }
  /** Another living process serves the same file: move to PostgreSQL, or let one of them do the work. */
  | { readonly type: "second_server"; readonly pid: number }
  | { readonly type: "thread_died"; readonly message: string };

/** The methods of a pino logger that are used. */
export interface Logger {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
  error(details: object, message: string): void;
}

const levels: Record<StoreEvent["type"], keyof Logger> = {
  opened: "info",
  reaped: "info",
  message_refused: "warn",
  second_server: "warn",
  fault: "error",
  thread_died: "error",
};

export function logEvent(logger: Logger, event: StoreEvent): void {
  const { type, ...details } = event;
  logger[levels[type]](details, `debug-server-db: ${type.replaceAll("_", " ")}`);
}
