// The input of operations that mask what they send.
import { z } from "zod";
import { filledText } from "./fields.ts";
import { defaultSecretNames } from "./masking.ts";

/** A list of secret names that replaces the default one. It stays on the caller's thread. */
export const SecretNames = z
  .array(filledText(200))
  .max(200)
  .default(() => [...defaultSecretNames]);
