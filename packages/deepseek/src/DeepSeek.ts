/**
 * The DeepSeek service: chat completions, whole or streamed, the list of models and the account's balance.
 *
 * Every call goes through policies: a total deadline, retries, a circuit breaker, a concurrency limit, and deadlines of the
 * attempt, in this order from the outside in (`Policy.common`). Breaker, limits and metrics are kept for each model apart: for those
 * that the documentation or the options name, and for others that the service has answered to, 64 in all. Further names share one set,
 * so that callers can neither fill the memory nor crowd models out. One span covers the call, and one each attempt. Interrupting a
 * call, or stopping to consume its stream, aborts the HTTP request at once.
 *
 * @since 0.1.0
 */
import type { Balance } from "@ballast/chat/Balance"
import * as ChatChunk from "@ballast/chat/ChatChunk"
import * as ChatError from "@ballast/chat/ChatError"
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import type { ModelList } from "@ballast/chat/ModelList"
import * as CircuitBreaker from "@ballast/resilience/CircuitBreaker"
import type * as Deadline from "@ballast/resilience/Deadline"
import * as Policy from "@ballast/resilience/Policy"
import type * as RateLimiter from "@ballast/resilience/RateLimiter"
import type * as Retry from "@ballast/resilience/Retry"
import * as GenAi from "@ballast/telemetry/GenAi"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as source from "./internal/source.ts"
import * as trace from "./internal/trace.ts"

/**
 * Why a call failed: the service or the way there, or a policy that rejected it.
 *
 * @category errors
 * @since 0.1.0
 */
export type CallError = ChatError.ChatError | Policy.Rejection

/**
 * The DeepSeek service.
 *
 * @category services
 * @since 0.1.0
 */
export class DeepSeek extends Context.Service<
  DeepSeek,
  ChatModel<CallError> & {
    /** Reads the list of models that the service offers. */
    readonly models: Effect.Effect<ModelList, CallError>
    /** Reads what is left of the account's money. */
    readonly balance: Effect.Effect<Balance, CallError>
  }
>()("@ballast/deepseek/DeepSeek") {}

/**
 * Extra headers of the requests of this fiber. Default none.
 *
 * **Gotchas**
 *
 * Headers of the client's own (`authorization`, `content-type`, `accept`, `user-agent`, `traceparent`) win.
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentHeaders: Context.Reference<Readonly<Record<string, string>>> = source.CurrentHeaders

/**
 * How many calls of a model may be in flight.
 *
 * @category options
 * @since 0.1.0
 */
export interface ConcurrencyOptions {
  /** Calls by model, each at least 1. Default: what the service allows an account, `deepseek-flash` 2,500 and `deepseek-v4-pro` 500. */
  readonly models?: Readonly<Record<string, number>> | undefined
  /** Calls of each other model, and of all names that the service has not answered to yet, at least 1. Default 500. */
  readonly others?: number | undefined
  /** Calls of a model that may wait for a place, zero or more. Default 1,000. */
  readonly queue?: number | undefined
  /** How long a call may wait for a place, zero or more. Default 30 seconds, or the total deadline if that is shorter. */
  readonly maxWait?: Duration.Input | undefined
}

/**
 * Deadlines, each above zero, or `false` for none.
 *
 * @category options
 * @since 0.1.0
 */
export interface DeadlineOptions {
  /** Of a call, with all its waits and attempts. Default 30 minutes. */
  readonly total?: Duration.Input | false | undefined
  /** Of one attempt. Default 15 minutes. */
  readonly attempt?: Duration.Input | false | undefined
  /** Until a stream's first token, reasoning included; keep-alive comments are none. Default 2 minutes. */
  readonly firstToken?: Duration.Input | false | undefined
  /** Between two tokens of a stream. Default 2 minutes. */
  readonly idle?: Duration.Input | false | undefined
  /** Of one attempt to read the list of models or the balance. Default 30 seconds. */
  readonly lookup?: Duration.Input | false | undefined
}

/**
 * Options of the client. A policy set to `false` is left out.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly apiKey: Redacted.Redacted
  /** Where the service is: an http or https URL without user, query or fragment; a path is kept. Default `https://api.deepseek.com`. */
  readonly baseUrl?: string | URL | undefined
  /** Default: 5 retries of what `ChatError.judge` says may pass, base 1 second, cap 1 minute, full jitter. */
  readonly retry?: Retry.Options | false | undefined
  /** Of each model. Default: opens when half of at least 10 calls in 10 seconds failed. */
  readonly circuitBreaker?: CircuitBreaker.Options | false | undefined
  /** Of each model. Default `false`: the service limits concurrency, not rate. */
  readonly rateLimit?: RateLimiter.Options | false | undefined
  readonly concurrency?: ConcurrencyOptions | false | undefined
  readonly deadlines?: DeadlineOptions | false | undefined
  /**
   * Whether building the layer starts to read the list of models, once and in the background, so that a connection is there for the
   * first call. A failure is logged, and does no harm otherwise. Default `false`.
   */
  readonly warmUp?: boolean | undefined
}

/**
 * What is used where `Options` say nothing.
 *
 * @see {@link https://api-docs.deepseek.com/quick_start/rate_limit}
 * @category options
 * @since 0.1.0
 */
export const defaults = {
  baseUrl: "https://api.deepseek.com",
  retry: { times: 5, base: "1 second", cap: "1 minute" },
  circuitBreaker: { failureRate: 0.5, minimumCalls: 10, window: "10 seconds" },
  rateLimit: false,
  concurrency: {
    models: { "deepseek-flash": 2500, "deepseek-v4-pro": 500 },
    others: 500,
    queue: 1000,
    maxWait: "30 seconds"
  },
  deadlines: {
    total: "30 minutes",
    attempt: "15 minutes",
    firstToken: "2 minutes",
    idle: "2 minutes",
    lookup: "30 seconds"
  },
  warmUp: false
} as const satisfies Omit<Options, "apiKey">

/** The names that the service is documented to take. */
const documentedModels = ["deepseek-flash", "deepseek-v4-pro", "deepseek-v4-flash", "deepseek-v4-flash-vision-exp"]

/** Lanes beyond those of the documented models and of the options are opened as long as there are fewer than this. */
const maxLanes = 64
const otherModels = "other"

/** What the calls of one model, or of all those without a lane of their own, share. */
interface Lane {
  readonly policy: Policy.Policy<Policy.Rejection | ChatError.TransportError>
  readonly trace: trace.Trace
}

/**
 * Provides `DeepSeek` on the `HttpClient` at hand: `Undici.layer` is the one to choose on Node.
 *
 * **Details**
 *
 * Building the layer dies of a `RangeError` when an option is out of its bounds.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<DeepSeek, never, HttpClient.HttpClient> =>
  Layer.effect(DeepSeek, make(options))

/**
 * Provides `DeepSeek` with the key in `DEEPSEEK_API_KEY` and the URL in `DEEPSEEK_BASE_URL` (default
 * `https://api.deepseek.com`), and all policies at their defaults.
 *
 * **Details**
 *
 * Fails when the key is missing, or a value is wrong: the text names the variable and what it should be, and does not show the value.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: Layer.Layer<DeepSeek, Config.ConfigError, HttpClient.HttpClient> = Layer.effect(
  DeepSeek,
  Effect.gen(function*() {
    return yield* make(yield* settings)
  })
)

const usableUrl = "an http or https URL without user, query or fragment"
const usableKey = "visible ASCII characters without spaces, at least one"

/** The URL that paths are appended to. */
const parseUrl = (input: string | URL): URL | undefined => {
  const url = URL.parse(input)
  if (url === null || !/^https?:$/.test(url.protocol)) return undefined
  return `${url.username}${url.password}${url.search}${url.hash}` === ""
    ? new URL(url.origin + url.pathname)
    : undefined
}

const isKey = (text: string): boolean => /^[\x21-\x7e]+$/.test(text)

/** A variable of the environment. A file or a shell leaves a line end behind. */
const setting = <A>(name: string, expected: string, parse: (text: string) => A | undefined): Config.Config<A> =>
  Config.mapEffect(Config.String(name), (text) => {
    const value = parse(text.trim())
    const message = `${name} has a wrong value. Expected ${expected}.`
    return value === undefined
      ? Effect.fail(new Config.ConfigError(new ConfigProvider.SourceError({ message })))
      : Effect.succeed(value)
  })

const settings = Config.all({
  apiKey: setting("DEEPSEEK_API_KEY", usableKey, (text) => isKey(text) ? Redacted.make(text) : undefined),
  baseUrl: Config.withDefault(
    setting("DEEPSEEK_BASE_URL", `${usableUrl}, for example ${defaults.baseUrl}`, parseUrl),
    new URL(defaults.baseUrl)
  )
})

const make = Effect.fnUntraced(function*(options: Options) {
  const url = checkUrl(options.baseUrl ?? defaults.baseUrl)
  checkKey(options.apiKey)
  const raw = source.make(yield* HttpClient.HttpClient, options.apiKey, url.href.replace(/\/+$/, ""))
  const lookup = yield* Policy.common<ChatError.TransportError>(lookupOptions(options))
  const lanes = yield* makeLanes(options, url)

  if (options.warmUp ?? defaults.warmUp) {
    // Once only: nobody waits for it, and the first call tries for itself.
    const once = yield* Policy.common<ChatError.TransportError>({ ...lookupOptions(options), retry: undefined })
    yield* Effect.forkScoped(
      Effect.catch(
        once(raw.models),
        (error) => Effect.logWarning("The connection to DeepSeek could not be warmed up", error)
      )
    )
  }
  const complete = (request: ChatRequest, { policy, trace }: Lane) =>
    trace.call(request, policy(trace.attempt(raw.complete(request))))
  const stream = (request: ChatRequest, { policy, trace }: Lane) =>
    trace.callStream(request, policy.stream(trace.attemptStream(raw.stream(request))))
  return DeepSeek.of({
    complete: (request) =>
      Effect.suspend(() => {
        const lane = lanes.find(request.model)
        return lane === undefined
          ? Effect.tap(complete(request, lanes.others), () => lanes.open(request.model))
          : complete(request, lane)
      }),
    stream: (request) =>
      Stream.suspend(() => {
        const lane = lanes.find(request.model)
        return lane === undefined
          ? Stream.onEnd(stream(request, lanes.others), lanes.open(request.model))
          : stream(request, lane)
      }),
    models: Effect.withSpan(lookup(raw.models), "DeepSeek.models", { kind: "client" }),
    balance: Effect.withSpan(lookup(raw.balance), "DeepSeek.balance", { kind: "client" })
  })
})

const checkUrl = (input: string | URL): URL => {
  const url = parseUrl(input)
  if (url !== undefined) return url
  // Not shown: who writes a user into a URL writes a password there, too.
  throw new RangeError(`DeepSeek.layer: baseUrl must be ${usableUrl}`)
}

const checkKey = (apiKey: Redacted.Redacted): void => {
  if (!isKey(Redacted.value(apiKey))) throw new RangeError(`DeepSeek.layer: apiKey must be ${usableKey}`)
}

/**
 * The lanes of the models. Names come from callers, so one has a lane of its own only when it stands in the options or in the
 * documentation, or once the service has answered to it, while there is room: whatever else callers think up shares a lane.
 */
const makeLanes = Effect.fnUntraced(function*(options: Options, url: URL) {
  const lanes = new Map<string, Lane>()
  const make = (model: string): Effect.Effect<Lane> =>
    Effect.map(
      // So many calls are under way that some end all the time, each far below its deadline: the window need not hold two of them.
      Effect.flatMap(breakerOf(options, model), (circuitBreaker) =>
        Policy.common<ChatError.TransportError>({ ...laneOptions(options, model), circuitBreaker })),
      (policy) => ({ policy, trace: trace.make(model, url, source.paths.chat) })
    )
  const add = (model: string): Effect.Effect<void> => Effect.map(make(model), (lane) => void lanes.set(model, lane))
  const isNew = (model: string): boolean => !lanes.has(model) && model !== otherModels
  const fits = (model: string): boolean => lanes.size < maxLanes && model.length <= GenAi.maxModelLength

  yield* Effect.forEach(new Set([...documentedModels, ...Object.keys(limitsOf(options.concurrency))]), add)
  return {
    others: yield* make(otherModels),
    find: (model: string): Lane | undefined => lanes.get(model),
    open: (model: string): Effect.Effect<void> =>
      Effect.suspend(() => isNew(model) && fits(model) ? add(model) : Effect.void)
  }
})

const deadlineError = ({ deadline, limit }: Deadline.DeadlineExceeded) =>
  new ChatError.TransportError({ reason: new ChatError.DeadlineExceeded({ deadline, limit }) })

// The streams that a lane guards are of chunks.
const progress = (item: unknown) => ChatChunk.isProgress(item as ChatChunk.ChatChunk)

const laneOptions = (options: Options, model: string) => {
  const { lookup: _, ...deadlines } = resolveDeadlines(options.deadlines)
  return {
    ...deadlines,
    name: model,
    // A source on `Undici` ends its waits itself; nothing between it and the deadlines waits.
    cooperative: true,
    error: deadlineError,
    progress,
    retry: enabled(options.retry, defaults.retry),
    rateLimiter: enabled(options.rateLimit, defaults.rateLimit),
    concurrencyLimit: concurrencyOf(options.concurrency, model, deadlines.total)
  }
}

const breakerOf = (options: Options, name: string): Effect.Effect<CircuitBreaker.CircuitBreaker | undefined> => {
  const chosen = enabled(options.circuitBreaker, defaults.circuitBreaker)
  return chosen === undefined ? Effect.undefined : CircuitBreaker.make({ name, ...chosen })
}

const lookupOptions = (options: Options) => {
  const { lookup: attempt, total } = resolveDeadlines(options.deadlines)
  return { name: "lookup", error: deadlineError, retry: enabled(options.retry, defaults.retry), attempt, total }
}

const enabled = <A>(given: A | false | undefined, fallback: A | false): A | undefined => {
  const chosen = given ?? fallback
  return chosen === false ? undefined : chosen
}

const limitsOf = (given: ConcurrencyOptions | false | undefined): Readonly<Record<string, number>> =>
  (given === false ? undefined : given?.models) ?? defaults.concurrency.models

const concurrencyOf = (
  given: ConcurrencyOptions | false | undefined,
  model: string,
  total: Duration.Duration | undefined
) => {
  if (given === false) return undefined
  const limits = limitsOf(given)
  const usual = Duration.fromInputUnsafe(defaults.concurrency.maxWait)
  const limit = Object.hasOwn(limits, model) ? limits[model] : undefined
  return {
    limit: limit ?? given?.others ?? defaults.concurrency.others,
    queue: given?.queue ?? defaults.concurrency.queue,
    // A total that is shorter bounds the wait by itself.
    maxWait: given?.maxWait ?? (total === undefined ? usual : Duration.min(usual, total))
  }
}

/** A deadline that is not given is left out where the one around it is no longer, so that a short one can be given alone. */
const resolveDeadlines = (given: DeadlineOptions | false | undefined) => {
  const resolve = (field: keyof DeadlineOptions, outer?: Duration.Duration): Duration.Duration | undefined => {
    const own = given === false ? false : given?.[field]
    if (own === false) return undefined
    if (own !== undefined) return Duration.fromInputUnsafe(own)
    const usual = Duration.fromInputUnsafe(defaults.deadlines[field])
    return outer === undefined || Duration.isLessThan(usual, outer) ? usual : undefined
  }
  const total = resolve("total")
  const attempt = resolve("attempt", total)
  const around = attempt ?? total
  return {
    total,
    attempt,
    firstItem: resolve("firstToken", around),
    idle: resolve("idle", around),
    lookup: resolve("lookup", total)
  }
}
