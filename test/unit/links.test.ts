// Every relative link in the documents points to a file that exists, and its anchor to a heading or anchor of that file.
import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const pages = globSync(["*.md", "docs/**/*.md"], { cwd: root }).toSorted();

/** The text without fenced blocks and code spans, in which brackets are not links and # begins no heading. */
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
 * The anchors of a page: those that it names itself, as `<a id="...">`, and those that GitHub gives to headings (lower
 * case, no punctuation, hyphens for blanks, a number for a repetition).
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

/** Returns what is wrong with a link, or undefined when it leads somewhere. */
function faultOf(page: string, link: string): string | undefined {
  if (/^[a-z][a-z0-9+.-]*:/i.test(link)) return undefined;
  const [path = "", anchor] = decodeURI(link).split("#");
  const target = path === "" ? join(root, page) : join(root, dirname(page), path);
  if (relative(root, target).startsWith("..")) return `${link} leads out of the repository`;
  if (!existsSync(target)) return `${link}: there is no such file`;
  if (anchor === undefined || anchorsOf(target).has(anchor)) return undefined;
  return `${link}: there is no such heading`;
}

for (const page of pages) {
  test(`the links of ${page} lead to files and headings that exist`, () => {
    assert.deepEqual(
      linksOf(page).flatMap((link) => faultOf(page, link) ?? []),
      [],
    );
  });
}

test("the documents have relative links", () => {
  assert.ok(pages.includes("README.md"));
  assert.ok(pages.flatMap(linksOf).filter((link) => !/^[a-z]+:/i.test(link)).length > 50);
});

/** The paths that a page names in backticks; a name with `<` or NNNN stands for several files. */
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
