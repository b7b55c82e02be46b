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
  references: References,
): Promise<StackFrame[]> {
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
        scopes: await Promise.all(
          readScopes(callFrame, index, references).map(async (scope, number): Promise<DebugScope> => {
            const { objectId } = scopeChain[number]?.object ?? {};
            return scope.expensive || objectId === undefined
              ? scope
              : { ...scope, variables: await readProperties(inspector, objectId, references, "", 1) };
          }),
        ),
      };
    }),
  );
}

/** An object that clients know by a number. */
interface Referenced {
  readonly objectId: string;
  /** The expression that leads to it; empty for a scope. */
  readonly path: string;
  /** The numbers of the frame and of the scope in it, for a scope. */
  readonly scope: { readonly frame: number; readonly number: number } | undefined;
}

/** Numbers the objects: the inspector identifies them by text, the Debug Adapter Protocol by number. */
export class References {
  readonly #objects: Referenced[] = [];

  next({ objectId }: RemoteObject, path: string, scope?: Referenced["scope"]): number {
    return objectId === undefined ? 0 : this.#objects.push({ objectId, path, scope });
  }

  get(reference: number): Referenced | undefined {
    return this.#objects[reference - 1];
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

/** Returns the scopes of a frame, without their variables. */
export function readScopes({ scopeChain }: CallFrame, frame: number, references: References): DebugScope[] {
  return scopeChain.map(({ type, name, object }, number) => ({
    name: `${scopeNames[type] ?? type}${name === undefined || name === "" ? "" : ` (${name})`}`,
    ...(type === "local" ? { presentationHint: "locals" } : {}),
    variablesReference: references.next(object, "", { frame, number }),
    expensive: type === "global",
  }));
}

/** Returns the properties of an object without their parts. */
export function propertiesOf(inspector: Inspector, objectId: string, references: References, path: string) {
  return readProperties(inspector, objectId, references, path, depthMax);
}

async function readProperties(
  inspector: Inspector,
  objectId: string,
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
        variablesReference: references.next(object, evaluateName),
      };
      const { objectId: partId } = object;
      if (partId === undefined || depth >= depthMax) return variable;
      return { ...variable, variables: await readProperties(inspector, partId, references, evaluateName, depth + 1) };
    }),
  );
}

export function textOf({ type, value, unserializableValue, description }: RemoteObject): string {
  if (type === "string") return JSON.stringify(value);
  return unserializableValue ?? description ?? String(value);
}

export function sourceOf(url: string): { readonly name: string; readonly path?: string } {
  if (!url.startsWith("file:")) return { name: url === "" ? "(evaluated)" : url };
  const path = fileURLToPath(url);
  return { name: path.slice(path.lastIndexOf("/") + 1), path };
}
