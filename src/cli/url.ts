// The option that names the store: flag, then environment, then default.

import { Option } from "commander";
import { defaultUrl } from "../place.ts";

export function urlOption(): Option {
  return new Option("--url <url>", "the store").env("DEBUG_SERVER_DB_URL").default(defaultUrl);
}
