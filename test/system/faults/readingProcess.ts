// Reads one state of a database, from its start until its input ends.
import Database from "better-sqlite3";

const [, , path] = process.argv as unknown as [string, string, string];
const db = new Database(path, { readonly: true });
db.exec("BEGIN");
db.prepare("SELECT count(*) FROM sessions").get();
console.log("reading");
for await (const _ of process.stdin);
db.close();
