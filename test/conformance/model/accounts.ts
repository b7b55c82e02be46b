// The model of accounts.
import { byId, page, wholePage } from "./lists.ts";
import { modelOf } from "./operation.ts";
import type { Picks } from "./picks.ts";
import { type Account, Failure, get, raised, requireVersion, type State, stamped } from "./state.ts";

const names = ["Ann", "Bob", "ann", "Cy"] as const;

export function accountNamed(state: State, name: string): Account | undefined {
  return [...state.accounts.values()].find((row) => row.name.toLowerCase() === name.toLowerCase());
}

function requireFree(state: State, name: string, id: string): void {
  const other = accountNamed(state, name);
  if (other !== undefined && other.id !== id) throw new Failure("conflict", { reason: "name", accountId: other.id });
}

function save(state: State, row: Account, op: string): Account {
  state.put("accounts", row.id, row);
  state.change("account", row, op);
  return row;
}

function one(picks: Picks, state: State) {
  const row = picks.row(state.accounts);
  return { accountId: picks.idOf(row), ...picks.version(row) };
}

interface One {
  readonly accountId: string;
  readonly expectedVersion?: number | undefined;
}

function setDisabled(state: State, { accountId, expectedVersion }: One, isDisabled: boolean): Account {
  const before = get(state.accounts, "account", accountId);
  if ((before.disabledAt !== null) === isDisabled) return before;
  requireVersion(before, expectedVersion);
  const disabledAt = isDisabled ? state.now : null;
  return save(state, raised(before, { disabledAt }, state.now), isDisabled ? "disable" : "enable");
}

export const accounts = modelOf("accounts", {
  create: {
    weight: 2,
    input: (picks) => ({
      id: picks.newId(),
      name: picks.of(names),
      kind: picks.of(["human", "agent", "runner"] as const),
    }),
    run({ id = "", name, kind }, state) {
      requireFree(state, name, id);
      return save(state, { id, name, kind, disabledAt: null, ...stamped(state.now) }, "create");
    },
  },
  disable: { weight: 2, input: one, run: (input, state) => setDisabled(state, input, true) },
  enable: { weight: 3, input: one, run: (input, state) => setDisabled(state, input, false) },
  rename: {
    input: (picks, state) => ({ ...one(picks, state), name: picks.of(names) }),
    run({ accountId, name, expectedVersion }, state) {
      const before = get(state.accounts, "account", accountId);
      if (before.name === name) return before;
      requireVersion(before, expectedVersion);
      requireFree(state, name, accountId);
      return save(state, raised(before, { name }, state.now), "rename");
    },
  },
  get: {
    input: (picks, state) => ({ accountId: picks.id(state.accounts) }),
    run: ({ accountId }, state) => get(state.accounts, "account", accountId),
  },
  find: { input: (picks) => ({ name: picks.of(names) }), run: ({ name }, state) => accountNamed(state, name) },
  list: {
    input: (picks) => ({ ...wholePage, includeDisabled: picks.oneIn(2) }),
    run: ({ includeDisabled = false }, state) =>
      page(state.accounts, (row) => includeDisabled || row.disabledAt === null),
    ordered: byId,
  },
});
