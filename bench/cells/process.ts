// The process of a cell, which is named in its argument as JSON: prints the figures of one round as JSON.
import { contenders } from "../contenders/index.ts";
import type { Cell, Contender } from "./cell.ts";
import { runCell } from "./measure.ts";

const cell = JSON.parse(process.argv[2] as string) as Cell;
console.log(JSON.stringify(await runCell(cell, contenders[cell.contender] as Contender)));
