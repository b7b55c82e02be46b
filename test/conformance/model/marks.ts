// The model of marks in the log of a session.
import { modelOf } from "./operation.ts";
import { isOpen, keepActive } from "./sessionState.ts";
import { Failure, get } from "./state.ts";
import { lost } from "./worktreeLease.ts";

const contents = [{ phase: "checkout" }, { text: "a line" }, { phase: "install", text: "npm ci" }] as const;

export const marks = modelOf("logs", {
  mark: {
    weight: 3,
    input(picks, state) {
      const command = picks.oneIn(2)
        ? picks.row(state.commands, ({ leaseExpiresAt }) => leaseExpiresAt !== null)
        : undefined;
      const sessionId = picks.id(state.sessions, (row) => isOpen(row) || row.activeCommands > 0);
      return {
        sessionId: command === undefined || picks.oneIn(6) ? sessionId : command.sessionId,
        ...(command === undefined ? {} : { commandId: command.id, fence: picks.fence(command) }),
        ...picks.of(contents),
      };
    },
    run({ sessionId, phase, text, commandId, fence }, state) {
      const session = get(state.sessions, "session", sessionId);
      if (commandId !== undefined) {
        const command = get(state.commands, "command", commandId);
        if (command.sessionId !== sessionId) throw new Failure("not_found", { entity: "command", id: commandId });
        if (command.fence !== fence || command.leaseExpiresAt === null) throw lost(command);
      }
      if (!isOpen(session) && session.activeCommands === 0)
        throw new Failure("invalid_transition", { entity: "session", state: session.state });
      const number = (state.marks.get(sessionId) ?? 0) + 1;
      state.put("marks", sessionId, number);
      keepActive(state, sessionId);
      return {
        sessionId,
        number,
        at: state.now,
        phase: phase ?? null,
        text: text ?? null,
        commandId: commandId ?? null,
        attempt: commandId === undefined ? null : (state.commands.get(commandId)?.attempt ?? null),
      };
    },
  },
});
