// Shows what calls cost in stores of growing size, as a table and as a plot.
import { describe, format, table } from "../report.ts";
import type { GrowthResult } from "./run.ts";

/** The cost of a call in the largest store that is aimed at, in relation to its cost in the smallest one. */
const target = 1.5;

export function renderGrowth({ environment, options, figures, bytesPerCommand, openMs }: GrowthResult): string {
  const ratio = (values: readonly number[]) => `${format((values.at(-1) as number) / (values[0] as number))}x`;
  const rows = figures.map(({ name, us }) => [name, ...us.map(format), ratio(us)]);
  const counted = figures.flatMap(({ name, pages }) => (pages === undefined ? [] : [{ name, pages }]));
  const pageTable = table(
    ["pages of a call on a new connection", ...options.sizes.map(format), "last - first"],
    counted.map(({ name, pages }) => [
      name,
      ...pages.map(format),
      format((pages.at(-1) as number) - (pages[0] as number)),
    ]),
  );
  return [
    describe(environment),
    "",
    table(
      ["µs of a call, with this many commands", ...options.sizes.map(format), "last / first"],
      [
        ...rows,
        ["ms to open a store", ...openMs.map(format), ratio(openMs)],
        ["bytes of the file for each command", ...bytesPerCommand.map(format), ratio(bytesPerCommand)],
      ],
    ),
    ...(counted.length === 0 ? [] : ["", pageTable]),
  ].join("\n");
}

const [width, height, left, top, right, bottom] = [860, 460, 60, 24, 250, 44];

/** Draws the cost of each call in relation to its cost in the smallest store, over the number of commands. */
export function plotGrowth({ options: { sizes }, figures }: GrowthResult): string {
  const ratios = figures.map(({ name, us }) => ({ name, points: us.map((value) => value / (us[0] as number)) }));
  const highest = Math.max(2, ...ratios.flatMap(({ points }) => points)) * 1.05;
  const steps = Math.max(1, sizes.length - 1);
  const x = (index: number) => left + (index / steps) * (width - left - right);
  const y = (value: number) => height - bottom - (value / highest) * (height - top - bottom);
  const text = (at: number, down: number, words: string, more = "") =>
    `<text x="${at.toFixed(1)}" y="${down.toFixed(1)}"${more}>${words.replaceAll("&", "&amp;").replaceAll("<", "&lt;")}</text>`;
  const line = (from: number, to: number, value: number, style: string) =>
    `<line x1="${from}" x2="${to}" y1="${y(value).toFixed(1)}" y2="${y(value).toFixed(1)}" ${style}/>`;
  const color = (index: number) => `hsl(${Math.round((index * 360) / ratios.length)} 65% 42%)`;
  const marks = Array.from({ length: Math.floor(highest) + 1 }, (_, value) => value);
  const parts = [
    ...marks.flatMap((value) => [
      line(left, width - right, value, 'stroke="#ddd"'),
      text(left - 8, y(value) + 4, `${value}x`, ' text-anchor="end"'),
    ]),
    line(left, width - right, target, 'stroke="#c00" stroke-dasharray="6 4"'),
    ...sizes.map((size, index) => text(x(index), height - bottom + 20, format(size), ' text-anchor="middle"')),
    text((left + width - right) / 2, height - 6, "commands in the store", ' text-anchor="middle"'),
    ...ratios.map(({ points }, index) => {
      const path = points.map((value, at) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
      return `<polyline points="${path}" fill="none" stroke="${color(index)}" stroke-width="1.6"/>`;
    }),
    ...ratios.map(({ name }, index) => text(width - right + 14, top + 6 + index * 17, name, ` fill="${color(index)}"`)),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">
<title>The cost of calls in relation to a store of ${format(sizes[0] as number)} commands; the dashed line is the target</title>
<rect width="${width}" height="${height}" fill="#fff"/>
${parts.join("\n")}
</svg>
`;
}
