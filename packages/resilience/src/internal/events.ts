import type * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

/** What a policy tells to whoever listens. */
export interface Events<A> {
  /** Whether somebody listens; ask before building an event on a hot path. */
  readonly active: boolean
  readonly publish: (event: A) => void
  /** What happens from the first pull on. A listener that lags behind loses the oldest events, never slows a call. */
  readonly stream: Stream.Stream<A>
}

/** Events that a slow listener may lag behind before it loses the oldest. */
const bufferSize = 1_024

export const make = <A>(): Events<A> => {
  const listeners = new Set<Queue.Queue<A, Cause.Done>>()
  return {
    get active() {
      return listeners.size > 0
    },
    publish: (event) => {
      for (const queue of listeners) Queue.offerUnsafe(queue, event)
    },
    stream: Stream.fromChannel(
      Channel.fromTransform((_upstream, scope) =>
        Effect.flatMap(Queue.sliding<A, Cause.Done>(bufferSize), (queue) => {
          const leave = Effect.suspend(() => {
            listeners.delete(queue)
            return Queue.shutdown(queue)
          })
          const listen = Effect.sync(() => {
            listeners.add(queue)
            return Queue.takeAll(queue)
          })
          // Listens only once its leave is certain: the fiber may be interrupted between the two.
          return Effect.andThen(Scope.addFinalizer(scope, leave), listen)
        })
      )
    )
  }
}
