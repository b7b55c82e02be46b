// Upgrades a database to the head, and asserts that the migrations have left a store that breaks none of its rules.
import { upgrade } from "../../../src/migrate/upgrade.ts";
import { assertSoundAt } from "../../support/sound.ts";
import { migrate, type Place } from "./places.ts";

export async function assertSoundAtHead(place: Place): Promise<void> {
  await migrate(place, (migrator) => upgrade(migrator, "head", { backup: false }));
  await assertSoundAt(place.url);
}
