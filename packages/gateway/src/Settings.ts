/**
 * Every setting of the gateway, read from the environment once at start.
 *
 * The README of this package lists them with their defaults; `ballast serve --help` names them.
 *
 * An empty variable counts as absent. A wrong value stops the start with the variable's name, what is wrong and what would be right;
 * the value of a secret is never shown.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Redacted from "effect/Redacted"
import * as Body from "./Body.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Settings {
  readonly host: string
  readonly port: number
  readonly apiKey: Redacted.Redacted | undefined
  readonly baseUrl: string
  /** Whether the service is a simulator, to which a client's `x-simulate` goes on. */
  readonly forwardSimulate: boolean
  readonly clientKeys: ReadonlyArray<Redacted.Redacted>
  readonly allowedHosts: ReadonlyArray<string>
  readonly allowedOrigins: ReadonlyArray<string>
  readonly requestTimeout: Duration.Duration
  readonly shutdownTimeout: Duration.Duration
  /** Bytes. */
  readonly maxBodySize: number
  /** Bytes; absent for the default of `Body`. */
  readonly bodyMemory: number | undefined
}

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

/**
 * The port from `PORT`.
 *
 * @category config
 * @since 0.1.0
 */
export const port = (fallback: number): Config.Config<number> =>
  setting("PORT", `a whole number from 0 to 65535, for example PORT=${fallback}`, parsePort).pipe(
    Config.withDefault(fallback)
  )

/**
 * The address from `HOST`.
 *
 * @category config
 * @since 0.1.0
 */
export const host: Config.Config<string> = setting(
  "HOST",
  "a host name or an IP address, for example HOST=127.0.0.1",
  (text) => /^[\w.:%-]+$/.test(text) ? text : undefined
).pipe(Config.withDefault(defaultHost))

/**
 * A base URL without a trailing slash, or `undefined` for what is none.
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
 * The upstream's key and base URL, from `DEEPSEEK_API_KEY` and `DEEPSEEK_BASE_URL`.
 *
 * @category config
 * @since 0.1.0
 */
export const upstream: Config.Config<Pick<Settings, "apiKey" | "baseUrl">> = Config.all({
  apiKey: secret(
    "DEEPSEEK_API_KEY",
    "a key without spaces, as shown once at https://platform.deepseek.com/api_keys",
    (text) => visible.test(text) ? Redacted.make(text) : undefined
  ).pipe(Config.withDefault(undefined)),
  baseUrl: setting(
    "DEEPSEEK_BASE_URL",
    `an http or https URL without user, query or fragment, for example DEEPSEEK_BASE_URL=${defaultBaseUrl}`,
    parseBaseUrl,
    withoutSecrets
  ).pipe(Config.withDefault(defaultBaseUrl))
})

/** Items separated by commas, at least one, each as the pattern says. */
const parseList = (pattern: RegExp) => (text: string): ReadonlyArray<string> | undefined => {
  const items = text.split(",").map((item) => item.trim()).filter((item) => item !== "")
  return items.length > 0 && items.every((item) => pattern.test(item)) ? items : undefined
}

const parseClientKeys = (text: string): ReadonlyArray<Redacted.Redacted> | undefined =>
  parseList(visible)(text)?.map((key) => Redacted.make(key))

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

/**
 * All settings of `ballast serve`.
 *
 * @category config
 * @since 0.1.0
 */
export const config: Config.Config<Settings> = Config.all({
  host,
  port: port(defaultPort),
  upstream,
  forwardSimulate: setting(
    "BALLAST_FORWARD_SIMULATE",
    "true or false, for example BALLAST_FORWARD_SIMULATE=true",
    (text) => text === "true" ? true : text === "false" ? false : undefined
  ).pipe(Config.withDefault(false)),
  clientKeys: secret(
    "BALLAST_CLIENT_KEYS",
    "one or more keys without spaces, separated by commas, for example BALLAST_CLIENT_KEYS=key-of-alice,key-of-bob",
    parseClientKeys
  ).pipe(Config.withDefault([])),
  allowedHosts: setting(
    "BALLAST_ALLOWED_HOSTS",
    "one or more names without scheme and port, separated by commas, for example BALLAST_ALLOWED_HOSTS=gateway.test",
    parseList(/^(?:[\w.-]+|[\da-f:.]+)$/i)
  ).pipe(Config.withDefault([])),
  allowedOrigins: setting(
    "BALLAST_ALLOWED_ORIGINS",
    "one or more origins without path, separated by commas, for example BALLAST_ALLOWED_ORIGINS=https://chat.example.com",
    parseList(/^(?:null|[a-z][a-z\d+.-]*:\/\/[^\s/?#@]+)$/i)
  ).pipe(Config.withDefault([])),
  requestTimeout: setting(
    "BALLAST_REQUEST_TIMEOUT",
    "a number above zero with a unit (ms, s, m, h), for example BALLAST_REQUEST_TIMEOUT=60s",
    (text) => {
      const duration = parseDuration(text)
      return duration !== undefined && Duration.toMillis(duration) > 0 ? duration : undefined
    }
  ).pipe(Config.withDefault(Duration.seconds(60))),
  shutdownTimeout: setting(
    "BALLAST_SHUTDOWN_TIMEOUT",
    "a number with a unit (ms, s, m, h), for example BALLAST_SHUTDOWN_TIMEOUT=30s",
    parseDuration
  ).pipe(Config.withDefault(Duration.seconds(30))),
  maxBodySize: size("BALLAST_MAX_BODY_SIZE", Body.largest, "16MiB").pipe(
    Config.withDefault(Body.defaults.maxBodySize)
  ),
  bodyMemory: size("BALLAST_BODY_MEMORY", Infinity, "512MiB").pipe(Config.withDefault(undefined))
}).pipe(Config.map(({ upstream, ...settings }) => ({ ...settings, ...upstream })))
