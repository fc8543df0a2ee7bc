/**
 * Tries one place after the other until one answers.
 *
 * A call goes on to the next place when its error says that another place may answer (`ChatError.isElsewhere`): a refused key, an empty
 * wallet, a limit, an unknown model, an open circuit, a failing service. What would be refused everywhere (a wrong request, a rejected
 * content) fails at once. A stream goes on before its first chunk only: afterwards the caller has part of an answer.
 *
 * Going on costs no wait. It is bounded in number and time, and ends with the caller's deadline. It takes nothing from a retry budget: each
 * place is asked once, so an outage of one place adds no load to it, and a budget that is spent must not keep calls from a healthy place.
 * A call that must not run twice goes on only when the place certainly did not begin to carry it out. Interrupting the call interrupts the
 * attempt that runs; an attempt that failed is closed before the next one begins.
 *
 * @since 0.1.0
 */
import * as ChatError from "@ballast/chat/ChatError"
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Deadline from "@ballast/resilience/Deadline"
import { CurrentIdempotent } from "@ballast/resilience/Idempotency"
import * as Layered from "@ballast/resilience/Layered"
import * as Outcome from "@ballast/resilience/Outcome"
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as RouteInfo from "./RouteInfo.ts"

/**
 * @category options
 * @since 0.1.0
 */
export interface Options<in E> {
  /** Whether a call that failed goes on to the next place. Default `ChatError.isElsewhere`. */
  readonly when?: ((error: E) => boolean) | undefined
  /** Places that one call may try, at least 1. Default 3. */
  readonly limit?: number | undefined
  /** How long after its begin a call may still go on to the next place, above zero. Default 1 minute. */
  readonly within?: Duration.Input | undefined
}

/**
 * What is used where `Options` say nothing.
 *
 * @category options
 * @since 0.1.0
 */
export const defaults = { limit: 3, within: "1 minute" } as const satisfies Options<unknown>

/**
 * The places of a call in their order. The later ones are asked for only when they are needed.
 *
 * @category models
 * @since 0.1.0
 */
export type Places<E> = (request: ChatRequest) => Effect.Effect<ReadonlyArray<ChatModel<E>>>

/**
 * Makes one model of several: a fixed list, or one for each request. A list without a place fails as `empty` says.
 *
 * **Details**
 *
 * When no place answers, the call fails with the first error that another try may mend, else with the last one. Throws a `RangeError` when an option is out of its bounds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  <E>(places: Arr.NonEmptyReadonlyArray<ChatModel<E>>, options?: Options<E>): ChatModel<E>
  <E, E2>(places: Places<E>, options: Options<E> & { readonly empty: (request: ChatRequest) => E2 }): ChatModel<E | E2>
} = <E>(
  places: Arr.NonEmptyReadonlyArray<ChatModel<E>> | Places<E>,
  options: Options<E> & { readonly empty?: (request: ChatRequest) => E } = {}
): ChatModel<E> => {
  const { empty, when = ChatError.isElsewhere } = options
  const limit = options.limit ?? defaults.limit
  if (!Number.isInteger(limit) || limit < 1) {
    throw new RangeError(`Failover.make: limit must be a whole number of at least 1, got ${limit}`)
  }
  const within = Duration.toMillis(Duration.fromInputUnsafe(options.within ?? defaults.within))
  if (!(within > 0)) throw new RangeError(`Failover.make: within must be above zero, got ${within} ms`)
  const placesOf: Places<E> = typeof places === "function" ? places : () => Effect.succeed(places)

  /** Runs `attempt` on one place after the other. */
  const walk = <A>(
    request: ChatRequest,
    attempt: (place: ChatModel<E>) => Effect.Effect<A, E>
  ): Effect.Effect<A, E> =>
    Effect.flatMap(placesOf(request), (found) => {
      const [only] = found
      // There is nowhere else to go.
      return only !== undefined && found.length === 1
        ? attempt(only)
        : Effect.flatMap(now, (began) => walkAll(request, attempt, found, began))
    })

  const walkAll = <A>(
    request: ChatRequest,
    attempt: (place: ChatModel<E>) => Effect.Effect<A, E>,
    found: ReadonlyArray<ChatModel<E>>,
    began: number
  ): Effect.Effect<A, E> => {
    const walked = (index: number, mendable?: Cause.Cause<E>): Effect.Effect<A, E> => {
      const place = found[index]
      if (place === undefined) return empty === undefined ? Effect.die(noPlace) : Effect.fail(empty(request))
      return Effect.catchCause(attempt(place), (cause) => {
        const error = Cause.findErrorOption(cause)
        if (Option.isNone(error) || Cause.hasDies(cause)) return Effect.failCause(cause)
        const worst = mendable ?? (isRetryable(error.value) ? cause : undefined)
        if (index + 1 >= Math.min(limit, found.length) || !when(error.value)) return Effect.failCause(worst ?? cause)
        return Effect.flatMap(mayGoOn(error.value, began), (may) =>
          may
            ? Effect.andThen(note(error.value, index + 1), walked(index + 1, worst))
            : Effect.failCause(worst ?? cause))
      })
    }
    return walked(0)
  }

  const mayGoOn = (error: E, began: number): Effect.Effect<boolean> =>
    Effect.withFiber((fiber) => {
      if (fiber.getRef(CurrentIdempotent) === false && wasExecuted(error)) return Effect.succeed(false)
      return Effect.map(Effect.zip(now, Deadline.remaining), ([now, remaining]) =>
        now - began < within && Duration.toMillis(remaining) > 0)
    })

  return {
    complete: (request) => walk(request, (place) => place.complete(request)),
    stream: (request) =>
      Layered.stream((scope) => {
        type Chunks = Arr.NonEmptyReadonlyArray<Stream.Success<ReturnType<ChatModel<E>["stream"]>>>
        type ChunksPull = Pull.Pull<Chunks, E>
        /** Opens a place's stream and waits for its first chunks. The stream's end is a failure to `walk`, and passes it. */
        const open = (place: ChatModel<E>): Effect.Effect<Chunks, E | Cause.Done> =>
          Effect.suspend(() => {
            const own = Scope.forkUnsafe(scope)
            return Effect.flatMap(Channel.toPullScoped(Stream.toChannel(place.stream(request)), own), (pull) =>
              Effect.map(pull, (chunks) => {
                next = pull
                return chunks
              })).pipe(
                Effect.catchCause((cause) =>
                  Effect.andThen(Scope.close(own, Pull.doneExitFromCause(cause)), Effect.failCause(cause))
                )
              )
          })
        let next: ChunksPull = walkStream(request, open)
        return Effect.succeed(Layered.switching(() => next))
      })
  }

  function walkStream<A>(
    request: ChatRequest,
    open: (place: ChatModel<E>) => Effect.Effect<A, E | Cause.Done>
  ): Pull.Pull<A, E> {
    // An end without a chunk is no error that `when` could be asked about.
    const opened = walk(request, (place) =>
      Pull.matchEffect(open(place), {
        onSuccess: (chunks) => Effect.succeedSome(chunks),
        onFailure: Effect.failCause,
        onDone: () => Effect.succeedNone
      }))
    return Effect.flatMap(opened, (chunks) => Option.isNone(chunks) ? Cause.done() : Effect.succeed(chunks.value))
  }
}

/** Monotonic milliseconds: a correction of the time of day makes no call late. */
const now = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos) / 1e6)

const noPlace = new Error("Failover.make: a list of places is empty")

const wasExecuted = (error: unknown): boolean => {
  const outcome = Outcome.classify(Exit.fail(error))
  return outcome._tag === "Success" || outcome.executed !== false
}

const isRetryable = (error: unknown): boolean => {
  const outcome = Outcome.classify(Exit.fail(error))
  return outcome._tag !== "Success" && outcome.retryable
}

/** The name of what went wrong. */
const nameOf = (error: unknown): string => {
  const named = typeof error === "object" && error !== null && "reason" in error ? error.reason : error
  return typeof named === "object" && named !== null && "_tag" in named ? String(named._tag) : "_OTHER"
}

/** Notes on the call's span that it goes on to another place. */
const note = (error: unknown, place: number): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    const info = fiber.getRef(RouteInfo.Current)
    if (info !== undefined) info.failovers++
    const span = fiber.cache.span
    if (span?._tag === "Span") {
      span.event("ballast.failover", fiber.getRef(Clock.Clock).currentTimeNanosUnsafe(), {
        because: nameOf(error),
        place
      })
    }
    return Effect.void
  })
