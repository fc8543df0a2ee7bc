/** Variables of the environment that are checked at the start, so that a mistake is said in words, and not found out when nothing arrives. */
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"

/** Refuses a variable in words. */
export const wrong = (message: string): Effect.Effect<never, Config.ConfigError> =>
  Effect.fail(new Config.ConfigError(new ConfigProvider.SourceError({ message })))

/** A variable that is undefined where it is not set. `messageOf` says what is wrong with one for which `parse` has no value. */
const parsed = <A>(
  name: string,
  parse: (text: string) => A | undefined,
  messageOf: (text: string) => string
): Config.Config<A | undefined> =>
  Config.String(name).pipe(
    Config.mapEffect((text) => {
      const value = parse(text.trim())
      return value === undefined ? wrong(messageOf(text)) : Effect.succeed(value)
    }),
    Config.withDefault(undefined)
  )

/** A variable whose value is one of a few. OpenTelemetry lets some have a list, which is refused in words. */
export const choice = <A extends string>(
  name: string,
  values: ReadonlyArray<A>,
  why = ""
): Config.Config<A | undefined> =>
  parsed(name, (text) => values.find((value) => value === text.toLowerCase()), (text) => {
    const one = text.includes(",") ? ": one of them, since a collector can pass on to several" : ""
    return `${name} is ${JSON.stringify(text)}. Expected ${values.join(" or ")}${one}${why}.`
  })

const isUsable = ({ password, protocol, username }: URL): boolean =>
  /^https?:$/.test(protocol) && username === "" && password === ""

/** Where something is sent. */
export const endpoint = (name: string): Config.Config<URL | undefined> =>
  parsed(
    name,
    (text) => [URL.parse(text)].find((url) => url !== null && isUsable(url)) ?? undefined,
    // Not shown: a URL with a user has a password too.
    () => `${name} is no http or https URL without user and password, such as http://127.0.0.1:4318.`
  )

/** A whole number of a unit. */
export const whole = (name: string, unit: string, minimum: number): Config.Config<number | undefined> =>
  parsed(
    name,
    (text) => [Number(text)].find((value) => Number.isSafeInteger(value) && value >= minimum),
    (text) => `${name} is ${JSON.stringify(text)}. Expected a whole number of ${unit}, ${minimum} or more.`
  )

/** A number from 0 to 1. */
export const share = (name: string): Config.Config<number | undefined> =>
  parsed(
    name,
    (text) => [Number(text)].find((value) => value >= 0 && value <= 1),
    (text) => `${name} is ${JSON.stringify(text)}. Expected 0 to 1.`
  )

const decoded = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text.trim())
  } catch {
    return undefined
  }
}

/** RFC 9110, 5.1 and 5.5. */
const isHeader = (name: string, value: string): boolean =>
  /^[\w!#$%&'*+.^`|~-]+$/.test(name) && /^[\t\x20-\x7e\x80-\xff]*$/.test(value)

/** Whether each member of a list is `name=value`, percent-encoded. */
const isList = (text: string, isMember: (name: string, value: string) => boolean): boolean =>
  text.split(",").every((member) => {
    if (member.trim() === "") return true
    const equals = member.indexOf("=")
    const [name, value] = [decoded(member.slice(0, Math.max(0, equals))), decoded(member.slice(equals + 1))]
    return name !== undefined && name !== "" && value !== undefined && isMember(name, value)
  })

/** Headers, which Effect's exporters read. Their values are secrets and not shown. */
export const headers = (name: string): Config.Config<string | undefined> =>
  parsed(
    name,
    (text) => isList(text, isHeader) ? text : undefined,
    () => `${name} has a member that can not be sent as a header. Expected name=value,name=value, percent-encoded.`
  )

/** Attributes, which Effect's exporters read. */
export const attributes = (name: string): Config.Config<string | undefined> =>
  parsed(
    name,
    (text) => isList(text, () => true) ? text : undefined,
    (text) => `${name} is ${JSON.stringify(text)}. Expected key=value,key=value, percent-encoded.`
  )

/** A variable that can not be followed: better no start than a connection that is not as it asks. */
export const refused = (name: string): Config.Config<undefined> =>
  parsed(
    name,
    () => undefined,
    () => `${name} is not read here. NODE_EXTRA_CA_CERTS names authorities; there are no client certificates.`
  )
