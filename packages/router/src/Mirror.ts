/**
 * Sends a share of the calls to a second model as well, whose answers are dropped: to measure it under real traffic before it serves.
 *
 * The mirrored call runs beside the first in a fiber of its own: it delays nothing, and neither its failure nor a defect reaches the
 * caller. It goes on when the caller leaves. No more than `limit` of them run at once; further ones are left out.
 *
 * @since 0.1.0
 */
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import * as RouteInfo from "./RouteInfo.ts"

/**
 * A model whose mirror can be changed while calls run.
 *
 * @category models
 * @since 0.1.0
 */
export interface Mirror<E> extends ChatModel<E> {
  /** Sets the share, from 0 (off at once, for new calls) to 1. Throws a `RangeError` for another number. */
  readonly update: (share: number) => Effect.Effect<void>
  readonly inspect: Effect.Effect<{ readonly share: number; readonly inFlight: number; readonly leftOut: number }>
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Where the copies go. Its own traces and metrics tell how it does. */
  readonly to: ChatModel<unknown>
  /** Of the calls, from 0 to 1. */
  readonly share: number
  /** Whether a call may be copied. Default: every call. */
  readonly when?: ((request: ChatRequest) => Effect.Effect<boolean>) | undefined
  /** Copies that may run at once, at least 1. Default 100. */
  readonly limit?: number | undefined
}

const check = (share: number): number => {
  if (share >= 0 && share <= 1) return share
  throw new RangeError(`Mirror: share must be from 0 to 1, got ${share}`)
}

/**
 * Mirrors a model. The copies end with the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(
  function*<E>(model: ChatModel<E>, { limit = 100, share: initial, to, when }: Options) {
    let share = check(initial)
    if (!(limit >= 1)) throw new RangeError(`Mirror.make: limit must be at least 1, got ${limit}`)
    const scope = yield* Effect.scope
    let inFlight = 0
    let leftOut = 0

    const copy = (request: ChatRequest) =>
      Effect.provideService(
        request.stream === true ? Stream.runDrain(to.stream(request)) : Effect.asVoid(to.complete(request)),
        // Where the copy goes is not where the call went.
        RouteInfo.Current,
        undefined
      )

    const mirror = (request: ChatRequest): Effect.Effect<void> =>
      share === 0 || when === undefined
        ? drawn(request)
        : Effect.flatMap(when(request), (may) => may ? drawn(request) : Effect.void)

    const drawn = (request: ChatRequest): Effect.Effect<void> =>
      Effect.flatMap(share === 0 ? Effect.succeed(1) : Random.next, (drawn) => {
        if (drawn >= share) return Effect.void
        if (inFlight >= limit) return Effect.sync(() => void leftOut++)
        // Its traces and metrics have the failure already.
        const copied = Effect.catchCause(copy(request), (cause) => Effect.logDebug("a mirrored call failed", cause))
        // What takes it off again stands before the call can be interrupted.
        return Effect.uninterruptibleMask((restore) => {
          inFlight++
          return Effect.asVoid(
            Effect.forkIn(Effect.ensuring(restore(copied), Effect.sync(() => void inFlight--)), scope)
          )
        })
      })

    const mirrored: Mirror<E> = {
      complete: (request) => Effect.andThen(Effect.suspend(() => mirror(request)), model.complete(request)),
      stream: (request) =>
        Stream.unwrap(Effect.as(Effect.suspend(() => mirror({ ...request, stream: true })), model.stream(request))),
      update: (given) => {
        const checked = check(given)
        return Effect.sync(() => void (share = checked))
      },
      inspect: Effect.sync(() => ({ share, inFlight, leftOut }))
    }
    return mirrored
  }
)
