// A thread that adds jobs to pg-boss's queue, or fetches and completes them.
import type { Cell, Opened } from "../cells/cell.ts";
import { startBoss } from "./pgBoss.ts";

export async function open({ scenario, inFlight }: Cell, { url }: { url: string }): Promise<Opened> {
  const boss = await startBoss(url, Math.max(2, inFlight));
  const work = async (): Promise<void> => {
    const [job] = await boss.fetch("bench");
    if (job === undefined) throw new Error("too few jobs were prepared");
    await boss.complete("bench", job.id);
  };
  return {
    unit: scenario === "work" ? work : async () => void (await boss.send("bench", { argv: ["true"] })),
    close: () => boss.stop(),
  };
}
