/**
 * Our shared circuits as Effect's own `CircuitBreaker` service, so that
 * `HttpClient.withCircuitBreaker`, and whatever else asks for that service, gets
 * time windows, slow calls, several probes, control by hand and telemetry.
 *
 * It stands on `SharedCircuitBreaker`, so where circuits are kept is up to the
 * `CircuitBreakerStore`: in this process with `layerStoreMemory`, in Redis with
 * `layerStoreRedis`. A probe holds its slot for `probeTimeout` at most, so one that
 * never settles keeps no circuit half-open for good.
 *
 * Effect's model is smaller than ours. A disabled circuit shows as closed, and an
 * isolated one as open for `maxOpenDuration`. `transitions` tells of closed, open
 * and half-open ones by which they follow each other without a hand; the rest
 * is in `events` of the breaker itself.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Effects from "effect/persistence/CircuitBreaker"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { CircuitOpen } from "./CircuitBreaker.ts"
import type { CircuitBreakerStore, CircuitBreakerStoreError, State } from "./CircuitBreakerStore.ts"
import * as Outcome from "./Outcome.ts"
import * as SharedCircuitBreaker from "./SharedCircuitBreaker.ts"

/**
 * Options of the service. How a call is judged is told with each call.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends Omit<SharedCircuitBreaker.Options, "classify"> {}

/** That of `CircuitBreaker`. */
const defaults = { maxOpenDuration: "5 minutes" } satisfies Options

/** What a call came to, and how the caller judges that. */
class Finished<A, E> {
  readonly exit: Exit.Exit<A, E>
  readonly outcome: Outcome.Outcome
  constructor(exit: Exit.Exit<A, E>, outcome: Outcome.Outcome) {
    this.exit = exit
    this.outcome = outcome
  }
}

/** Reads the caller's judgement; a call that came to no end was interrupted. */
const judged: Outcome.Classifier = (exit) =>
  Exit.isSuccess(exit) && exit.value instanceof Finished ? exit.value.outcome : Outcome.ignored()

const outcomeOf = (outcome: Effects.Outcome): Outcome.Outcome => {
  switch (outcome._tag) {
    case "Success":
      return Outcome.success
    case "Failure":
      return Outcome.failure({ retryAfter: outcome.retryAfter })
    case "Ignored":
      return Outcome.ignored()
  }
}

type Classify<A, E, R> = (exit: Exit.Exit<A, E>) => Effects.Outcome | Effect.Effect<Effects.Outcome, never, R>

/** Runs a call and judges it. One that is judged by nothing but a defect says nothing, and the call dies of it. */
const finish = <A, E, R, R2>(
  self: Effect.Effect<A, E, R>,
  classify: Classify<A, E, R2> | undefined
): Effect.Effect<Finished<A, E>, never, R | R2> =>
  Effect.flatMap(Effect.exit(self), (exit) => {
    if (Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)) {
      return Effect.succeed(new Finished(exit, Outcome.ignored()))
    }
    if (classify === undefined) {
      return Effect.succeed(new Finished(exit, Exit.isSuccess(exit) ? Outcome.success : Outcome.failure()))
    }
    const outcome = Effect.suspend(() => {
      const judgement = classify(exit)
      return Effect.isEffect(judgement) ? judgement : Effect.succeed(judgement)
    })
    return Effect.map(Effect.exit(outcome), (judgement) => {
      if (Exit.isSuccess(judgement)) return new Finished(exit, outcomeOf(judgement.value))
      const cause: Cause.Cause<E> = Exit.isFailure(exit)
        ? Cause.combine(exit.cause, judgement.cause)
        : judgement.cause
      return new Finished<A, E>(Exit.failCause(cause), Outcome.ignored())
    })
  })

/**
 * Creates Effect's breaker.
 *
 * **Details**
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options?: Options
): Effect.Effect<Effects.CircuitBreaker, never, CircuitBreakerStore | Scope.Scope> => {
  const longest = Duration.fromInputUnsafe(options?.maxOpenDuration ?? defaults.maxOpenDuration)
  const making = SharedCircuitBreaker.make({ ...options, classify: judged })

  return Effect.gen(function*() {
    const breaker = yield* making
    const closed = yield* Deferred.make<void>()
    yield* Effect.addFinalizer(() => Deferred.succeed(closed, undefined))

    const execute = <A, E, R, R2 = never>(
      self: Effect.Effect<A, E, R>,
      options: { readonly key: string; readonly classify?: Classify<A, E, R2> | undefined }
    ): Effect.Effect<A, E | Effects.CircuitBreakerError, R | R2> =>
      Effect.flatMap(
        Effect.mapError(breaker(options.key)(finish(self, options.classify)), errorOf(options.key, longest)),
        ({ exit }) => exit
      )

    return Effects.CircuitBreaker.of({
      [Effects.TypeId]: Effects.TypeId,
      execute: dual(2, execute),
      state: (key) =>
        Effect.mapBoth(breaker.inspect(key), {
          onSuccess: (state) => stateOf(key, state, longest),
          onFailure: errorOf(key, longest)
        }),
      transitions: Stream.filterMap(breaker.events, transitionOf).pipe(Stream.interruptWhen(Deferred.await(closed)))
    })
  })
}

const errorOf =
  (key: string, longest: Duration.Duration) =>
  (error: CircuitOpen | CircuitBreakerStoreError): Effects.CircuitBreakerError =>
    new Effects.CircuitBreakerError({ reason: reasonOf(key, longest, error) })

const reasonOf = (
  key: string,
  longest: Duration.Duration,
  error: CircuitOpen | CircuitBreakerStoreError
): Effects.CircuitBreakerErrorReason => {
  if (error._tag === "CircuitBreakerStoreError") {
    return new Effects.CircuitBreakerStoreError({ message: error.message, cause: error.cause })
  }
  return error.state === "half-open"
    ? new Effects.CircuitHalfOpen({ key })
    : new Effects.CircuitOpen({ key, retryAfter: error.retryAfter ?? longest })
}

const stateOf = (key: string, state: State, longest: Duration.Duration): Effects.State => {
  switch (state._tag) {
    case "Closed":
    case "Disabled":
      return { _tag: "Closed", key }
    case "Open":
      return { _tag: "Open", key, retryAfter: state.retryAfter, consecutiveOpenings: state.openings }
    case "Isolated":
      return { _tag: "Open", key, retryAfter: longest, consecutiveOpenings: state.openings }
    case "HalfOpen":
      return { _tag: "HalfOpen", key, probing: state.running > 0, consecutiveOpenings: state.openings }
  }
}

const transitionOf = (event: SharedCircuitBreaker.Event): Result.Result<Effects.Transition, undefined> => {
  if (event._tag !== "Transitioned") return Result.fail(undefined)
  const { from, key, openFor, openings, to } = event
  if (to === "Open" && (from === "Closed" || from === "HalfOpen")) {
    const retryAfter = openFor ?? Duration.zero
    return Result.succeed({ key, from, to, retryAfter, consecutiveOpenings: openings })
  }
  if (from === "Open" && to === "HalfOpen") return Result.succeed({ key, from, to })
  return from === "HalfOpen" && to === "Closed" ? Result.succeed({ key, from, to }) : Result.fail(undefined)
}

/**
 * Provides Effect's breaker.
 *
 * **Example** (Guarding an HTTP client)
 *
 * ```ts
 * import { CircuitBreaker, CircuitBreakerStore, EffectCircuitBreaker } from "@ballast/resilience"
 * import { Effect, Layer } from "effect"
 * import { HttpClient } from "effect/http"
 * import { CircuitBreaker as Effects } from "effect/persistence"
 *
 * const Breaker = EffectCircuitBreaker.layer({
 *   trip: CircuitBreaker.timeWindow({ failureRate: 0.5, slowRate: 0.8 }),
 *   slowAfter: "5 seconds"
 * }).pipe(Layer.provide(CircuitBreakerStore.layerStoreMemory()))
 *
 * const Guarded = Layer.effect(
 *   HttpClient.HttpClient,
 *   Effect.gen(function*() {
 *     const breaker = yield* Effects.CircuitBreaker
 *     const client = yield* HttpClient.HttpClient
 *     return client.pipe(
 *       HttpClient.withCircuitBreaker({ breaker }),
 *       HttpClient.transformResponse(Effect.catchTag("CircuitBreakerError", Effect.die))
 *     )
 *   })
 * ).pipe(Layer.provide(Breaker))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<Effects.CircuitBreaker, never, CircuitBreakerStore> =>
  Layer.effect(Effects.CircuitBreaker, make(options))
