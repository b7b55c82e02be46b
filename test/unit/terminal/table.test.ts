// A table fits the terminal that shows it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Column, formatTable } from "../../../src/terminal/table.ts";

const columns: readonly Column[] = [
  { title: "id", cells: ["a", "b"] },
  { title: "time", optional: true, cells: ["12:00", ""] },
  { title: "size", align: "right", cells: ["1 B", "20 KiB"] },
  { title: "path", cells: ["/srv/worktrees/one", "/srv"], style: (path) => (path === "/srv" ? "red" : undefined) },
];

test("a table has all columns where a line may have any length, and fits a narrow terminal by leaving out and cutting", () => {
  const width = (columnCount: number | undefined) => formatTable(columns, { columns: columnCount, hasColors: false });
  assert.equal(
    width(undefined),
    "id  time     size  path\na   12:00     1 B  /srv/worktrees/one\nb          20 KiB  /srv\n",
  );
  assert.equal(width(37), width(undefined));
  assert.equal(width(36), "id    size  path\na      1 B  /srv/worktrees/one\nb   20 KiB  /srv\n");
  assert.equal(width(20), "id    size  path\na      1 B  /srv/wo…\nb   20 KiB  /srv\n");
});

test("titles and styled cells are colored where colors are shown", () => {
  const colored = formatTable([columns[3] as Column], { columns: undefined, hasColors: true });
  assert.match(colored, /^\u001b\[2mpath +\u001b\[22m\n\/srv\/worktrees\/one\n\u001b\[31m\/srv +\u001b\[39m\n$/);
});

test("a cell with line breaks and terminal controls is printed as one line of text", () => {
  const text = formatTable([{ title: "", cells: ["a\nb\u001b[2J\u202ec"] }], { columns: undefined, hasColors: false });
  assert.equal(text, "\na b c\n");
});

test("a long table is formatted in time that grows with its rows", () => {
  const cells = Array.from({ length: 50_000 }, (_, index) => `row ${index}`);
  const startedAtMs = performance.now();
  formatTable([{ title: "n", cells }], { columns: 80, hasColors: false });
  assert.ok(performance.now() - startedAtMs < 5_000);
});
