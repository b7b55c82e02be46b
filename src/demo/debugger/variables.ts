// Frames, scopes and variables of a paused program, as the Debug Adapter Protocol names them.
import { fileURLToPath } from "node:url";
import type { Scope, StackFrame, Variable } from "../../model/debugProtocol.ts";
import type { CallFrame, Inspector, Property, RemoteObject } from "./inspector.ts";

/** How much is asked for: what the store would leave out is not even fetched. */
const framesMax = 20;
const propertiesMax = 100;
const depthMax = 2;

/** `urls`: of scripts, by their ids. */
export async function readFrames(
  inspector: Inspector,
  callFrames: readonly CallFrame[],
  urls: ReadonlyMap<string, string>,
): Promise<StackFrame[]> {
  const references = new References();
  return Promise.all(
    callFrames.slice(0, framesMax).map(async (callFrame, index): Promise<StackFrame> => {
      const { functionName, location, scopeChain } = callFrame;
      const frame = {
        id: index + 1,
        name: functionName === "" ? "(anonymous)" : functionName,
        source: sourceOf(urls.get(location.scriptId) ?? ""),
        line: location.lineNumber + 1,
        column: (location.columnNumber ?? 0) + 1,
      };
      // The variables of every frame would be many round trips; those of the innermost are what one looks at.
      if (index > 0) return frame;
      return {
        ...frame,
        scopes: await Promise.all(scopeChain.map((scope) => readScope(inspector, scope, references))),
      };
    }),
  );
}

/** The inspector names objects by text, the protocol by number. */
class References {
  #last = 0;
  next(object: RemoteObject): number {
    return object.objectId === undefined ? 0 : ++this.#last;
  }
}

const scopeNames: Readonly<Record<string, string>> = {
  local: "Local",
  closure: "Closure",
  block: "Block",
  script: "Script",
  module: "Module",
  global: "Global",
};

async function readScope(
  inspector: Inspector,
  { type, name, object }: CallFrame["scopeChain"][number],
  references: References,
): Promise<Scope> {
  const isGlobal = type === "global";
  const scope = {
    name: `${scopeNames[type] ?? type}${name === undefined || name === "" ? "" : ` (${name})`}`,
    ...(type === "local" ? { presentationHint: "locals" } : {}),
    variablesReference: references.next(object),
    expensive: isGlobal,
  };
  return isGlobal ? scope : { ...scope, variables: await readProperties(inspector, object, references, "", 1) };
}

async function readProperties(
  inspector: Inspector,
  { objectId }: RemoteObject,
  references: References,
  path: string,
  depth: number,
): Promise<Variable[]> {
  const { result } = await inspector.send<{ result: readonly Property[] }>("Runtime.getProperties", {
    objectId,
    ownProperties: true,
  });
  const known = result.filter(({ value }) => value !== undefined && value.type !== "function");
  // One more than the store keeps, so that it marks what is left out.
  return Promise.all(
    known.slice(0, propertiesMax + 1).map(async ({ name, value }): Promise<Variable> => {
      const object = value as RemoteObject;
      const evaluateName =
        path === "" ? name : /^[A-Za-z_$][\w$]*$/.test(name) ? `${path}.${name}` : `${path}[${JSON.stringify(name)}]`;
      const variable = {
        name,
        value: textOf(object),
        type: object.subtype ?? object.type,
        evaluateName,
        variablesReference: references.next(object),
      };
      if (object.objectId === undefined || depth >= depthMax) return variable;
      return { ...variable, variables: await readProperties(inspector, object, references, evaluateName, depth + 1) };
    }),
  );
}

function textOf({ type, value, unserializableValue, description }: RemoteObject): string {
  if (type === "string") return JSON.stringify(value);
  return unserializableValue ?? description ?? String(value);
}

export function sourceOf(url: string): { readonly name: string; readonly path?: string } {
  if (!url.startsWith("file:")) return { name: url === "" ? "(evaluated)" : url };
  const path = fileURLToPath(url);
  return { name: path.slice(path.lastIndexOf("/") + 1), path };
}
