// The names of archived logs: their keys in an archive, and the addresses of them that the store keeps.
import { StoreError } from "../errors.ts";

const scheme = "archive:";

/**
 * Returns the address of a new object for a log. `id` is new for each, so that no key is used twice, also by stores
 * that share an archive. Keys are spread over 256 folders, because command ids begin with their time.
 */
export function archiveUri(commandId: string, attempt: number, id: string): string {
  return `${scheme}${commandId.slice(-2)}/${commandId}.${attempt}.${id}.zst`;
}

/** Returns the id of the object at an address, by which collectors name it. */
export function idOfObject(uri: string): string {
  return keyOfUri(uri).split(".")[2] as string;
}

/** Returns the key of the object at an address. */
export function keyOfUri(uri: string): string {
  if (!uri.startsWith(scheme)) throw new StoreError("corrupt", `${uri.slice(0, 200)} is no address of an archived log`);
  return uri.slice(scheme.length);
}
