// Takes the requests of clients to a debugger from the store, and answers them with what the program under it answers.
import { type Store, StoreError, type TakenRequest } from "../../index.ts";
import { isOutdated, type Reports } from "./reports.ts";

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

/**
 * Serves requests until the signal fires, or the debug session has ended or belongs to another adapter. Fails as the store
 * or the program fails.
 */
export async function serveRequests(
  { debug }: Pick<Store, "debug">,
  { run, masking }: Pick<Reports, "run" | "masking">,
  program: AskedProgram,
  over: AbortSignal,
): Promise<void> {
  const waiting = new Map<string, AbortController>();
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => undefined);
  const serve = async (request: TakenRequest): Promise<void> => {
    const gone = new AbortController();
    waiting.set(request.id, gone);
    try {
      const answer = await program.answer(request.command, request.arguments ?? {}, gone.signal);
      await debug.reply({ ...run, ...masking, request, ...answer });
    } catch (error) {
      if (!isOutdated(error)) failed.reject(error);
    } finally {
      waiting.delete(request.id);
    }
  };
  try {
    while (!over.aborted) {
      const taken = debug.takeRequests(run, { signal: over });
      const { requests, cancelled } = await Promise.race([taken, failed.promise]);
      for (const id of cancelled) waiting.get(id)?.abort();
      // The next ones are taken while these are answered: a pause must reach a program that evaluates for ever.
      for (const request of requests) void serve(request);
    }
  } catch (error) {
    const isOver = isOutdated(error) || (error instanceof StoreError && error.code === "aborted");
    if (!isOver) throw error;
  }
}
