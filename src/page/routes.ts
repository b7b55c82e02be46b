// The addresses of the page: `#/sessions`, `#/sessions/ID`, `#/sessions/ID/commands`.
import { DebugSessionView } from "./debugView.ts";
import type { Detail } from "./detail.ts";
import { details } from "./details.ts";
import { DetailView } from "./detailView.ts";
import { h } from "./dom.ts";
import { HealthView } from "./healthView.ts";
import * as kinds from "./kinds.ts";
import { feedBackwards, pages, recentDebugSessions, type Source } from "./sources.ts";
import { Table } from "./table.ts";
import type { Surroundings, View } from "./view.ts";

export interface Place {
  readonly name: string;
  readonly title: string;
  /** The scopes of which one is needed; none for what everybody may see. */
  readonly scopes: readonly string[];
  open(surroundings: Surroundings): View;
}

/** Returns the place of a list. */
function placeOf<Item extends object>(
  kind: kinds.Kind<Item>,
  source: (surroundings: Surroundings, state: string | undefined) => Source<Item>,
  concerns?: () => boolean,
): Place {
  const options = concerns === undefined ? {} : { concerns };
  return {
    name: kind.name,
    title: kind.title,
    scopes: [kind.scope],
    open: (surroundings) =>
      new Table({ kind, source: (state) => source(surroundings, state), ...options }, surroundings),
  };
}

const listed = <Item extends object>(kind: kinds.Kind<Item>) =>
  placeOf(kind, ({ api }, state) => pages<Item>(api, kind.list, state === undefined ? {} : { state }));

export const places: readonly Place[] = [
  listed(kinds.sessions),
  listed(kinds.commands),
  listed(kinds.worktrees),
  listed(kinds.runners),
  placeOf(kinds.debugSessions, ({ api }) => recentDebugSessions(api)),
  listed(kinds.tokens),
  placeOf(
    kinds.changes,
    ({ api }) => feedBackwards(api),
    () => true,
  ),
  { name: "health", title: "Health", scopes: [], open: (surroundings) => new HealthView(surroundings) },
];

/** Opens the view of an address. */
export function openRoute(hash: string, surroundings: Surroundings): View {
  const [name = "", id, ...rest] = hash.replace(/^#\/?/, "").split("/").map(decoded);
  const place = places.find((each) => each.name === name);
  const scope = place?.scopes.find((each) => !surroundings.api.may(each));
  if (scope !== undefined) return message("Not allowed", `This needs a token with the scope ${scope}.`);
  if (id === undefined || id === "")
    return place?.open(surroundings) ?? message("Not found", "There is nothing at this address.");
  if (name === "debug") return new DebugSessionView(id, surroundings);
  if (!Object.hasOwn(details, name)) return message("Not found", "There is nothing at this address.");
  return new DetailView(details[name as keyof typeof details] as unknown as Detail<unknown>, id, rest, surroundings);
}

function message(title: string, text: string): View {
  return {
    title,
    element: h("section", { class: "detail" }, h("h1", { tabindex: -1 }, title), h("p", { class: "empty" }, text)),
  };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
