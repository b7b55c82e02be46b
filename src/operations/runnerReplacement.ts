// The end of a runner that was started again: its former self is gone, and its leases end with it (D-099).
import type { Context } from "../context.ts";
import { fail } from "../operation.ts";
import { all, changeEach, one, sql, step } from "../sql.ts";
import { expireCommandLeases } from "./commandExpiry.ts";
import { expireEnvironmentLeases } from "./environmentState.ts";
import { inOrderOfIds, lockRow, type RowOf } from "./rows.ts";
import { runnerTopic } from "./topics.ts";
import { expireWorktreeLeases } from "./worktreeState.ts";

type Row = RowOf["runner"];

interface Lease {
  readonly id: string;
  readonly fence: number;
}

const reason = "runner_replaced";

/**
 * Marks the former self of a runner as gone, and ends its leases as if their time had passed. It ends at most
 * `limits.reapRows` of each kind, and skips rows that another transaction has locked. The others have expired by then,
 * so the next pass of the reaper ends them. Changes nothing if the former runner is gone already.
 */
export const replaceRunner = step(function* (formerId: string, runner: Row, context: Context) {
  if (formerId === runner.id)
    fail("invalid_input", {}, `replaces: ${formerId} is the runner itself; expected the id of an earlier run`);
  const former = yield* lockRow("runner", formerId);
  if (former.name !== runner.name) {
    const message = `runner ${formerId} has the name ${former.name}: only a runner of the same name can replace it`;
    fail("conflict", { reason: "other_name", name: former.name }, message);
  }
  if (former.state === "gone") return;
  const { now, limits, changed, wake, counted } = context;
  const { version } = yield* one<Pick<Row, "version">>(sql`
    UPDATE runners SET
      state = 'gone',
      version = version + 1,
      updated_at = ${now}
    WHERE id = ${formerId}
    RETURNING version`);
  counted("runner", former.state, "gone");
  changed({ entity: "runner", id: formerId, op: "gone", version, detail: { replacedBy: runner.id } });
  // A claim of the former runner that waits runs again, and fails.
  wake(runnerTopic(formerId));
  yield* expireNow(formerId, now);
  const limit = limits.reapRows;
  // The commands first: a worktree stays with its holder while a command of its session is active.
  yield* expireCommandLeases(context, { limit, runnerId: formerId, reason });
  yield* expireWorktreeLeases(context, { limit, runnerId: formerId, reason });
  yield* expireEnvironmentLeases(context, { limit, runnerId: formerId, reason });
});

/**
 * Lets all leases of a runner expire now. Rows of one kind are locked in the order of their ids (D-041). The runner is
 * locked, so it is granted no lease meanwhile.
 */
const expireNow = step(function* (runnerId: string, now: Date) {
  const commands = yield* all<Lease>(
    sql`SELECT id, fence FROM commands WHERE lease_expires_at > ${now} AND (runner_id = ${runnerId}) IS TRUE`,
  );
  const worktrees = yield* all<Lease>(
    sql`SELECT id, fence FROM worktrees WHERE lease_expires_at > ${now} AND (lease_runner_id = ${runnerId}) IS TRUE`,
  );
  const environments = yield* all<Lease>(
    sql`SELECT id, fence FROM environments WHERE lease_expires_at > ${now} AND (lease_runner_id = ${runnerId}) IS TRUE`,
  );
  yield* changeEach([
    ...inOrderOfIds(commands).map(
      ({ id, fence }) => sql`
        UPDATE commands SET lease_expires_at = ${now}
        WHERE id = ${id} AND fence = ${fence} AND lease_expires_at > ${now}`,
    ),
    ...inOrderOfIds(worktrees).map(
      ({ id, fence }) => sql`
        UPDATE worktrees SET lease_expires_at = ${now}
        WHERE id = ${id} AND fence = ${fence} AND lease_expires_at > ${now}`,
    ),
    ...inOrderOfIds(environments).map(
      ({ id, fence }) => sql`
        UPDATE environments SET lease_expires_at = ${now}
        WHERE id = ${id} AND fence = ${fence} AND lease_expires_at > ${now}`,
    ),
  ]);
});
