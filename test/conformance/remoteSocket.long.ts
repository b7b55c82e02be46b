// The whole conformance suite on a store over HTTP on a Unix socket.
import { conformance } from "./conformance.ts";

process.env.REMOTE_SOCKET = "yes";
await conformance("remote", { whole: true });
