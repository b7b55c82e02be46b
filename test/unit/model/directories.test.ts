// The normal form of a directory's path.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { directoryIn, normalizeDirectory } from "../../../src/model/directories.ts";

test("every form of a path becomes one, by the rules of the system that the path belongs to", () => {
  const forms: Readonly<Record<string, readonly string[]>> = {
    "/": ["/", "//", "/..", "/.", "/a/.."],
    "/a": ["/a", "/a/", "/a//", "//a", "/./a", "/b/../a", "/../a", "/a/."],
    "/a/b": ["/a/b", "/a//b", "/a/./b", "/a/c/../b/"],
    "/a\\b": ["/a\\b"],
    "/a ": ["/a ", "/a /"],
    "C:\\": ["C:\\", "c:/", "C:\\.."],
    "C:\\a": ["C:\\a", "c:\\a", "C:/a/", "C:\\a\\\\", "C:\\b\\..\\a"],
    "\\\\server\\share\\": ["\\\\server\\share\\", "\\\\server\\share"],
    "\\\\server\\share\\a": ["\\\\server\\share\\a", "\\\\server\\share\\\\a\\"],
  };
  for (const [normal, paths] of Object.entries(forms))
    for (const path of paths) assert.equal(normalizeDirectory(path), normal, path);
});

test("a path that means no one directory has no normal form", () => {
  for (const path of [
    "",
    "a",
    "./a",
    "../a",
    "~/a",
    "C:a",
    "C:",
    "\\a",
    "\\\\server",
    "\\\\server\\",
    "\\\\?\\C:\\a",
    "\\\\.\\C:\\a",
    "file:///a",
    " /a",
  ])
    assert.equal(normalizeDirectory(path), undefined, path);
});

test("the normal form of a path is its own normal form", () => {
  const part = fc.constantFrom("/", "\\", "C:", "c:", ".", "..", "a", "b", "?", " ");
  fc.assert(
    fc.property(fc.array(part, { maxLength: 9 }), (parts) => {
      const normal = normalizeDirectory(parts.join(""));
      if (normal !== undefined) assert.equal(normalizeDirectory(normal), normal);
    }),
    { numRuns: 5_000 },
  );
});

test("a directory within a root has one separator before it", () => {
  assert.deepEqual(
    ["/", "/a", "/a/", "C:\\", "C:\\a", "\\\\server\\share\\"].map((root) => directoryIn(root, "x")),
    ["/x", "/a/x", "/a/x", "C:\\x", "C:\\a\\x", "\\\\server\\share\\x"],
  );
});
