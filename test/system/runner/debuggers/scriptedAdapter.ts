// A debug adapter that speaks the protocol over its pipes and plays a program of ten lines, which it "runs" line by line.
// Its first argument chooses how it misbehaves.

const [mode = ""] = process.argv.slice(2);
const lastLine = 10;
let [line, seq] = [0, 0];
let breakpoints: { readonly line: number }[] = [];
let isSplit = false;

function send(message: object): void {
  const text = JSON.stringify({ seq: ++seq, ...message });
  const bytes = Buffer.from(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
  // Headers and characters arrive in pieces.
  if (isSplit) for (const byte of bytes) process.stdout.write(Uint8Array.of(byte));
  else process.stdout.write(bytes);
}
const event = (name: string, body?: object) => send({ type: "event", event: name, body });

/** Runs to the next breakpoint, or to the end. */
function run(): void {
  for (line++; line <= lastLine; line++) {
    if (!breakpoints.some((breakpoint) => breakpoint.line === line)) continue;
    event("stopped", { reason: "breakpoint", threadId: 1, allThreadsStopped: true, hitBreakpointIds: [line] });
    return;
  }
  event("output", { category: "stdout", output: "the end, in Grüße\n" });
  event("exited", { exitCode: 7 });
  event("terminated", null as unknown as object);
  if (mode === "after") {
    event("output", { category: "console", output: "after the end\n" });
    event("stopped", { reason: "step", threadId: 1 });
  }
}

type Args = {
  breakpoints?: { line: number }[];
  variablesReference?: number;
  program?: string;
  expression?: string;
  threadId?: number;
  requestId?: number;
};

const answers: Record<string, (args: Args) => object | undefined> = {
  initialize: () => ({
    supportsConfigurationDoneRequest: true,
    supportsCancelRequest: true,
    exceptionBreakpointFilters: [{ filter: "all", label: "All" }],
  }),
  launch: ({ program }) => {
    isSplit = true;
    event("output", { category: "console", output: `launching ${program}\n` });
    if (mode === "odd") event("stopped", { reason: 5 });
    event("initialized");
    if (mode === "attached") event("stopped", { reason: "entry", threadId: 1, allThreadsStopped: true });
    return {};
  },
  attach: (args) => answers.launch?.(args),
  setBreakpoints: ({ breakpoints: asked = [] }) => {
    // Odd lines have no code.
    breakpoints = asked.map((one) => ({ line: one.line + (one.line % 2) }));
    return { breakpoints: breakpoints.map((one) => ({ id: one.line, verified: true, line: one.line })) };
  },
  setExceptionBreakpoints: () => ({}),
  configurationDone: () => {
    if (mode === "crash") {
      process.stderr.write("an assertion has failed\n");
      process.exit(3);
    }
    send({ type: "request", command: "runInTerminal", arguments: { args: ["sh"] } });
    if (mode !== "endless" && mode !== "attached") setImmediate(run);
    return {};
  },
  threads: () => ({ threads: [2, 1].map((id) => ({ id, name: `thread ${id}` })) }),
  stackTrace: () => ({
    stackFrames: [{ id: 1, name: "main", source: { path: "/srv/main.x" }, line, column: 1 }],
    totalFrames: 1,
  }),
  scopes: () => ({
    scopes: [
      { name: "Locals", variablesReference: 1, expensive: false },
      { name: "Globals", variablesReference: 2, expensive: true },
    ],
  }),
  variables: () => ({
    variables: Array.from({ length: 500 }, (_, n) => ({
      name: n === 0 ? "token" : `v${n}`,
      value: "x",
      variablesReference: 0,
    })),
  }),
  continue: () => {
    setImmediate(run);
    return { allThreadsContinued: true };
  },
  next: ({ threadId }) => {
    if (threadId === undefined) return undefined;
    line++;
    if (mode === "rolling") return {};
    if (mode === "both") queueMicrotask(() => event("stopped", { reason: "breakpoint", threadId: 2 }));
    else setImmediate(() => event("stopped", { reason: "step", threadId: 1 }));
    return {};
  },
  evaluate: ({ expression }) => ({ result: `the value of ${expression}`, variablesReference: 0 }),
  pause: ({ threadId }) => {
    setImmediate(() => event("stopped", { reason: "pause", threadId }));
    return {};
  },
  learn: () => {
    event("capabilities", { capabilities: { supportsModulesRequest: true } });
    return {};
  },
  cancel: ({ requestId }) => {
    event("output", { category: "console", output: `cancelled ${requestId}\n` });
    return {};
  },
  disconnect: () => {
    if (mode !== "stubborn") setImmediate(() => process.exit(0));
    return {};
  },
};

let answerLate = (): void => undefined;
let input = Buffer.alloc(0);
process.stdin.on("data", (data: Buffer) => {
  input = Buffer.concat([input, data]);
  for (;;) {
    const end = input.indexOf("\r\n\r\n");
    const length = Number(/Content-Length: (\d+)/.exec(input.toString("latin1"))?.[1]);
    if (end === -1 || input.length < end + 4 + length) return;
    const message = JSON.parse(input.subarray(end + 4, end + 4 + length).toString());
    input = input.subarray(end + 4 + length);
    if (message.type === "response") event("output", { category: "console", output: `${message.message}\n` });
    if (message.type !== "request" || mode === "silent") continue;
    const answer = (body: object | undefined = answers[message.command]?.(message.arguments ?? {})): void =>
      send({ type: "response", request_seq: message.seq, command: message.command, success: body !== undefined, body });
    if (message.arguments?.expression === "for ever") continue;
    if (mode === "late" && message.command === "threads") answerLate = answer;
    else if (mode === "refusing" && message.command === "launch")
      send({ type: "response", request_seq: message.seq, success: false, message: "no such program" });
    else {
      if (message.command === "continue") answerLate();
      answer();
    }
  }
});
process.stdin.on("end", () => mode !== "stubborn" && process.exit(0));
if (mode === "chatty") process.stdout.write("warning: a library prints\n");
if (mode === "garbage") process.stdout.write(`${"garbage ".repeat(10_000)}\r\n\r\n`);
if (mode === "huge") process.stdout.write("Content-Length: 99999999999\r\n\r\n{}");
if (mode === "stubborn") process.on("SIGTERM", () => undefined);
