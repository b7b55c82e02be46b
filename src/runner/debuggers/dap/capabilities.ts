// The capabilities of an adapter, and the requests that it knows only with one of them (Debug Adapter Protocol, section
// Types, Capabilities: https://microsoft.github.io/debug-adapter-protocol/specification).

export type Capabilities = Record<string, unknown>;

/** The capability without which a client should not make a request, as each section of Requests says. */
const needed: Readonly<Record<string, string>> = {
  breakpointLocations: "supportsBreakpointLocationsRequest",
  completions: "supportsCompletionsRequest",
  dataBreakpointInfo: "supportsDataBreakpoints",
  disassemble: "supportsDisassembleRequest",
  exceptionInfo: "supportsExceptionInfoRequest",
  goto: "supportsGotoTargetsRequest",
  gotoTargets: "supportsGotoTargetsRequest",
  loadedSources: "supportsLoadedSourcesRequest",
  modules: "supportsModulesRequest",
  readMemory: "supportsReadMemoryRequest",
  restartFrame: "supportsRestartFrame",
  reverseContinue: "supportsStepBack",
  setExpression: "supportsSetExpression",
  setVariable: "supportsSetVariable",
  stepBack: "supportsStepBack",
  stepInTargets: "supportsStepInTargetsRequest",
  terminateThreads: "supportsTerminateThreadsRequest",
  writeMemory: "supportsWriteMemoryRequest",
};

/** Returns the capability that an adapter lacks for a request, or undefined. Some adapters end when they get such a request. */
export function lackedFor(command: string, capabilities: Capabilities): string | undefined {
  const capability = Object.hasOwn(needed, command) ? needed[command] : undefined;
  return capability === undefined || capabilities[capability] === true ? undefined : capability;
}
