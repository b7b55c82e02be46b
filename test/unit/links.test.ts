// Checks that every relative link in the documents points to an existing file, and to a heading or anchor of it.
import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const pages = globSync(["*.md", "docs/**/*.md"], { cwd: root }).toSorted();

/** Returns the text without fenced blocks and HTML comments, in which there are no links and headings. */
function proseOf(path: string): string {
  return readFileSync(path, "utf8")
    .replaceAll(/^(```|~~~).*?^\1/gms, "")
    .replaceAll(/<!--.*?-->/gs, "");
}

function linksOf(page: string): readonly string[] {
  const text = proseOf(join(root, page)).replaceAll(/`[^`\n]*`/g, "");
  const inline = [...text.matchAll(/\]\(<?([^\s)>]+)>?(?:\s+"[^"]*")?\)/g)];
  const references = [...text.matchAll(/^\[[^\]]+\]:\s*<?([^\s>]+)>?/gm)];
  return [...inline, ...references].map(([, target]) => target as string);
}

/**
 * Returns the anchors of a page: those in its text, as `<a id="...">`, and those that GitHub generates for headings
 * (lower case, no punctuation, hyphens for blanks, a number for a duplicate).
 */
function anchorsOf(path: string): ReadonlySet<string> {
  const anchors = new Set([...proseOf(path).matchAll(/<a id="([^"]+)">/g)].map(([, id]) => id as string));
  for (const [, heading] of proseOf(path).matchAll(/^#{1,6}\s+(.*?)\s*#*$/gm)) {
    const words = (heading as string).replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
    const anchor = words.replaceAll(/[^\p{Letter}\p{Number}\s_-]/gu, "").replaceAll(/\s/g, "-");
    for (let [name, count] = [anchor, 1]; ; name = `${anchor}-${count++}`) {
      if (anchors.has(name)) continue;
      anchors.add(name);
      break;
    }
  }
  return anchors;
}

/** Returns what is wrong with a link, or undefined when its target exists. */
function brokenLink(page: string, link: string): string | undefined {
  if (/^[a-z][a-z0-9+.-]*:/i.test(link)) return undefined;
  const [path = "", anchor] = decodeURI(link).split("#");
  const target = path === "" ? join(root, page) : join(root, dirname(page), path);
  if (relative(root, target).startsWith("..")) return `${link} points outside of the repository`;
  if (!existsSync(target)) return `${link}: the file does not exist`;
  if (anchor === undefined || anchorsOf(target).has(anchor)) return undefined;
  return `${link}: the heading does not exist`;
}

for (const page of pages) {
  test(`the links of ${page} point to existing files and headings`, () => {
    assert.deepEqual(
      linksOf(page).flatMap((link) => brokenLink(page, link) ?? []),
      [],
    );
  });
}

test("the documents have relative links", () => {
  assert.ok(pages.includes("README.md"));
  assert.ok(pages.flatMap(linksOf).filter((link) => !/^[a-z]+:/i.test(link)).length > 50);
});

/** Returns the paths that a page names in backticks. A name with `<` or NNNN is a pattern, and is left out. */
function pathsOf(page: string): readonly string[] {
  const spans = proseOf(join(root, page)).matchAll(/`((?:src|test|workers|bench|migrations)\/[^`\s]*)`/g);
  return [...spans].map(([, path]) => path as string).filter((path) => !/<|NNNN/.test(path));
}

for (const page of pages.filter((path) => path !== "CHANGELOG.md")) {
  test(`the files and folders that ${page} names in backticks exist`, () => {
    assert.deepEqual(
      pathsOf(page).filter((path) => globSync(path, { cwd: root }).length === 0),
      [],
    );
  });
}

test("the documents name files in backticks", () => {
  assert.ok(pages.flatMap(pathsOf).length > 30);
});
