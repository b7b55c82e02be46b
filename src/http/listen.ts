// The address on which a server listens: a TCP port, or the path of a Unix socket.
import { existsSync, lstatSync, rmSync } from "node:fs";
import type { Server } from "node:http";
import { connect } from "node:net";
import { dirname, resolve } from "node:path";
import { StoreError } from "../errors.ts";

export type Address = { readonly host: string; readonly port: number } | { readonly path: string };

const expected = 'expected "HOST:PORT", such as "127.0.0.1:8080" or "[::1]:8080", or "unix:PATH"';

/** Parses "HOST:PORT" or "unix:PATH". Port 0 is any free one. Fails with `invalid_input`. */
export function parseAddress(text: string): Address {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    // The system keeps a path in a field of 108 bytes with its end: https://man7.org/linux/man-pages/man7/unix.7.html
    if (path === "" || Buffer.byteLength(resolve(path)) > 107)
      throw new StoreError("invalid_input", `listen: the path of a Unix socket has 1 to 107 bytes, not ${text}`);
    return { path: resolve(path) };
  }
  const [, bracketed, plain, digits = ""] = /^(?:\[([0-9a-fA-F:.]+)\]|([^[\]:/\s]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host === undefined || port > 65_535) throw new StoreError("invalid_input", `listen: ${expected}, not ${text}`);
  return { host, port };
}

/** Checks whether only programs of this machine can reach the address. */
export function isLocal(address: Address): boolean {
  return "path" in address || address.host === "localhost" || address.host === "::1" || /^127\./.test(address.host);
}

/** Parses the rights of a socket, such as "660". Fails with `invalid_input`. */
export function parseMode(text: string): number {
  if (/^[0-7]{3}$/.test(text)) return Number.parseInt(text, 8);
  throw new StoreError("invalid_input", `socket mode: expected three digits from 0 to 7, such as 660, not ${text}`);
}

/**
 * Listens at an address. A Unix socket has the rights of `mode`, and replaces one that a killed server has left.
 * Fails with `invalid_input` when the address is in use or cannot be used.
 */
export async function listenAt(server: Server, address: Address, mode: number): Promise<void> {
  if ("path" in address) await makeRoom(address.path);
  // A socket is created with the rights that the mask leaves, so there is no moment in which others could connect. Only
  // the main thread can set it.
  const mask = "path" in address ? setMask(0o777 & ~mode) : undefined;
  try {
    await new Promise<void>((listening, fail) => {
      server.once("error", fail);
      server.listen("path" in address ? { path: address.path } : address, () => {
        server.off("error", fail);
        listening();
      });
      if (mask !== undefined) setMask(mask);
    });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reasons: Record<string, string> = {
      EADDRINUSE: "it is in use",
      EADDRNOTAVAIL: "this machine does not have it",
      EACCES: "this user may not use it",
      ENOTFOUND: "there is no such host",
    };
    throw new StoreError("invalid_input", `listen: ${textOf(address)}: ${reasons[code ?? ""] ?? message}`, {
      cause: error,
    });
  }
}

function setMask(mask: number): number | undefined {
  try {
    return process.umask(mask);
  } catch {
    return undefined;
  }
}

/**
 * Removes a socket at which nobody listens. Fails with `invalid_input` when somebody does, when it is no socket, or when
 * there is no folder for it.
 */
async function makeRoom(path: string): Promise<void> {
  if (!existsSync(dirname(path))) throw new StoreError("invalid_input", `listen: there is no folder ${dirname(path)}`);
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw new StoreError("invalid_input", `listen: ${path} exists, and is no socket`);
  const isAlive = await new Promise<boolean>((answer) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      answer(true);
    });
    socket.once("error", () => answer(false));
  });
  if (isAlive) throw new StoreError("invalid_input", `listen: ${path}: another server listens there`);
  rmSync(path, { force: true });
}

/** Returns the address as text, as `listen` takes it. */
export function textOf(address: Address): string {
  if ("path" in address) return `unix:${address.path}`;
  return `${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
}
