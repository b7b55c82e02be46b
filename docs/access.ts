// Renders what the API over HTTP wants of its callers: the scopes of the operations, and the faults of requests.
import { clientScopes, type OperationName, operationScopes, runnerScopes, viewerScopes } from "../src/http/access.ts";
import { requestFaults } from "../src/http/problems.ts";
import { scopes } from "../src/model/vocabulary.ts";

/** Renders the operations of each scope, and the sets that have it. */
export function renderScopes(): string {
  const sets = { viewerScopes, clientScopes, runnerScopes };
  const names = Object.keys(operationScopes) as OperationName[];
  const rows = scopes.map((scope) => {
    const own = names.filter((name) => operationScopes[name] === scope).map((name) => `\`${name}\``);
    const marks = Object.values(sets).map((set) => (set.includes(scope) ? "yes" : ""));
    return `| \`${scope}\` | ${[scope === "admin" ? "everything" : "", ...own].filter((text) => text !== "").join(", ")} | ${marks.join(" | ")} |`;
  });
  return [
    `| scope | operations | ${Object.keys(sets)
      .map((name) => `\`${name}\``)
      .join(" | ")} |`,
    "| --- | --- | --- | --- | --- |",
    ...rows,
  ].join("\n");
}

/** Renders the codes that no call of the store has. */
export function renderFaults(): string {
  const rows = Object.entries(requestFaults).map(
    ([code, { status, means }]) => `| \`${code}\` | ${status} | ${means} |`,
  );
  return ["| code | status | meaning |", "| --- | --- | --- |", ...rows].join("\n");
}
