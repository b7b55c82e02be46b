// The other moments at which a server that moves logs is killed.
import { testKill } from "./logArchiveKills.ts";

for (const moment of ["before put", "after delete"]) testKill(moment);
