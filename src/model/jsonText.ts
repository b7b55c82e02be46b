// Parses JSON text correctly in spite of a bug in V8.
//
// V8 (Node 24 and 26) can return a wrong key. An object whose key contains a backslash leaves a trace in the engine; a
// later key is compared with that trace by its raw text, escapes and all, so `{"\\.":1}` after `{"\\\\":1}` comes back
// with the key `\\`. Only keys that are written with an escape can be hit (D-077):
// https://github.com/nodejs/node/issues/63785

/** Matches a string, and the colon after it if it is a key. Used on valid JSON only, where each string is closed. */
const stringOrKey = /"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?/g;

/**
 * Returns the value that JSON.parse should return.
 *
 * Fails    SyntaxError when the text is not JSON
 * Cost     one JSON.parse; a second one and a copy of the objects when a key is written with an escape
 */
export function parseJsonText(text: string): unknown {
  const parsed: unknown = JSON.parse(text);
  if (!text.includes("\\")) return parsed;
  const escapedKeys: string[] = [];
  // A key with escapes becomes "#" and its index in `escapedKeys`. Every other key gets "=" in front, so that it cannot
  // be mistaken for such an index.
  const marked = text.replace(stringOrKey, (token: string, colon: string | undefined) => {
    if (colon === undefined) return token;
    if (!token.includes("\\")) return `"=${token.slice(1)}`;
    // JSON.parse is right about strings that are not keys.
    escapedKeys.push(JSON.parse(token.slice(0, -colon.length)) as string);
    return `"#${escapedKeys.length - 1}":`;
  });
  if (escapedKeys.length === 0) return parsed;
  return withKeys(JSON.parse(marked), (key) =>
    key.startsWith("=") ? key.slice(1) : (escapedKeys[Number(key.slice(1))] as string),
  );
}

function withKeys(value: unknown, keyOf: (marked: string) => string): unknown {
  if (Array.isArray(value)) return value.map((item) => withKeys(item, keyOf));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [keyOf(key), withKeys(child, keyOf)]));
}
