/** The address of a Redis, which may hold a password. */
import * as Field from "@ballast/settings/Field"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

/** What the client would throw at, with a stack. */
const isAddress = (text: string): boolean => {
  if (text.startsWith("unix:")) return true
  const url = URL.parse(text)
  return url !== null && /^rediss?:$/.test(url.protocol) && /^\/?\d*$/.test(url.pathname) &&
    !/%(?![\da-f]{2})/i.test(url.username + url.password)
}

const wrong = "this is no address of a Redis, such as redis://:password@127.0.0.1:6379; " +
  "/, # and % are written %2F, %23 and %25 in a password"

export const redisUrl = Field.secret.check(
  Schema.makeFilter((url) => isAddress(Redacted.value(url)) ? undefined : wrong)
)
