/**
 * A source guarded as the calls of one model to one provider should be: policies in the usual order (`Policy.common`), a span and
 * metrics for the call around them and for each attempt inside.
 *
 * From the outside in: span of the call, total deadline, retries with their budget, circuit breaker, rate limit, concurrency limit,
 * deadlines of the attempt, span of the attempt. The policies are named `<name>/<model>`, and found by that name in the registry at
 * hand until the scope closes. A 429 that names a concurrency limit lowers that of the lane at once; it grows again later. Where several
 * processes share limits (`Share`), the lane keeps this process's part of each; with a `RateLimiterStore` at hand the rate is one for all of them.
 *
 * @since 0.1.0
 */
import * as ChatChunk from "@ballast/chat/ChatChunk"
import * as ChatError from "@ballast/chat/ChatError"
import * as ChatModel from "@ballast/chat/ChatModel"
import * as AdaptiveLimit from "@ballast/resilience/AdaptiveLimit"
import * as CircuitBreaker from "@ballast/resilience/CircuitBreaker"
import type * as Deadline from "@ballast/resilience/Deadline"
import * as Policy from "@ballast/resilience/Policy"
import type * as RateLimiter from "@ballast/resilience/RateLimiter"
import * as RateLimiterStore from "@ballast/resilience/RateLimiterStore"
import * as Registry from "@ballast/resilience/Registry"
import type * as Retry from "@ballast/resilience/Retry"
import * as RetryBudget from "@ballast/resilience/RetryBudget"
import * as Share from "@ballast/resilience/Share"
import * as SharedRateLimiter from "@ballast/resilience/SharedRateLimiter"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Provider from "./Provider.ts"
import * as Resume from "./Resume.ts"
import type { Source } from "./Source.ts"
import * as Traced from "./Traced.ts"

/**
 * Why a guarded call failed: the service or the way there, or a policy that rejected it.
 *
 * @category errors
 * @since 0.1.0
 */
export type CallError = ChatError.ChatError | Policy.Rejection

/**
 * How many calls may be in flight.
 *
 * @category options
 * @since 0.1.0
 */
export interface ConcurrencyOptions {
  /** Calls in flight at most, at least 1. Default: what the provider documents for the model, else 500. */
  readonly limit?: number | undefined
  /** Calls that may wait for a place, zero or more. Default 1,000. */
  readonly queue?: number | undefined
  /** How long a call may wait for a place, zero or more. Default 30 seconds, or the total deadline if that is shorter. */
  readonly maxWait?: Duration.Input | undefined
}

/**
 * Deadlines, each above zero, or `false` for none. One that is left out holds only where it is shorter than those around it.
 *
 * @category options
 * @since 0.1.0
 */
export interface DeadlineOptions {
  /** Of a call, with all its waits and attempts. Default 30 minutes. */
  readonly total?: Duration.Input | false | undefined
  /** Of one attempt. Default 15 minutes. */
  readonly attempt?: Duration.Input | false | undefined
  /** Until a stream's first token, reasoning included; keep-alive comments do not count. Default 2 minutes. */
  readonly firstToken?: Duration.Input | false | undefined
  /** Between two tokens of a stream. Default 2 minutes. */
  readonly idle?: Duration.Input | false | undefined
}

/**
 * The policies of a lane, but for its concurrency. A policy set to `false` is left out.
 *
 * @category options
 * @since 0.1.0
 */
export interface Policies {
  /** Default: 5 retries of what `ChatError.isTransient` says may pass, base 1 second, cap 1 minute, full jitter. */
  readonly retry?: Retry.Options | false | undefined
  /** What pays for retries, unless `retry` names a budget. Default: one retry for five calls, and 10 a second on top. */
  readonly retryBudget?: RetryBudget.Options | RetryBudget.RetryBudget | false | undefined
  /** Default: opens when half of at least 10 calls in 10 seconds failed. A call counts once, by its first attempt. */
  readonly circuitBreaker?: CircuitBreaker.Options | false | undefined
  /** Default `false`: services limit concurrency, not rate. */
  readonly rateLimit?: RateLimiter.Options | false | undefined
  readonly deadlines?: DeadlineOptions | false | undefined
  /** How often a stream that broke off goes on, where the provider has prefix completion. Default: 3 times, paid from the retry budget. */
  readonly resume?: Pick<Resume.Options<never>, "times"> | false | undefined
}

/**
 * Options of a lane.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends Policies {
  /** The owner's name, as `Registry` gave it. Default: the provider's name. */
  readonly name?: string | undefined
  /** The model in metrics and in the names of policies. */
  readonly model: string
  readonly concurrency?: ConcurrencyOptions | false | undefined
}

/**
 * What is used where `Options` say nothing.
 *
 * @category options
 * @since 0.1.0
 */
export const defaults = {
  retry: { times: 5, base: "1 second", cap: "1 minute" },
  retryBudget: { share: 0.2, floor: 10 },
  circuitBreaker: { failureRate: 0.5, minimumCalls: 10, window: "10 seconds" },
  rateLimit: false,
  concurrency: { limit: 500, queue: 1000, maxWait: "30 seconds" },
  deadlines: { total: "30 minutes", attempt: "15 minutes", firstToken: "2 minutes", idle: "2 minutes" },
  resume: Resume.defaults
} as const satisfies Omit<Options, "model">

/**
 * Guards a source.
 *
 * **Details**
 *
 * Dies of a `RangeError` when an option is out of its bounds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  source: ChatModel.ChatModel & Pick<Source, "provider" | "url">,
  options: Options
): Effect.fn.Return<ChatModel.ChatModel<CallError>, never, Scope.Scope> {
  const { provider, url } = source
  const { model, name: owner = provider.name } = options
  const name = `${owner}/${model}`
  const { total, ...attemptLimits } = resolveDeadlines(options.deadlines)
  const circuitBreaker = yield* breakerOf(name, options)
  const adaptiveLimit = yield* limitOf(name, options, provider.models[model]?.concurrency, total)
  const { rateLimiter, sharedRateLimiter } = yield* limiterOf(name, enabled(options.rateLimit, defaults.rateLimit))
  const policy = yield* Policy.common<ChatError.TransportError, RateLimiter.RateLimitExceeded>({
    name,
    total,
    ...attemptLimits,
    // A source on `Undici` ends its waits itself; nothing between it and the deadlines waits.
    cooperative: true,
    error: deadlineError,
    progress,
    retry: yield* retryOf(name, options),
    circuitBreaker,
    rateLimiter,
    concurrencyLimit: adaptiveLimit
  })
  const registry = yield* Registry.Current
  yield* registry.register(owner, name, { ...policy.parts, circuitBreaker, adaptiveLimit, sharedRateLimiter })

  const traced = { name: owner, model, provider, url }
  const attempt = Traced.attempt(traced)(source)
  const tried = ChatModel.withPolicy(attempt, policy.inner)
  const resume = Provider.betaPath(provider, url) === undefined ? undefined : enabled(options.resume, defaults.resume)
  const resumed = resume === undefined
    ? tried
    : Resume.make(tried, { name: owner, provider: provider.name, model }, {
      ...resume,
      budget: policy.parts.retryBudget
    })
  return Traced.call(traced)(ChatModel.withPolicy(resumed, policy.total))
})

/**
 * The retry of a lane, with what pays for it; undefined when it is left out.
 *
 * @category constructors
 * @since 0.1.0
 */
export const retryOf = (
  name: string,
  options: Pick<Policies, "retry" | "retryBudget">
): Effect.Effect<Retry.Options | undefined> => {
  const retry = enabled(options.retry, defaults.retry)
  if (retry === undefined) return Effect.undefined
  const given = options.retryBudget ?? defaults.retryBudget
  if (retry.budget !== undefined || given === false) return Effect.succeed(retry)
  const budget = isBudget(given) ? Effect.succeed(given) : RetryBudget.make({ name, ...given })
  return Effect.map(budget, (budget) => ({ ...retry, budget }))
}

/** One limit for all processes where there is a store that they share, else this process's part of it. */
const limiterOf = Effect.fnUntraced(function*(name: string, options: RateLimiter.Options | undefined) {
  if (options === undefined) return { rateLimiter: undefined, sharedRateLimiter: undefined }
  const store = yield* Effect.serviceOption(RateLimiterStore.RateLimiterStore)
  if (Option.isNone(store)) return { rateLimiter: yield* rateOf(options), sharedRateLimiter: undefined }
  const sharedRateLimiter = yield* Effect.provideService(
    SharedRateLimiter.make({ name, ...options, onStoreError: "allow" }),
    RateLimiterStore.RateLimiterStore,
    store.value
  )
  // A store that fails lets calls run.
  const rateLimiter = sharedRateLimiter("") as Policy.Policy<RateLimiter.RateLimitExceeded>
  return { rateLimiter, sharedRateLimiter }
})

/**
 * A rate limit as this process keeps it: its part, where several share the limit.
 *
 * @category accessors
 * @since 0.1.0
 */
export const rateOf = (options: RateLimiter.Options): Effect.Effect<RateLimiter.Options> =>
  Effect.map(Share.Current, (share) => ({ ...options, limit: Share.part(options.limit, share) }))

const isBudget = (given: RetryBudget.Options | RetryBudget.RetryBudget): given is RetryBudget.RetryBudget =>
  Policy.isPolicy(given)

/** A lane has many calls at once, each far below its deadline, so the window need not be as long as two calls. */
const breakerOf = (name: string, options: Options): Effect.Effect<CircuitBreaker.CircuitBreaker | undefined> => {
  const chosen = enabled(options.circuitBreaker, defaults.circuitBreaker)
  return chosen === undefined ? Effect.undefined : CircuitBreaker.make({ name, ...chosen })
}

/** Believes the limit that the service states, and grows from there. Failures of other kinds change nothing. */
const limitOf = (
  name: string,
  { concurrency }: Options,
  documented: number | undefined,
  total: Duration.Duration | undefined
): Effect.Effect<AdaptiveLimit.AdaptiveLimit | undefined> => {
  if (concurrency === false) return Effect.undefined
  const all = concurrency?.limit ?? documented ?? defaults.concurrency.limit
  const usual = Duration.fromInputUnsafe(defaults.concurrency.maxWait)
  const given = concurrency?.maxWait
  if (given !== undefined && total !== undefined && isBetween(total, Duration.fromInputUnsafe(given))) {
    throw new RangeError(`Lane.make: concurrency.maxWait must be no longer than total (${Duration.format(total)})`)
  }
  return Effect.flatMap(Share.Current, (share) => {
    const max = Share.part(all, share)
    return AdaptiveLimit.make({
      name,
      algorithm: AdaptiveLimit.told(),
      initial: max,
      max,
      queue: concurrency?.queue ?? defaults.concurrency.queue,
      // A total that is shorter bounds the wait by itself.
      maxWait: given ?? (total === undefined ? usual : Duration.min(usual, total)),
      limitOf: (exit) => statedLimit(exit, share),
      isDrop: () => false
    })
  })
}

/** Whether a wait is longer than the total; an infinite one has no bound of its own. */
const isBetween = (total: Duration.Duration, wait: Duration.Duration): boolean =>
  Duration.isGreaterThan(wait, total) && Duration.isFinite(wait)

/** A 429 that speaks of concurrency and names no limit says only that there is less room than is taken. */
const unnamed = Number.MAX_SAFE_INTEGER

const statedLimit = (exit: Exit.Exit<unknown, unknown>, share: Share.Share): number | undefined => {
  if (exit._tag === "Success") return undefined
  for (const failure of exit.cause.reasons) {
    if (failure._tag === "Fail" && failure.error instanceof ChatError.ClientError) {
      const { reason } = failure.error
      if (reason._tag !== "ConcurrencyExceeded") return undefined
      return reason.limit === undefined ? unnamed : Share.part(reason.limit, share)
    }
  }
  return undefined
}

/**
 * The error that a deadline ends a call with.
 *
 * @category errors
 * @since 0.1.0
 */
export const deadlineError = ({ deadline, limit }: Deadline.DeadlineExceeded): ChatError.TransportError =>
  new ChatError.TransportError({ reason: new ChatError.DeadlineExceeded({ deadline, limit }) })

// The streams that a lane guards are of chunks.
const progress = (item: unknown) => ChatChunk.isProgress(item as ChatChunk.ChatChunk)

const enabled = <A>(given: A | false | undefined, fallback: A | false): A | undefined => {
  const chosen = given ?? fallback
  return chosen === false ? undefined : chosen
}

/**
 * A deadline that is given, or its default unless that is no shorter than the one around it, so that a short one can be given alone.
 *
 * @category accessors
 * @since 0.1.0
 */
export const resolveDeadline = (
  given: Duration.Input | false | undefined,
  otherwise: Duration.Input,
  around?: Duration.Duration
): Duration.Duration | undefined => {
  if (given === false) return undefined
  if (given !== undefined) return Duration.fromInputUnsafe(given)
  const usual = Duration.fromInputUnsafe(otherwise)
  return around === undefined || Duration.isLessThan(usual, around) ? usual : undefined
}

/**
 * The deadlines in force: of a call, of an attempt, and of its items.
 *
 * @category accessors
 * @since 0.1.0
 */
export const resolveDeadlines = (given: DeadlineOptions | false | undefined) => {
  const resolve = (field: keyof DeadlineOptions, around?: Duration.Duration) =>
    resolveDeadline(given === false ? false : given?.[field], defaults.deadlines[field], around)
  const total = resolve("total")
  const attempt = resolve("attempt", total)
  const around = attempt ?? total
  return { total, attempt, firstItem: resolve("firstToken", around), idle: resolve("idle", around) }
}
