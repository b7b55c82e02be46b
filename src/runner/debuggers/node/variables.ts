// Reads frames, scopes and variables of a paused program, in the terms of the Debug Adapter Protocol.
import { fileURLToPath } from "node:url";
import type { DebugScope, StackFrame, Variable } from "../../../index.ts";
import type { CallFrame, Inspector, Property, RemoteObject } from "./inspector.ts";

/** Limits on what is fetched, near those of the store. */
const framesMax = 20;
const propertiesMax = 100;
const depthMax = 2;

/** Reads the frames. `urls` holds the URLs of scripts by their ids. */
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
      // Only the innermost frame gets its variables: those of every frame would take many round trips.
      if (index > 0) return frame;
      return {
        ...frame,
        scopes: await Promise.all(scopeChain.map((scope) => readScope(inspector, scope, references))),
      };
    }),
  );
}

/** Numbers the objects: the inspector identifies them by text, the Debug Adapter Protocol by number. */
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
): Promise<DebugScope> {
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
  // One more than the store keeps, so that it marks the rest as omitted.
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
