// Drives a program that waits for its start: with the driver of the caller, and with what clients change in the store.
import type { DebugView, Store } from "../../index.ts";
import type { CommandEnd } from "../process/runCommand.ts";
import type { DebuggerOptions, DrivenProgram } from "./debugger.ts";
import { isOutdated, watchDebugSession } from "./reports.ts";

/** A program that does what clients change in its debug session, and what they ask of it. */
export interface FollowingProgram extends DrivenProgram {
  readonly ended: Promise<CommandEnd>;
  follow(view: DebugView): Promise<void>;
  /** Answers the requests of clients until the signal fires, or the debug session has ended. */
  serve(over: AbortSignal): Promise<void>;
}

/** Starts the program and follows its debug session. Resolves with its end, and fails as the driver or the store fails. */
export async function drive(
  store: Pick<Store, "debug" | "changes">,
  program: FollowingProgram,
  options: Pick<DebuggerOptions, "drive">,
): Promise<CommandEnd> {
  const over = new AbortController();
  const begun = Promise.withResolvers<void>();
  const watching = watchDebugSession(store, program.debugSession, over.signal, async (view) => {
    await program.follow(view);
    begun.resolve();
  });
  const serving = program.serve(over.signal);
  const run = async (): Promise<void> => {
    // The breakpoints that the store has are set before the program starts.
    await Promise.race([begun.promise, watching, program.ended]);
    if (options.drive !== undefined) return void (await options.drive(program));
    try {
      await program.start();
    } catch (error) {
      // A client has closed the debug session before the program could start.
      if (!isOutdated(error)) throw error;
      program.kill();
    }
  };
  const running = run();
  const fail = () => program.kill();
  running.catch(fail);
  watching.catch(fail);
  serving.catch(fail);
  try {
    const end = await program.ended;
    over.abort();
    await Promise.all([running, watching, serving]);
    return end;
  } finally {
    over.abort();
  }
}
