// Account: a person, agent or runner that owns tokens.
import { nullable, oneOf, type RawOf, row, text, time, type ValueOf } from "./codec.ts";
import { stamps } from "./common.ts";
import { accountKinds } from "./vocabulary.ts";

export const Account = row({
  id: text,
  name: text,
  kind: oneOf(accountKinds),
  /** The time at which the account was disabled; its tokens are refused from then on. */
  disabledAt: nullable(time),
  ...stamps,
});
export type Account = ValueOf<typeof Account>;
export type AccountRow = RawOf<typeof Account>;
