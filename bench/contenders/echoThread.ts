// A thread that calls the echo and then commits an append itself.
import type { MessagePort } from "node:worker_threads";
import { type Endpoint, wrap } from "comlink";
import { type Cell, day, type Opened } from "../cells/cell.ts";
import { lineOf, type Slot } from "../load.ts";
import { connect, prepareAppend } from "../statements.ts";
import type { Echo } from "./echoServer.ts";

export function open(_cell: Cell, { path, port, slot }: { path: string; port: MessagePort; slot: Slot }): Opened {
  const echo = wrap<Echo>(port as unknown as Endpoint);
  port.start();
  const db = connect(path, 5_000);
  const line = lineOf(day.bytes);
  const append = db.transaction(prepareAppend(db, line)).immediate;
  let offset = 0;
  return {
    async unit() {
      await echo(slot.commandId, slot.fence, offset, line);
      append(slot.commandId, slot.fence, offset);
      offset += line.byteLength;
    },
    close() {
      db.close();
      port.close();
    },
  };
}
