// Names of the rows that others point to: repositories, accounts and runners, as far as the token may read them.
import type { Api } from "./api.ts";
import type { Page } from "./json.ts";

interface Named {
  readonly id: string;
  readonly name: string;
}

const lists = [
  ["repositories.list", "repositories:read", { includeArchived: true }],
  ["accounts.list", "tokens:read", { includeDisabled: true }],
  ["runners.list", "runners:read", { order: "desc" }],
] as const;

export class Names {
  readonly #api: Api;
  readonly #names = new Map<string, string>();
  #loading: Promise<void> | undefined;

  constructor(api: Api) {
    this.#api = api;
  }

  /** Reads the names, once for all who ask at the same time. */
  load(): Promise<void> {
    this.#loading ??= this.#load().finally(() => {
      this.#loading = undefined;
    });
    return this.#loading;
  }

  async #load(): Promise<void> {
    await Promise.all(
      lists
        .filter(([, scope]) => this.#api.may(scope))
        .map(async ([operation, , input]) => {
          const { items } = await this.#api.call<Page<Named>>(operation, { ...input, limit: 500 });
          for (const { id, name } of items) this.#names.set(id, name);
        }),
    );
  }

  has(id: string): boolean {
    return this.#names.has(id);
  }

  /** Returns the name of a row, or the end of its id. */
  of(id: string | null): string {
    if (id === null) return "";
    return this.#names.get(id) ?? `…${id.slice(-8)}`;
  }
}
