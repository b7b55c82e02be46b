// A paused program: its frames, scopes and variables, as far as clients ask for them.
import type { StackFrame } from "../../../index.ts";
import { type CallFrame, type Inspector, InspectorError, type RemoteObject } from "./inspector.ts";
import { propertiesOf, References, readFrames, readScopes, textOf } from "./variables.ts";

/** The result of an evaluation, and what the program has thrown instead. */
interface Evaluated {
  readonly result: RemoteObject;
  readonly exceptionDetails?: { readonly text: string; readonly exception?: RemoteObject };
}

/** The main thread of Node, which is the only one that stops. */
export const mainThread = { id: 1, name: "main" };

export class PausedProgram {
  readonly #inspector: Inspector;
  readonly #callFrames: readonly CallFrame[];
  readonly #urls: ReadonlyMap<string, string>;
  readonly #references = new References();
  #frames: Promise<StackFrame[]> | undefined;

  constructor(inspector: Inspector, callFrames: readonly CallFrame[], urls: ReadonlyMap<string, string>) {
    this.#inspector = inspector;
    this.#callFrames = callFrames;
    this.#urls = urls;
  }

  /** Reads the frames, with the variables of the innermost one. */
  frames(): Promise<StackFrame[]> {
    this.#frames ??= readFrames(this.#inspector, this.#callFrames, this.#urls, this.#references);
    return this.#frames;
  }

  async stackTrace() {
    const stackFrames = (await this.frames()).map(({ scopes: _, ...frame }) => frame);
    return { stackFrames, totalFrames: this.#callFrames.length };
  }

  async scopes(frameId: unknown) {
    const index = this.#indexOf(frameId);
    return { scopes: readScopes(this.#callFrames[index] as CallFrame, index, this.#references) };
  }

  async variables(reference: unknown) {
    const { objectId, path } = this.#objectOf(reference);
    return { variables: await propertiesOf(this.#inspector, objectId, this.#references, path) };
  }

  async evaluate(expression: string, frameId: unknown) {
    return this.#shown(await this.#evaluated(expression, this.#indexOf(frameId)), expression);
  }

  /** Sets a variable of a scope, or a property of an object, to the value of an expression. */
  async setVariable(reference: unknown, name: string, expression: string) {
    const { objectId, path, scope } = this.#objectOf(reference);
    const value = await this.#evaluated(expression, scope?.frame ?? 0);
    const { objectId: valueId, unserializableValue } = value;
    const newValue =
      valueId !== undefined
        ? { objectId: valueId }
        : unserializableValue !== undefined
          ? { unserializableValue }
          : { value: value.value };
    if (scope === undefined)
      await this.#inspector.send("Runtime.callFunctionOn", {
        objectId,
        functionDeclaration: "function (name, value) { this[name] = value; }",
        arguments: [{ value: name }, newValue],
      });
    else
      await this.#inspector.send("Debugger.setVariableValue", {
        callFrameId: this.#callFrames[scope.frame]?.callFrameId,
        scopeNumber: scope.number,
        variableName: name,
        newValue,
      });
    const { result, ...shown } = this.#shown(value, path === "" ? name : `${path}.${name}`);
    return { value: result, ...shown };
  }

  async restartFrame(frameId: unknown): Promise<void> {
    const { callFrameId } = this.#callFrames[this.#indexOf(frameId)] as CallFrame;
    await this.#inspector.send("Debugger.restartFrame", { callFrameId, mode: "StepInto" });
  }

  async #evaluated(expression: string, index: number): Promise<RemoteObject> {
    const { callFrameId } = this.#callFrames[index] as CallFrame;
    return resultOf(await this.#inspector.send("Debugger.evaluateOnCallFrame", { callFrameId, expression }));
  }

  #shown(object: RemoteObject, path: string) {
    return {
      result: textOf(object),
      type: object.subtype ?? object.type,
      variablesReference: this.#references.next(object, path),
    };
  }

  #indexOf(frameId: unknown): number {
    const index = Number(frameId) - 1;
    if (this.#callFrames[index] === undefined) throw new InspectorError(`there is no frame ${String(frameId)}`);
    return index;
  }

  #objectOf(reference: unknown) {
    const object = this.#references.get(Number(reference));
    if (object === undefined) throw new InspectorError(`there is no variablesReference ${String(reference)}`);
    return object;
  }
}

/** Evaluates in no frame, as a program that runs can be asked. */
export async function evaluateGlobally(inspector: Inspector, expression: string) {
  const object = resultOf(await inspector.send("Runtime.evaluate", { expression }));
  return { result: textOf(object), type: object.subtype ?? object.type, variablesReference: 0 };
}

function resultOf({ result, exceptionDetails }: Evaluated): RemoteObject {
  if (exceptionDetails === undefined) return result;
  const { exception, text } = exceptionDetails;
  throw new InspectorError((exception?.description ?? text).split("\n", 1)[0] as string);
}
