// A server that moves a log to an archive, or deletes the session of an archived one, and kills itself at a given moment.
import { type LogArchive, localArchive, openStore } from "../../../src/index.ts";

const [, , url, folder, moment, commandId] = process.argv as unknown as [
  string,
  string,
  string,
  string,
  string,
  string,
];
const die = (): void => void process.kill(process.pid, "SIGKILL");
const at = async (name: string): Promise<void> => {
  if (name !== moment) return;
  die();
  await new Promise(() => undefined);
};

const local = localArchive(folder);
const logArchive: LogArchive = {
  async put(key, bytes) {
    await at("before put");
    await local.put(key, bytes);
    await at("after put");
  },
  get: (key, range) => local.get(key, range),
  async delete(key) {
    await at("before delete");
    await local.delete(key);
    await at("after delete");
  },
};
const store = await openStore({
  url,
  logArchive,
  limits: { logMoveMs: 400, logArchiveEveryMs: 20 },
  onEvent({ type }) {
    if (type === "log_archived" && moment === "after commit") die();
  },
});
await store.logs.archive({ commandId });
const { sessionId } = await store.commands.get({ commandId });
await store.sessions.delete({ sessionId });
// Until the archive is asked to delete the object.
await new Promise((resolve) => setTimeout(resolve, 60_000));
