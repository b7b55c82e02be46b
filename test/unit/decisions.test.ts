// Checks the form of docs/decisions.md, and that code and documents cite only decisions that exist.
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const page = readFileSync(join(root, "docs/decisions.md"), "utf8");

interface Decision {
  /** The number, such as `D-004`. */
  readonly number: string;
  readonly anchor: string | undefined;
  readonly paragraphs: readonly string[];
}

/** Matches an anchor, its heading, and the text up to the next anchor or heading. */
const section = /(?:^<a id="([^"]*)"><\/a>\n\n)?^## (\S+).*\n([\s\S]*?)(?=^<a id=|^## |(?![\s\S]))/gm;

const decisions: readonly Decision[] = [...page.matchAll(section)].map(([, anchor, number = "", text = ""]) => ({
  number,
  anchor,
  paragraphs: text.trim().split(/\n\n+/),
}));

const numberOf = (index: number): string => `D-${String(index + 1).padStart(3, "0")}`;

describe("docs/decisions.md", () => {
  it("numbers the decisions in order, without gaps or duplicates", () => {
    assert.ok(decisions.length > 50);
    assert.deepEqual(
      decisions.map(({ number }) => number),
      decisions.map((_, index) => numberOf(index)),
    );
  });

  it("gives every decision an anchor that does not depend on its title", () => {
    assert.deepEqual(
      decisions.map(({ anchor }) => anchor),
      decisions.map(({ number }) => number.toLowerCase()),
    );
  });

  it("begins every decision with its date", () => {
    const undated = decisions.filter(({ paragraphs }) => !/^20\d\d-\d\d-\d\d\. \S/.test(paragraphs[0] ?? ""));
    assert.deepEqual(
      undated.map(({ number }) => number),
      [],
    );
  });

  for (const [name, mark] of [
    ["the alternatives", "**Alternatives.** "],
    ["what would change our mind", "**What would change our mind.** "],
  ] as const) {
    it(`says ${name} once for every decision`, () => {
      const incomplete = decisions.filter(
        ({ paragraphs }) =>
          paragraphs.filter((text) => text.startsWith(mark) && text.length > mark.length).length !== 1,
      );
      assert.deepEqual(
        incomplete.map(({ number }) => number),
        [],
      );
    });
  }

  it("lists every decision in exactly one area of the table", () => {
    const rows = page.slice(0, page.indexOf("\n## ")).match(/^\|.*\[D-\d{3}\].*$/gm) ?? [];
    const numbers = rows.flatMap((row) =>
      [...row.matchAll(/\[D-(\d{3})\]\(#d-\1\)(?: to \[D-(\d{3})\]\(#d-\2\))?/g)].flatMap(([, first, last = first]) => {
        const from = Number(first) - 1;
        return Array.from({ length: Number(last) - from }, (_, index) => numberOf(from + index));
      }),
    );
    assert.deepEqual(
      numbers.toSorted(),
      decisions.map(({ number }) => number),
    );
  });
});

it("defines every decision that code or a document cites", () => {
  const defined = new Set(decisions.map(({ number }) => number));
  const files = globSync(["{src,test,bench,migrations,workers,docs}/**/*.{ts,mjs,sql,md}", "*.md"], {
    cwd: root,
    exclude: (path) => path === "node_modules",
  });
  assert.ok(files.length > 200);
  const dangling = files.flatMap((path) => {
    const numbers = readFileSync(join(root, path), "utf8").match(/\bD-\d{3}\b/g) ?? [];
    return numbers.filter((number) => !defined.has(number)).map((number) => `${path} cites ${number}`);
  });
  assert.deepEqual(dangling, []);
});
