// The model of logs. The texts are ASCII, so a character is a byte.
import { isFinal, putAttempt } from "./commandState.ts";
import { modelOf } from "./operation.ts";
import { type Chunk, Failure, get } from "./state.ts";
import { lost } from "./worktreeLease.ts";

const texts = ["one\n", "two\nthree\n", "no break", "\n\n"] as const;
const keyOf = (commandId: string, attempt: number): string => `${commandId}/${attempt}`;
const linesIn = (text: string): number => text.split("\n").length - 1;

export const logs = modelOf("logs", {
  append: {
    weight: 6,
    input(picks, state) {
      const row = picks.row(state.commands, ({ leaseExpiresAt }) => leaseExpiresAt !== null);
      const attempts = state.attempts.get(row?.id ?? "") ?? [];
      const end = attempts.at(-1)?.logBytes ?? 0;
      return {
        commandId: picks.idOf(row),
        fence: picks.fence(row),
        offset: Math.max(0, end + picks.of([0, 0, 0, 0, -2, -8, 3])),
        stream: picks.of(["stdout", "stderr"] as const),
        data: new TextEncoder().encode(picks.of(texts)),
      };
    },
    run({ commandId, fence, offset, stream = "stdout", data }, state) {
      const text = new TextDecoder().decode(data);
      const attempt = state.attempts.get(commandId)?.find((one) => one.fence === fence);
      const command = get(state.commands, "command", commandId);
      if (attempt === undefined) throw lost(command);
      const { logBytes } = attempt;
      const end = offset + text.length;
      if (end <= logBytes) return { ackOffset: logBytes, truncated: false };
      if (attempt.outcome === "lost" || command.fence !== fence) throw lost(command);
      if (attempt.logState !== "open") throw new Failure("log_sealed", { nextOffset: logBytes });
      if (command.leaseExpiresAt === null) throw lost(command);
      if (offset > logBytes) throw new Failure("log_gap", { expectedOffset: logBytes });
      const fresh = text.slice(logBytes - offset);
      const key = keyOf(commandId, attempt.attempt);
      const chunk: Chunk = { offset: logBytes, stream, at: state.now, text: fresh };
      state.put("logs", key, [...(state.logs.get(key) ?? []), chunk]);
      putAttempt(state, commandId, { logBytes: end, logLines: attempt.logLines + linesIn(fresh) });
      return { ackOffset: end, truncated: false };
    },
  },
  read: {
    weight: 2,
    input: (picks, state) => ({
      commandId: picks.id(state.commands, ({ attempt }) => attempt > 0),
      ...picks.optional("attempt", picks.of([1, 2]), 4),
      ...picks.of([{}, { offset: 2 }, { line: 1 }, { lastLines: 1 }, { offset: 9 }, { line: 3 }, { lastLines: 0 }]),
    }),
    run({ commandId, attempt: number, offset, line, lastLines }, state) {
      const command = get(state.commands, "command", commandId);
      const all = state.attempts.get(commandId) ?? [];
      const attempt = number === undefined ? all.at(-1) : all.find((one) => one.attempt === number);
      const isEnded = isFinal(command.state);
      if (attempt === undefined) {
        if (number !== undefined && (number !== 1 || command.attempt > 0))
          throw new Failure("not_found", { entity: "attempt", attempt: number });
        const place = { attempt: 0, chunks: [], nextOffset: offset ?? 0, endOffset: 0, droppedBytes: 0 };
        return { ...place, ended: isEnded, state: isEnded ? "sealed" : "open" };
      }
      if (attempt.logState === "pruned") {
        const { logBytes: endOffset, logLines, droppedBytes } = attempt;
        const number = lastLines === undefined ? (line ?? 0) : Math.max(0, logLines - lastLines);
        const nextOffset = offset ?? (number === 0 ? 0 : endOffset);
        return {
          attempt: attempt.attempt,
          chunks: [],
          nextOffset,
          endOffset,
          droppedBytes,
          ended: true,
          state: "pruned",
        };
      }
      const chunks = state.logs.get(keyOf(commandId, attempt.attempt)) ?? [];
      const from = offset ?? startOf(chunks.map(({ text }) => text).join(""), line, lastLines);
      const read = chunks.flatMap((chunk) => partFrom(chunk, from, chunks, attempt.attempt));
      const nextOffset = read.length === 0 ? from : attempt.logBytes;
      return {
        attempt: attempt.attempt,
        chunks: read,
        nextOffset,
        endOffset: attempt.logBytes,
        droppedBytes: 0,
        ended: attempt.logState === "sealed" && nextOffset >= attempt.logBytes,
        state: attempt.logState,
      };
    },
  },
});

/** Returns the offset at which a line begins. Bytes after the last line break count as a line. */
function startOf(text: string, line: number | undefined, lastLines: number | undefined): number {
  const count = linesIn(text) + (text === "" || text.endsWith("\n") ? 0 : 1);
  const number = lastLines === undefined ? (line ?? 0) : Math.max(0, count - lastLines);
  const starts = [0, ...[...text.matchAll(/\n/g)].map(({ index }) => index + 1)];
  return starts[number] ?? text.length;
}

/** Returns what a read from an offset shows of a chunk. */
function partFrom({ offset, stream, at, text }: Chunk, from: number, chunks: readonly Chunk[], attempt: number) {
  if (offset + text.length <= from) return [];
  const start = Math.max(offset, from);
  const before = chunks
    .map((chunk) => chunk.text)
    .join("")
    .slice(0, start);
  return [
    {
      attempt,
      offset: start,
      droppedBytes: 0,
      startLine: linesIn(before),
      stream,
      at,
      data: text.slice(start - offset),
    },
  ];
}
