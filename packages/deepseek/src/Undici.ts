/**
 * An `HttpClient` on undici, made for many long calls to one service.
 *
 * Requests go straight to a keep-alive pool (`dispatcher.dispatch`), without streams, promises or `Response` objects in
 * between. A body that is read whole is collected as it comes; one that is read as a stream is pulled: when the consumer is slow,
 * the socket is paused, so that memory stays bounded. Interrupting a request, or closing the scope of its body, aborts it at once
 * and frees its connection. Time limits are left to the caller's deadlines; only connecting has one of its own. Redirects are not
 * followed, and no spans are made: that is for whoever knows what the call means.
 *
 * A body that the service has compressed with gzip, deflate, br or zstd is decoded as it comes, whether that was asked for or not; ask with
 * an `accept-encoding` header. Proxies are taken from `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, in small letters too, which win;
 * HTTP_PROXY also serves https where HTTPS_PROXY is not set. A proxy may be named without `http://`, and NO_PROXY takes names with all below them,
 * ports, addresses, networks such as `10.0.0.0/8`, and `*`. Further certificate authorities are Node's `NODE_EXTRA_CA_CERTS`. A host with addresses of
 * both families is tried on both, and its name is looked up for each new connection, so that a change arrives when idle connections end.
 *
 * A failure is an `HttpClientError` whose `reason` is a `TransportError` before the response and a `DecodeError` in its body;
 * `cause` is undici's error, with its `code`.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import { HttpClientError, InvalidUrlError } from "effect/http/HttpClientError"
import type { HttpClientRequest } from "effect/http/HttpClientRequest"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import * as Url from "effect/http/Url"
import * as UrlParams from "effect/http/UrlParams"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { BlockList, isIP } from "node:net"
import { Agent, type Dispatcher, EnvHttpProxyAgent } from "undici"
import { type Bounds, Exchange, type Target, targetOf } from "./internal/exchange.ts"

/**
 * Options of the client. Times have no upper bound unless one is named.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * Connections per origin, at least 1, or `"unbounded"`. Default `"unbounded"`: every call in flight holds a connection, streams
   * for minutes, and how many calls may be in flight is for a concurrency limit to say.
   */
  readonly connections?: number | "unbounded" | undefined
  /** How long an idle connection is kept, above zero. A `Keep-Alive` header of the server overrides it. Default 20 seconds. */
  readonly keepAliveTimeout?: Duration.Input | undefined
  /** How long a connection may take, DNS and TLS included; above zero. Default 10 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /** Bytes of a response that may wait for a slow consumer before its socket is paused, above zero. Default 64 KiB. */
  readonly bufferSize?: number | undefined
  /** Bytes of a body that is read whole, decoded, above zero; past it the request is aborted and reading fails. Default 64 MiB. */
  readonly maxBodySize?: number | undefined
  /** Whether the proxies that the environment names are used. Default `true`. */
  readonly proxy?: boolean | undefined
}

/**
 * What is used where `Options` say nothing.
 *
 * @category options
 * @since 0.1.0
 */
export const defaults = {
  connections: "unbounded",
  keepAliveTimeout: "20 seconds",
  connectTimeout: "10 seconds",
  bufferSize: 64 * 1024,
  maxBodySize: 64 * 1024 * 1024,
  proxy: true
} as const satisfies Options

/**
 * Provides an `HttpClient` with a pool of its own. Closing the layer's scope aborts what is in flight.
 *
 * **Gotchas**
 *
 * A response larger than `bufferSize` holds its connection until its body is read, or its stream closed.
 *
 * **Details**
 *
 * Throws a `RangeError` when an option is out of its bounds. Building the layer dies of one when a variable names no proxy; the text names the
 * variable and does not show its value, which may hold a password.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<HttpClient.HttpClient> => {
  const connections = options?.connections ?? defaults.connections
  const bounds = {
    buffer: positive("bufferSize", options?.bufferSize ?? defaults.bufferSize),
    body: positive("maxBodySize", options?.maxBodySize ?? defaults.maxBodySize)
  }
  const agent = {
    connections: connections === "unbounded" ? null : positive("connections", connections),
    keepAliveTimeout: positive(
      "keepAliveTimeout",
      Duration.toMillis(options?.keepAliveTimeout ?? defaults.keepAliveTimeout)
    ),
    connectTimeout: positive("connectTimeout", Duration.toMillis(options?.connectTimeout ?? defaults.connectTimeout)),
    headersTimeout: 0,
    bodyTimeout: 0,
    autoSelectFamily: true,
    // One connection per call: a multiplexed connection would couple calls that have nothing to do with each other.
    allowH2: false
  }
  const opened = <D extends Dispatcher>(open: () => D) =>
    Effect.acquireRelease(Effect.sync(open), (dispatcher) => Effect.promise(() => dispatcher.destroy()))
  const dispatcher = Effect.gen(function*() {
    const found = (options?.proxy ?? defaults.proxy) ? yield* proxies : undefined
    if (found === undefined) return yield* opened(() => new Agent(agent))
    const proxied = yield* opened(() => new EnvHttpProxyAgent({ ...agent, ...found }))
    const networks = networksOf(found.noProxy)
    return networks === undefined ? proxied : leavingOut(networks, yield* opened(() => new Agent(agent)), proxied)
  })
  return Layer.effect(HttpClient.HttpClient, Effect.map(dispatcher, (dispatcher) => make(dispatcher, bounds)))
}

/** What sends requests. */
type Sender = Pick<Dispatcher, "dispatch">

/** The networks in a list of hosts, which undici does not read; undefined where there is none. */
const networksOf = (noProxy: string): BlockList | undefined => {
  const networks = new BlockList()
  for (const entry of noProxy.split(/[\s,]+/)) {
    const [, address = "", bits] = /^\[?([\d.:a-f]+)\]?\/(\d{1,3})$/i.exec(entry) ?? []
    const family = isIP(address)
    if (family !== 0 && Number(bits) <= (family === 4 ? 32 : 128)) {
      networks.addSubnet(address, Number(bits), family === 4 ? "ipv4" : "ipv6")
    }
  }
  return networks.rules.length === 0 ? undefined : networks
}

/** Sends to addresses of the networks directly. Names are not looked up for that. */
const leavingOut = (networks: BlockList, direct: Sender, proxied: Sender): Sender => {
  const isWithin = (origin: string): boolean => {
    const host = new URL(origin).hostname.replace(/^\[|\]$/g, "")
    const family = isIP(host)
    return family !== 0 && networks.check(host, family === 4 ? "ipv4" : "ipv6")
  }
  return {
    dispatch: (options, handler) =>
      (options.origin !== undefined && isWithin(String(options.origin)) ? direct : proxied).dispatch(options, handler)
  }
}

/** A variable of the environment by its two names; an empty text where neither is set. */
const variable = (name: string): Config.Config<string> =>
  Config.withDefault(Config.orElse(Config.String(name.toLowerCase()), () => Config.String(name)), "")

/** As other programs do: a proxy without a scheme is one of http. */
const withScheme = (proxy: string): string => proxy === "" || proxy.includes("://") ? proxy : `http://${proxy}`

/** The proxies that the environment names, if it does. An empty text keeps undici from looking for itself. */
const proxies = Effect.gen(function*() {
  const [httpsProxy, httpProxy, noProxy] = yield* Config.all([
    Config.map(variable("HTTPS_PROXY"), withScheme),
    Config.map(variable("HTTP_PROXY"), withScheme),
    variable("NO_PROXY")
  ])
  checkProxy("HTTPS_PROXY", httpsProxy)
  checkProxy("HTTP_PROXY", httpProxy)
  return httpsProxy || httpProxy ? { httpsProxy, httpProxy, noProxy } : undefined
}).pipe(Effect.orDie)

const checkProxy = (name: string, value: string): void => {
  if (value === "" || /^https?:$/.test(URL.parse(value)?.protocol ?? "")) return
  throw new RangeError(`Undici.layer: ${name} must be an http or https URL`)
}

const positive = (field: string, value: number): number => {
  if (value > 0 && Number.isFinite(value)) return value
  throw new RangeError(`Undici.layer: ${field} must be a finite number above zero, got ${value}`)
}

/** Reads URLs. Most requests are for that of the one before. */
const makeTargets = () => {
  let text: string | undefined
  let last: Target | undefined
  return (request: HttpClientRequest): Result.Result<Target, HttpClientError> => {
    const isBare = request.urlParams === UrlParams.empty && Option.isNone(request.hash)
    if (isBare && last !== undefined && request.url === text) return Result.succeed(last)
    const url = Url.make(request.url, request.urlParams, Option.getOrUndefined(request.hash))
    if (Result.isFailure(url)) {
      return Result.fail(new HttpClientError({ reason: new InvalidUrlError({ request, cause: url.failure }) }))
    }
    const target = targetOf(url.success)
    if (isBare) {
      text = request.url
      last = target
    }
    return Result.succeed(target)
  }
}

const make = (dispatcher: Sender, bounds: Bounds): HttpClient.HttpClient => {
  const targets = makeTargets()
  return HttpClient.makeWith(
    Effect.flatMap((request: HttpClientRequest) => {
      const target = targets(request)
      if (Result.isFailure(target)) return Effect.fail(target.failure)
      return Effect.callback<HttpClientResponse, HttpClientError>((resume) => {
        const exchange = new Exchange(request, target.success, bounds, resume)
        exchange.dispatch(dispatcher)
        return exchange.abort
      })
    }),
    Effect.succeed<HttpClientRequest>
  )
}
