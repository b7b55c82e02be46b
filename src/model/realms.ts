// Recognizes objects of any realm. A test runner such as jest, `node:vm` and Electron give code a global scope of its own,
// whose Date, Map and URL are other classes, so `instanceof` does not recognize their objects. Node's `types` does, by
// what an object holds; this file has the kinds that they leave out.

/** Checks for a URL of any realm or implementation. */
export function isUrl(value: unknown): value is URL {
  if (typeof value !== "object" || value === null) return false;
  // An object of a program's own may have any tag; only a class can lend `href` to its objects.
  return (
    Object.prototype.toString.call(value) === "[object URL]" &&
    !Object.hasOwn(value, "href") &&
    typeof (value as URL).href === "string"
  );
}

/** Returns the message of an error of any realm, or text for anything else that was thrown. */
export function messageOf(thrown: unknown): string {
  if (typeof thrown !== "object" || thrown === null) return String(thrown);
  const { message } = thrown as { readonly message?: unknown };
  return typeof message === "string" ? message : "an object without a message was thrown";
}
