// Tells plain data from objects with a class. Imports nothing, so that the command line can mask what it prints without
// loading a schema.

/** Checks for a plain object of any realm: one without a prototype, or whose prototype is an Object.prototype. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
