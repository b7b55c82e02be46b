// Packs the result of a call into one buffer, which a thread that passes it on moves to the next one without a copy, and
// without reading it (D-121).
import { Deserializer, Serializer } from "node:v8";
import type { Answer } from "./wire.ts";

/** Packs a result. The values that come out are those that a message between threads would have carried. */
export function pack(answer: Answer): Answer {
  const [ok, wire] = answer;
  if (ok !== true) return answer;
  const serializer = new Serializer();
  serializer.writeHeader();
  serializer.writeValue(wire);
  return ["packed", serializer.releaseBuffer()];
}

/** Returns the answer that was packed, or any other answer as it is. */
export function unpack(answer: Answer): Answer {
  const [ok, bytes] = answer;
  if (ok !== "packed") return answer;
  const deserializer = new Deserializer(bytes);
  deserializer.readHeader();
  return [true, deserializer.readValue()];
}

/** Returns the buffers of packed results among answers, two values for each as in a reply. A message moves them. */
export function packedBuffers(answers: readonly unknown[]): ArrayBuffer[] {
  const buffers: ArrayBuffer[] = [];
  for (let index = 0; index < answers.length; index += 2)
    if (answers[index] === "packed") buffers.push((answers[index + 1] as Uint8Array<ArrayBuffer>).buffer);
  return buffers;
}
