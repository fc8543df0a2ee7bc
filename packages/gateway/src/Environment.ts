/**
 * The environment variables of the gateway. They win over the settings file, as {@link source}, and are read once.
 *
 * The README of this package lists them with their defaults; `ballast serve --help` names them.
 *
 * An empty variable counts as absent. A wrong value stops the start with the variable's name, what is wrong and what would be right;
 * the value of a secret is never shown.
 *
 * @since 0.1.0
 */
import type { Entry, Source } from "@ballast/settings/Source"
import * as Logs from "@ballast/telemetry/Logs"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Redacted from "effect/Redacted"
import * as Body from "./Body.ts"
import * as ClientKeys from "./ClientKeys.ts"
import * as Database from "./Database.ts"

/**
 * The default port of `ballast serve`.
 *
 * @category defaults
 * @since 0.1.0
 */
export const defaultPort = 8787

/**
 * The default address of every server here: this machine only.
 *
 * @category defaults
 * @since 0.1.0
 */
export const defaultHost = "127.0.0.1"

/**
 * The default of `DEEPSEEK_BASE_URL`.
 *
 * @category defaults
 * @since 0.1.0
 */
export const defaultBaseUrl = "https://api.deepseek.com"

const fail = (message: string) => Effect.fail(new Config.ConfigError(new ConfigProvider.SourceError({ message })))

/** A variable read by `parse`, which answers `undefined` for a wrong value; that is shown as `show` has it, or not at all. */
const setting = <A>(
  name: string,
  expected: string,
  parse: (text: string) => A | undefined,
  show: (text: string) => string | undefined = identity
): Config.Config<A> =>
  Config.String(name).pipe(Config.mapEffect((text) => {
    const value = parse(text.trim())
    if (value !== undefined) return Effect.succeed(value)
    const shown = show(text)
    return fail(
      `${name} ${shown === undefined ? "has a wrong value" : `is ${JSON.stringify(shown)}`}. Expected ${expected}.`
    )
  }))

/** The same for a secret, which is never shown. */
const secret = <A>(name: string, expected: string, parse: (text: string) => A | undefined): Config.Config<A> =>
  setting(name, expected, parse, () => undefined)

/** A wrong URL without its query. With an `@` it has a user, whose end can't be told in what is no URL: nothing of it is shown. */
const withoutSecrets = (url: string): string | undefined =>
  url.includes("@") ? undefined : url.replace(/([?#]).+/s, "$1***")

const parsePort = (text: string): number | undefined =>
  /^\d{1,5}$/.test(text) && Number(text) <= 65535 ? Number(text) : undefined

const portVariable = (example: number): Config.Config<number> =>
  setting("PORT", `a whole number from 0 to 65535, for example PORT=${example}`, parsePort)

/**
 * The port from `PORT`.
 *
 * @category config
 * @since 0.1.0
 */
export const port = (fallback: number): Config.Config<number> => Config.withDefault(portVariable(fallback), fallback)

/**
 * What a host to listen on looks like.
 *
 * @category patterns
 * @since 0.1.0
 */
export const hostPattern = /^[\w.:%-]+$/

const hostVariable: Config.Config<string> = setting(
  "HOST",
  "a host name or an IP address, for example HOST=127.0.0.1",
  (text) => hostPattern.test(text) ? text : undefined
)

/**
 * The address from `HOST`.
 *
 * @category config
 * @since 0.1.0
 */
export const host: Config.Config<string> = Config.withDefault(hostVariable, defaultHost)

/**
 * A base URL without a trailing slash, or `undefined` when the text is not a usable URL.
 *
 * @category config
 * @since 0.1.0
 */
export const parseBaseUrl = (text: string): string | undefined => {
  const url = URL.parse(text)
  const usable = url !== null && (url.protocol === "https:" || url.protocol === "http:") &&
    url.username === "" && url.password === "" && url.search === "" && url.hash === ""
  return usable ? url.href.replace(/\/+$/, "") : undefined
}

const visible = /^[\x21-\x7e]+$/

/**
 * The key from `DEEPSEEK_API_KEY`; undefined when it is not set.
 *
 * @category config
 * @since 0.1.0
 */
export const apiKey: Config.Config<Redacted.Redacted | undefined> = secret(
  "DEEPSEEK_API_KEY",
  "a key without spaces, as shown once at https://platform.deepseek.com/api_keys",
  (text) => visible.test(text) ? Redacted.make(text) : undefined
).pipe(Config.withDefault(undefined))

/**
 * The base URL from `DEEPSEEK_BASE_URL`; undefined when it is not set.
 *
 * @category config
 * @since 0.1.0
 */
export const baseUrl: Config.Config<string | undefined> = setting(
  "DEEPSEEK_BASE_URL",
  `an http or https URL without user, query or fragment, for example DEEPSEEK_BASE_URL=${defaultBaseUrl}`,
  parseBaseUrl,
  withoutSecrets
).pipe(Config.withDefault(undefined))

/**
 * What a name of a host looks like: without scheme and port.
 *
 * @category patterns
 * @since 0.1.0
 */
export const allowedHost = /^(?:[\w.-]+|[\da-f:.]+)$/i

/**
 * What an origin of a web page looks like: without a path.
 *
 * @category patterns
 * @since 0.1.0
 */
export const allowedOrigin = /^(?:null|[a-z][a-z\d+.-]*:\/\/[^\s/?#@]+)$/i

/** Items separated by commas, at least one, each as the pattern says. */
const parseList = (pattern: RegExp) => (text: string): ReadonlyArray<string> | undefined => {
  const items = text.split(",").map((item) => item.trim()).filter((item) => item !== "")
  return items.length > 0 && items.every((item) => pattern.test(item)) ? items : undefined
}

/** What is left of `root:$KEY` or `"$KEY"` where no variable is set would be a key that can be guessed. */
const keyOrNamed = /^(?!(?:[\w.-]{0,64}:)?["']*$)[\x21-\x7e]+$/

const parseClientKeys = parseList(keyOrNamed)

const units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

const parseDuration = (text: string): Duration.Duration | undefined => {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h)$/.exec(text)
  return match === null ? undefined : Duration.millis(Number(match[1]) * units[match[2] as keyof typeof units]) // the pattern's units
}

const sizes = { KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 }

/** A number of bytes up to `most`. */
const size = (name: string, most: number, example: string): Config.Config<number> =>
  setting(
    name,
    `a whole number of KiB, MiB or GiB${
      most === Infinity ? "" : `, at most ${most / sizes.MiB}MiB`
    }, for example ${name}=${example}`,
    (text) => {
      const match = /^(\d{1,9}) ?(KiB|MiB|GiB)$/i.exec(text)
      if (match === null) return undefined
      const unit = Object.entries(sizes).find(([unit]) => unit.toLowerCase() === match[2]?.toLowerCase())
      const bytes = Number(match[1]) * (unit?.[1] ?? NaN)
      return bytes > 0 && bytes <= most ? bytes : undefined
    }
  )

/** A `${` of a variable is no reference to another. */
const plain = (value: unknown): unknown =>
  typeof value === "string" ? value.replaceAll("${", () => "$${") : Array.isArray(value) ? value.map(plain) : value

type Entries = ReadonlyArray<Entry>

const entry = (variable: string, path: ReadonlyArray<string>, value: unknown): Entry => ({
  path,
  value: plain(value),
  name: `environment variable ${variable}`,
  text: false
})

/** The setting that a variable stands for, in the form of the settings file; none when it is not set. */
const one = <A>(
  variable: string,
  path: string,
  config: Config.Config<A>,
  encode: (value: A) => unknown = identity
): Config.Config<Entries> =>
  config.pipe(
    Config.map((value): Entries => value === undefined ? [] : [entry(variable, path.split("."), encode(value))]),
    Config.withDefault<Entries>([])
  )

const timeout = (
  name: string,
  example: string,
  isRight: (millis: number) => boolean,
  expected: string
): Config.Config<Duration.Duration> =>
  setting(
    name,
    `${expected} with a unit (ms, s, m, h), for example ${name}=${example}`,
    (text) => {
      const duration = parseDuration(text)
      return duration !== undefined && isRight(Duration.toMillis(duration)) ? duration : undefined
    }
  )

const millis = (duration: Duration.Duration): string => `${Duration.toMillis(duration)}ms`

/** Keys of clients or admins, written `name:key` or bare. */
const keys = (
  variable: string,
  path: (name: string) => ReadonlyArray<string>,
  anonymous?: string
): Config.Config<Entries> =>
  secret(
    variable,
    `one or more keys without spaces, separated by commas, each with or without its name, for example ${variable}=alice:key-of-alice,key-of-bob`,
    parseClientKeys
  ).pipe(
    Config.map((keys): Entries =>
      Array.from(ClientKeys.byName(keys, anonymous), ([name, keys]) => entry(variable, path(name), keys))
    ),
    Config.withDefault<Entries>([])
  )

const all = Config.map(
  Config.all([
    one("HOST", "listen.host", hostVariable),
    one("PORT", "listen.port", portVariable(defaultPort)),
    one(
      "BALLAST_WORKERS",
      "listen.workers",
      setting(
        "BALLAST_WORKERS",
        "a whole number from 0 to 256, 0 for one a core, for example BALLAST_WORKERS=4",
        (text) => /^\d{1,3}$/.test(text) && Number(text) <= 256 ? Number(text) : undefined
      )
    ),
    one("DEEPSEEK_API_KEY", "deepseek.apiKey", Config.map(apiKey, (key) => key && Redacted.value(key))),
    one("DEEPSEEK_BASE_URL", "deepseek.baseUrl", baseUrl),
    one(
      "BALLAST_FORWARD_SIMULATE",
      "simulator.forward",
      setting(
        "BALLAST_FORWARD_SIMULATE",
        "true or false, for example BALLAST_FORWARD_SIMULATE=true",
        (text) => text === "true" ? true : text === "false" ? false : undefined
      )
    ),
    keys("BALLAST_CLIENT_KEYS", (name) => ["clients", name, "keys"]),
    keys("BALLAST_ADMIN_KEYS", (name) => ["admin", "keys", name], "admin"),
    one(
      "BALLAST_ALLOWED_HOSTS",
      "listen.allowedHosts",
      setting(
        "BALLAST_ALLOWED_HOSTS",
        "one or more names without scheme and port, separated by commas, for example BALLAST_ALLOWED_HOSTS=gateway.test",
        parseList(allowedHost)
      )
    ),
    one(
      "BALLAST_ALLOWED_ORIGINS",
      "listen.allowedOrigins",
      setting(
        "BALLAST_ALLOWED_ORIGINS",
        "one or more origins without path, separated by commas, for example BALLAST_ALLOWED_ORIGINS=https://chat.example.com",
        parseList(allowedOrigin)
      )
    ),
    one(
      "BALLAST_DATABASE",
      "database",
      secret(
        "BALLAST_DATABASE",
        "the path of a SQLite file, :memory:, or postgres://user:password@host/name",
        (text) => Database.problemOf(text) === undefined ? text : undefined
      )
    ),
    one(
      "BALLAST_REQUEST_TIMEOUT",
      "limits.requestTimeout",
      timeout("BALLAST_REQUEST_TIMEOUT", "60s", (millis) => millis > 0, "a number above zero"),
      millis
    ),
    one(
      "BALLAST_SHUTDOWN_TIMEOUT",
      "limits.shutdownTimeout",
      timeout("BALLAST_SHUTDOWN_TIMEOUT", "30s", () => true, "a number"),
      millis
    ),
    one("BALLAST_MAX_BODY_SIZE", "limits.maxBodySize", size("BALLAST_MAX_BODY_SIZE", Body.largest, "16MiB")),
    one("BALLAST_BODY_MEMORY", "limits.bodyMemory", size("BALLAST_BODY_MEMORY", Infinity, "512MiB")),
    one("BALLAST_LOG_LEVEL", "log.level", Logs.level, (level) => level?.toLowerCase()),
    one("BALLAST_LOG_FORMAT", "log.format", Logs.format)
  ]),
  (entries) => entries.flat()
)

/**
 * The variables as a source of settings. Fails when a value is wrong.
 *
 * @category config
 * @since 0.1.0
 */
export const source: Config.Config<Source> = Config.map(all, (entries): Source => ({
  name: "environment",
  remote: false,
  open: () =>
    Effect.succeed({
      read: Effect.succeed([{ _tag: "Entries", entries }]),
      changed: Effect.never
    })
}))
