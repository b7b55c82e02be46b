// Reads the threads of a stopped program from its adapter, with frames, scopes and variables within bounds.
import type { DebugScope, DebugThread, StackFrame, Variable } from "../../../index.ts";
import type { Connection } from "./connection.ts";
import { AdapterError } from "./messageReader.ts";

/** Limits on what is asked for, near those of the store. */
const threadsMax = 64;
const framesMax = 20;
const scopesMax = 10;
const variablesMax = 100;

/** Reads the threads, the stopped one first. What the adapter refuses is left out. */
export async function readThreads(connection: Connection, stoppedId: number | undefined): Promise<DebugThread[]> {
  const { threads = [] } = await connection.request<{ threads?: { id: number; name: string }[] }>("threads");
  const isOther = ({ id }: { id: number }) => (id === stoppedId ? 0 : 1);
  const sorted = threads.toSorted((a, b) => isOther(a) - isOther(b)).slice(0, threadsMax);
  const read: DebugThread[] = [];
  for (const [index, { id, name }] of sorted.entries()) {
    const { stackFrames = [], totalFrames } = await orEmpty(
      connection.request<{ stackFrames?: StackFrame[]; totalFrames?: number }>("stackTrace", {
        threadId: id,
        startFrame: 0,
        levels: framesMax,
      }),
    );
    const frames = stackFrames.slice(0, framesMax);
    const [top] = frames;
    // Only the innermost frame of the stopped thread gets its variables: those of all would take many round trips.
    if (index === 0 && top !== undefined) frames[0] = { ...top, scopes: await readScopes(connection, top.id) };
    read.push({ id, name, frames, totalFrames: Math.max(totalFrames ?? 0, stackFrames.length) });
  }
  return read;
}

async function readScopes(connection: Connection, frameId: number): Promise<DebugScope[]> {
  const { scopes = [] } = await orEmpty(connection.request<{ scopes?: DebugScope[] }>("scopes", { frameId }));
  const read: DebugScope[] = [];
  for (const scope of scopes.slice(0, scopesMax)) {
    const isSkipped = scope.expensive || scope.presentationHint === "registers" || scope.variablesReference === 0;
    if (isSkipped) {
      read.push(scope);
      continue;
    }
    const { variables } = await orEmpty(
      connection.request<{ variables?: Variable[] }>("variables", { variablesReference: scope.variablesReference }),
    );
    // One more than the store keeps, so that it marks the rest as omitted.
    read.push(variables === undefined ? scope : { ...scope, variables: variables.slice(0, variablesMax + 1) });
  }
  return read;
}

/** Returns an empty answer for a request that the adapter refuses. */
async function orEmpty<Body>(answer: Promise<Body>): Promise<Partial<Body>> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof AdapterError) return {};
    throw error;
  }
}
