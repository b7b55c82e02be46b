// Runs commands of Node under its inspector.
import { basename } from "node:path";
import { present } from "../../../present.ts";
import type { CommandEnd } from "../../process/runCommand.ts";
import type { DebuggedProgram, Debugger, DebuggerOptions } from "../debugger.ts";
import { drive } from "../drive.ts";
import { NodeBridge } from "./bridge.ts";

export class NodeDebugger implements Debugger {
  readonly #options: DebuggerOptions;

  constructor(options: DebuggerOptions) {
    this.#options = options;
  }

  async run(program: DebuggedProgram): Promise<CommandEnd> {
    const { store, argv } = program;
    const { name = "main", stopOnEntry = false, secretNames } = this.#options;
    const [file = ""] = argv;
    if (!/^node(?:js)?(?:\.exe)?$/.test(basename(file)))
      throw new TypeError(`debuggers.node() runs programs of Node, and not ${file}: the command must begin with node`);
    const bridge = await NodeBridge.launch(store, { ...program, name, stopOnEntry, ...present({ secretNames }) });
    return bridge instanceof NodeBridge ? await drive(store, bridge, this.#options) : bridge;
  }
}
