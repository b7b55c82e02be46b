// Takes the requests of clients to a debugger from the store, and answers them with what the program under it answers.
import { isDebugMove, type Store, StoreError, type TakenRequest } from "../../index.ts";
import { isOutdated, type Reports } from "./reports.ts";

/** The time after which a debugger that does not ask for requests any more is lost; it waits 20 seconds with each call. */
const bridgeMs = 60_000;

/** The answer to a request, as in the protocol's response. */
export interface Answer {
  readonly success: boolean;
  readonly body?: unknown;
  readonly message?: string;
}

/** A program that can be asked something. */
export interface AskedProgram {
  /** Resolves also when the request is refused. The signal fires when nobody waits for the answer any more. */
  answer(command: string, args: Readonly<Record<string, unknown>>, signal: AbortSignal): Promise<Answer>;
}

export function refusal(message: string): Answer {
  return { success: false, message: message.slice(0, 1_000) };
}

/** Returns the arguments of a request, with the thread that the store knows for a move of a client that names none. */
function argumentsOf({ command, arguments: args, threadId }: TakenRequest): Readonly<Record<string, unknown>> {
  return isDebugMove(command) && threadId !== null ? { threadId, ...args } : (args ?? {});
}

/**
 * Serves requests until the signal fires, or the debug session has ended or belongs to another adapter. Fails as the store
 * or the program fails.
 */
export async function serveRequests(
  { debug }: Pick<Store, "debug">,
  reports: Reports,
  program: AskedProgram,
  over: AbortSignal,
): Promise<void> {
  const { run, masking } = reports;
  const waiting = new Map<string, AbortController>();
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => undefined);
  const serve = async (request: TakenRequest): Promise<void> => {
    const gone = new AbortController();
    waiting.set(request.id, gone);
    try {
      const answer = await program.answer(request.command, argumentsOf(request), gone.signal);
      // In its place among the events: a stop that comes after the answer to a move is not the one that the move has left.
      await reports.send(() => debug.reply({ ...run, ...masking, request, ...answer }));
    } catch (error) {
      failed.reject(error);
    } finally {
      waiting.delete(request.id);
    }
  };
  try {
    while (!over.aborted) {
      const taken = debug.takeRequests({ ...run, ttlMs: bridgeMs }, { signal: over });
      const { requests, cancelled } = await Promise.race([taken, failed.promise, reports.failed]);
      for (const id of cancelled) waiting.get(id)?.abort();
      // The next ones are taken while these are answered: a pause must reach a program that evaluates for ever.
      for (const request of requests) void serve(request);
    }
  } catch (error) {
    const isOver = isOutdated(error) || (error instanceof StoreError && error.code === "aborted");
    if (!isOver) throw error;
  }
}
