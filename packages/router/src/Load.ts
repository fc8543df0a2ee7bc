/**
 * How busy a place is: calls in flight, and how long its calls took lately.
 *
 * @since 0.1.0
 */
import type { ChatModel } from "@ballast/chat/ChatModel"
import * as Layered from "@ballast/resilience/Layered"
import * as Channel from "effect/Channel"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Pull from "effect/Pull"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

/**
 * The load of one place. It belongs to one process.
 *
 * @category models
 * @since 0.1.0
 */
export interface Load {
  /** Calls in flight. */
  readonly inFlight: () => number
  /** Exponentially weighted mean of the time until a whole answer, or a stream's first chunk, in milliseconds; 0 before the first. */
  readonly latency: () => number
  /** What one more call would have to wait for, roughly: calls in flight and itself, times the latency. */
  readonly cost: () => number
  /** Counts the calls of a model. */
  readonly watch: <E>(self: ChatModel<E>) => ChatModel<E>
}

type ItemsPull<A, E> = Pull.Pull<readonly [A, ...Array<A>], E>

/** The weight of the newest latency. */
const alpha = 0.2

const now = (fiber: Fiber.Fiber<unknown, unknown>): number =>
  Number(fiber.getRef(Clock.Clock).monotonicTimeNanosUnsafe()) / 1e6

/**
 * Creates the load of a place without calls.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (): Load => {
  let inFlight = 0
  let latency = 0

  const answered = (millis: number): void => {
    latency = latency === 0 ? millis : latency + alpha * (millis - latency)
  }

  /** Not made within the stream, which is not needed once it is open. */
  const timed = <A, E>(pull: ItemsPull<A, E>, began: number): ItemsPull<A, E> => {
    let next = Effect.flatMap(pull, (chunks): ItemsPull<A, E> =>
      Effect.withFiber((fiber) => {
        answered(now(fiber) - began)
        next = pull
        return Effect.succeed(chunks)
      }))
    return Layered.switching(() => next)
  }

  // A fiber may be interrupted between any two steps: what takes a call off stands before it is counted.
  const watch = <E>(self: ChatModel<E>): ChatModel<E> => ({
    complete: (request) =>
      Effect.withFiber((fiber) => {
        let began: number | undefined
        return Effect.onExitPrimitive(
          Effect.suspend(() => {
            began = now(fiber)
            inFlight++
            return self.complete(request)
          }),
          (exit) => {
            if (began === undefined) return undefined
            inFlight--
            if (exit._tag === "Success") answered(now(fiber) - began)
            return undefined
          }
        )
      }),
    stream: (request) =>
      Layered.stream((scope) => {
        let isCounted = false
        return Effect.andThen(
          Scope.addFinalizer(scope, Effect.sync(() => void (isCounted && inFlight--))),
          Effect.withFiber((fiber) => {
            const began = now(fiber)
            isCounted = true
            inFlight++
            return Effect.map(
              Channel.toPullScoped(Stream.toChannel(self.stream(request)), scope),
              (pull) => timed(pull, began)
            )
          })
        )
      })
  })

  return {
    inFlight: () => inFlight,
    latency: () => latency,
    cost: () => (inFlight + 1) * Math.max(latency, 1),
    watch
  }
}
