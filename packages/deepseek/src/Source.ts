/**
 * A provider over HTTP as a `ChatModel`: each call is one attempt, without policies, spans or metrics.
 *
 * Interrupting a call, or stopping to consume its stream, aborts the HTTP request at once. A call notes status and trace id on the span
 * at hand, and sends that span's context (`traceparent`, `x-trace-id`).
 *
 * @since 0.1.0
 */
import type { Balance } from "@ballast/chat/Balance"
import type { ChatError } from "@ballast/chat/ChatError"
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ModelList } from "@ballast/chat/ModelList"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as Redacted from "effect/Redacted"
import type * as Fetch from "./Fetch.ts"
import type * as Files from "./Files.ts"
import * as source from "./internal/source.ts"
import type * as Preflight from "./Preflight.ts"
import type { Provider } from "./Provider.ts"
import type * as Search from "./Search.ts"
import * as ToolMarkup from "./ToolMarkup.ts"

/**
 * A model with the other endpoints of its account, and whose it is.
 *
 * @category models
 * @since 0.1.0
 */
export interface Source<out E = ChatError> extends ChatModel<E> {
  readonly provider: Provider
  /** Where calls go. */
  readonly url: URL
  /** Reads the list of models that the service offers. */
  readonly models: Effect.Effect<ModelList, E>
  /** Reads what is left of the account's money. */
  readonly balance: Effect.Effect<Balance, E>
  readonly files: Files.Files<E>
  /** Searches the web. */
  readonly search: (request: Search.Request) => Effect.Effect<Search.Results, E>
  /** Reads a web page. */
  readonly fetch: (request: Fetch.Request) => Effect.Effect<Fetch.Page, E>
}

/**
 * Where calls go, and who pays for them.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly provider: Provider
  /** Visible ASCII without spaces. A service that wants no key takes any. */
  readonly apiKey: Redacted.Redacted
  /** Where the service is: an http or https URL without user, query or fragment; a path is kept. Default: that of the provider. */
  readonly baseUrl?: string | URL | undefined
  /**
   * Whether a request that the provider would surely refuse, by its rules, fails at once and is not sent. With `{ strict: false }` tools that
   * ask for strict mode and can't have it are no mistake: they are sent to the path where `strict` has no effect. Default `true`.
   */
  readonly preflight?: boolean | Preflight.Options | undefined
}

/**
 * Extra headers of the requests of this fiber. Default none.
 *
 * **Gotchas**
 *
 * Headers of the client's own (the key's, `content-type`, `accept`, `user-agent`, `traceparent`) win.
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentHeaders: Context.Reference<Readonly<Record<string, string>>> = source.CurrentHeaders

/**
 * Creates the source of a provider on the `HttpClient` at hand.
 *
 * **Details**
 *
 * Throws a `RangeError` when key or URL is out of its bounds; its text does not show the value.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Effect.Effect<Source, never, HttpClient.HttpClient> => {
  const url = urlOf(options)
  const key = keyOf(options)
  const { provider } = options
  return Effect.map(HttpClient.HttpClient, (client) => {
    const bare = source.make(client, provider, key, url, options.preflight ?? true)
    return { provider, url, ...bare, ...(provider.rules === "deepseek" ? ToolMarkup.refused(bare) : undefined) }
  })
}

/** A variable of the environment that is not set is no key, whatever its type was said to be. */
const keyOf = ({ apiKey }: Options): string => {
  const key: unknown = Redacted.isRedacted(apiKey) ? Redacted.value(apiKey) : undefined
  if (typeof key === "string" && isKey(key)) return key
  throw new RangeError(`Source.make: apiKey must be a Redacted of ${usableKey}`)
}

const urlOf = ({ baseUrl, provider }: Options): URL => {
  const url = parseUrl(baseUrl ?? provider.baseUrl)
  // Not shown: a URL with a user often has a password too.
  if (url === undefined) throw new RangeError(`Source.make: baseUrl must be ${usableUrl}`)
  return url
}

/**
 * What a base URL may be, in words.
 *
 * @category options
 * @since 0.1.0
 */
export const usableUrl = "an http or https URL without user, query or fragment"

/**
 * What a key may be, in words.
 *
 * @category options
 * @since 0.1.0
 */
export const usableKey = "visible ASCII characters without spaces, at least one"

/**
 * The URL that paths are appended to; undefined when it can't be used.
 *
 * @category parsers
 * @since 0.1.0
 */
export const parseUrl = (input: string | URL): URL | undefined => {
  const url = URL.parse(input)
  if (url === null || !/^https?:$/.test(url.protocol)) return undefined
  return `${url.username}${url.password}${url.search}${url.hash}` === ""
    ? new URL(url.origin + url.pathname)
    : undefined
}

/**
 * Whether a text can be a key.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isKey = (text: string): boolean => /^[\x21-\x7e]+$/.test(text)
