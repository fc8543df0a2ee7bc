/** Pins the error and requirement channels of the public combinators; checked by the compiler alone. */
import type { ConcurrencyLimit } from "@ballast/resilience"
import {
  AdaptiveLimit,
  CircuitBreaker,
  Deadline,
  Hedge,
  Outcome,
  Policy,
  RateLimiter,
  Retry,
  Throttle
} from "@ballast/resilience"
import type { Effect, Stream } from "effect"

type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
const same = <A, B>(_equal: Equals<A, B>): void => {}

declare const program: Effect.Effect<"a", "e", "r">
declare const stream: Stream.Stream<"a", "e", "r">
declare const breaker: CircuitBreaker.CircuitBreaker
declare const slots: ConcurrencyLimit.ConcurrencyLimit

const retry = Retry.make()
const mapped = Deadline.total("1 second", { error: () => "late" as const })
const stack = Policy.compose(mapped, retry, breaker, slots)
const guarded = stack(program)
const guardedStream = stack.stream(stream)
const piped = program.pipe(stack)
const pipedStream = stream.pipe(stack.stream)
const rated = Deadline.leastRate({ least: 1, window: "1 second" })
const switched = Policy.switchable(stack)
const untouched = Policy.identity(program)
const limited = RateLimiter.make({ limit: 1, window: "1 second" })
const common = Policy.common({ total: "1 second" })
const commonMade = Policy.common({ circuitBreaker: breaker, concurrencyLimit: slots })
declare const other: Policy.Policy<"other">
const commonOther = Policy.common({ circuitBreaker: other, rateLimiter: { limit: 1, window: 1 } })
const commonMapped = Policy.common({ total: "1 second", error: () => "late" as const })

declare const isBusy: (error: Busy | Policy.Rejection | Deadline.DeadlineExceeded) => boolean
const commonTyped = Policy.common({ attempt: "1 second", retry: { while: isBusy } })
const commonTypedMapped = Policy.common({
  total: "1 second",
  error: () => "late" as const,
  retry: { while: (error: Busy | Policy.Rejection | "late") => typeof error === "object" && "status" in error }
})
const commonUntyped = Policy.common({ retry: { while: (error) => error !== undefined } })
// A predicate that does not know what the stack adds.
const refused = (_policy: unknown): void => {}
// @ts-expect-error
refused(Policy.common({ retry: { while: (error: Busy) => error.status === 503 } }))

type Rejections = CircuitBreaker.CircuitOpen | ConcurrencyLimit.QueueFull | ConcurrencyLimit.QueueTimeout

same<typeof retry, Retry.Retry>(true)
same<typeof mapped, Deadline.Deadline<"late">>(true)
same<typeof stack, Policy.Policy<"late" | Rejections>>(true)
same<typeof guarded, Effect.Effect<"a", "e" | "late" | Rejections, "r">>(true)
same<typeof guardedStream, Stream.Stream<"a", "e" | "late" | Rejections, "r">>(true)
same<typeof piped, typeof guarded>(true)
same<typeof pipedStream, typeof guardedStream>(true)
same<typeof rated, Deadline.Deadline<Deadline.DeadlineExceeded, Deadline.RateSettings>>(true)
same<typeof switched, Effect.Effect<Policy.Switchable<"late" | Rejections>>>(true)
same<typeof untouched, Effect.Effect<"a", "e", "r">>(true)
same<typeof limited, Effect.Effect<RateLimiter.RateLimiter>>(true)
same<typeof common, Effect.Effect<Policy.Common<Policy.Rejection | Deadline.DeadlineExceeded>>>(true)
same<typeof commonMapped, Effect.Effect<Policy.Common<Policy.Rejection | "late">>>(true)
same<typeof commonMade, typeof common>(true)
same<typeof commonOther, Effect.Effect<Policy.Common<Policy.Rejection | "other" | Deadline.DeadlineExceeded>>>(true)

same<
  typeof commonTyped,
  Effect.Effect<Policy.Common<Policy.Rejection | Deadline.DeadlineExceeded, Busy>>
>(true)
same<typeof commonTypedMapped, Effect.Effect<Policy.Common<Policy.Rejection | "late", Busy | "late">>>(true)
same<typeof commonUntyped, typeof common>(true)

interface Busy {
  readonly status: number
}
declare const busy: Effect.Effect<"a", Busy>
const typed = Retry.make({ while: (error: Busy) => error.status === 503 })
const retried = typed(busy)
const judge = Outcome.classifier({ error: (error: Busy) => error.status === 404 ? Outcome.ignored() : undefined })
const judging = Retry.make({ classify: judge })
const knowing = Retry.make({ while: (error: Busy | CircuitBreaker.CircuitOpen) => "status" in error })
const judgingBreaker = CircuitBreaker.make({ classify: judge })
const judgingHedge = Hedge.make({ classify: judge })
const judgingLimit = AdaptiveLimit.make({ classify: judge })
const judgingThrottle = Throttle.make({ classify: judge })
const usualBreaker = CircuitBreaker.make({ minimumCalls: 2 })
const nested = Policy.compose(knowing, breaker)
const inner = Policy.compose(breaker, typed)
const blind = Policy.compose(typed, breaker)

/** Whether a policy takes programs that fail so. */
type Takes<P, E> = P extends Policy.Policy<unknown, infer In> ? E extends In ? true : false : never

same<typeof typed, Retry.Retry<Busy>>(true)
same<typeof retried, typeof busy>(true)
same<Takes<typeof typed, Busy>, true>(true)
same<Takes<typeof typed, "e">, false>(true)
same<typeof judge, Outcome.Classifier<Busy>>(true)
same<Takes<typeof judging, Busy>, true>(true)
same<Takes<typeof judging, "e">, false>(true)
same<Takes<typeof retry, "e">, true>(true)
same<typeof judgingBreaker, Effect.Effect<CircuitBreaker.CircuitBreaker<Busy>>>(true)
same<typeof judgingHedge, Effect.Effect<Hedge.Hedge<Busy>>>(true)
same<typeof judgingLimit, Effect.Effect<AdaptiveLimit.AdaptiveLimit<Busy>>>(true)
same<typeof judgingThrottle, Effect.Effect<Throttle.Throttle<Busy>>>(true)
same<typeof usualBreaker, Effect.Effect<CircuitBreaker.CircuitBreaker>>(true)
same<Takes<CircuitBreaker.CircuitBreaker<Busy>, "e">, false>(true)
// Nested, a predicate must know what the policies inside add.
same<typeof nested, Policy.Policy<CircuitBreaker.CircuitOpen, Busy | CircuitBreaker.CircuitOpen>>(true)
same<typeof inner, Policy.Policy<CircuitBreaker.CircuitOpen, Busy>>(true)
same<Takes<typeof blind, Busy>, false>(true)
