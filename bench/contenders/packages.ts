// Loads packages of other contenders. They are dependencies of bench/package.json only, and installed on demand, so
// nothing imports them by name, and their types are written down where they are used.
import type { Contender } from "../cells/cell.ts";

/** Returns whether all packages that a contender needs are installed. */
export function isInstalled({ needs = [] }: Contender): boolean {
  return needs.every((name) => {
    try {
      return import.meta.resolve(name) !== "";
    } catch {
      return false;
    }
  });
}

export async function loadPackage<Module>(name: string): Promise<Module> {
  return (await import(name)) as Module;
}
