// Runs commands under any debug adapter that speaks the Debug Adapter Protocol over its pipes.
import { basename, resolve } from "node:path";
import { present } from "../../../present.ts";
import type { CommandEnd } from "../../process/runCommand.ts";
import type { DebuggedProgram, Debugger, DebuggerOptions } from "../debugger.ts";
import { drive } from "../drive.ts";
import { Reports } from "../reports.ts";
import { DapBridge } from "./bridge.ts";
import { Connection } from "./connection.ts";
import { AdapterError } from "./messageReader.ts";

export interface DapOptions extends DebuggerOptions {
  /** The adapter and its arguments, such as ["lldb-dap"]. */
  readonly command: readonly string[];
  /** The name of the adapter. Defaults to that of its program. */
  readonly adapter?: string;
  readonly request?: "launch" | "attach";
  /**
   * The arguments of launch or attach, which each adapter defines. They replace the ones that most adapters know:
   * `program`, `args`, `cwd` and `stopOnEntry`.
   */
  arguments?(program: DebuggedProgram): object;
  /** The time in which the adapter has to answer a request. Defaults to 10 000. */
  readonly timeoutMs?: number;
}

export class DapDebugger implements Debugger {
  readonly #options: DapOptions;

  constructor(options: DapOptions) {
    this.#options = options;
  }

  async run(program: DebuggedProgram): Promise<CommandEnd> {
    const { command, name = "main", request = "launch", timeoutMs = 10_000, secretNames } = this.#options;
    const { store, sessionId, commandId, signal, output } = program;
    const adapter = this.#options.adapter ?? basename(command[0] ?? "");
    const connection = new Connection(adapter, command, program, timeoutMs);
    let bridge: DapBridge | undefined;
    const stop = () => {
      if (signal?.reason === "lost") connection.kill();
      else if (bridge === undefined) connection.stop();
      else void bridge.stop();
    };
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();
    try {
      const capabilities = await connection.request("initialize", {
        clientID: "debug-server-db",
        adapterID: adapter,
        linesStartAt1: true,
        columnsStartAt1: true,
        pathFormat: "path",
        supportsVariableType: true,
        supportsRunInTerminalRequest: false,
      });
      const args = this.#argumentsOf(program);
      const options = { sessionId, commandId, name, adapter, request, capabilities, payload: { ...args } };
      const reports = await Reports.open(store, { ...options, ...present({ secretNames }) });
      bridge = new DapBridge(store, connection, reports, capabilities, output);
      await bridge.launch(request, args, timeoutMs);
      return await drive(store, bridge, this.#options);
    } catch (error) {
      if (!(error instanceof AdapterError)) {
        connection.kill();
        await connection.ended;
        throw error;
      }
      if (bridge !== undefined) {
        bridge.fail(error.message);
        return await bridge.ended;
      }
      connection.kill();
      const { exitCode, signal: endSignal, reason, ...end } = await connection.ended;
      const isStopped = signal?.aborted === true;
      return {
        ...end,
        exitCode: null,
        signal: isStopped ? endSignal : null,
        ...(isStopped
          ? {}
          : {
              reason:
                reason ?? (connection.failure ? connection.problemOf({ exitCode, signal: endSignal }) : error.message),
            }),
      };
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  #argumentsOf(program: DebuggedProgram): object {
    if (this.#options.arguments !== undefined) return this.#options.arguments(program);
    const [file = "", ...args] = program.argv;
    const { cwd } = program;
    // A name without a folder is looked up by the adapter, as by a shell.
    return {
      program: file.includes("/") ? resolve(cwd, file) : file,
      args,
      cwd,
      stopOnEntry: this.#options.stopOnEntry ?? false,
    };
  }
}
