// The requests of the Debug Adapter Protocol, as far as the store tells them apart. Imports nothing, so that the command line
// can ask without loading a schema.

/**
 * The requests that move the program, so that the stop is over:
 * https://microsoft.github.io/debug-adapter-protocol/specification#Requests
 */
const moves = ["continue", "next", "stepIn", "stepOut", "stepBack", "reverseContinue", "restartFrame", "goto"];

/**
 * The requests that name what exists only while the program is stopped: frames, variables and the threads themselves.
 * https://microsoft.github.io/debug-adapter-protocol/overview#lifetime-of-objects-references
 */
const ofAStop = [
  ...moves,
  ...["stackTrace", "scopes", "variables", "setVariable", "exceptionInfo", "stepInTargets", "locations"],
];

/** Checks whether a request moves the program. */
export function isMove(command: string): boolean {
  return moves.includes(command);
}

/** Checks whether a request depends on a stop. Evaluations and others do when they name a frame or a variable. */
export function dependsOnStop(command: string, args: Readonly<Record<string, unknown>> | undefined): boolean {
  return ofAStop.includes(command) || args?.frameId !== undefined || (Number(args?.variablesReference) || 0) > 0;
}

const own = "its bridge makes this request by itself";
const set = "call debug.setBreakpoints";

/** The requests that only a bridge makes, with what a client does instead. */
const ofTheBridge: Readonly<Record<string, string>> = {
  setBreakpoints: set,
  setFunctionBreakpoints: set,
  setDataBreakpoints: set,
  setInstructionBreakpoints: set,
  setExceptionBreakpoints: set,
  disconnect: "call debug.close",
  terminate: "call debug.close",
  cancel: "call debug.cancelRequest",
  initialize: own,
  launch: own,
  attach: own,
  configurationDone: own,
  restart: own,
};

/** Returns what a client has to do instead of asking this, or undefined. */
export function insteadOf(command: string): string | undefined {
  return Object.hasOwn(ofTheBridge, command) ? ofTheBridge[command] : undefined;
}
