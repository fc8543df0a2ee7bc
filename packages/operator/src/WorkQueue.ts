/**
 * Keys that wait to be worked on: each at most once, and no key by two workers at once.
 *
 * A key that is added while it is worked on is worked on again afterwards, so no change is missed. `addAfter` keeps the earliest time.
 * `retry` waits longer after each failure in a row (0.5 seconds to one minute), until `forget`. As in client-go's `workqueue`.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as metrics from "./internal/metrics.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface WorkQueue {
  readonly addUnsafe: (key: string) => void
  readonly addAfter: (key: string, delay: Duration.Duration) => Effect.Effect<void>
  readonly retry: (key: string) => Effect.Effect<void>
  readonly forget: (key: string) => void
  /** Works with so many workers for ever. */
  readonly run: <R>(
    workers: number,
    work: (key: string) => Effect.Effect<void, never, R>
  ) => Effect.Effect<never, never, R>
}

/**
 * @category constructors
 * @since 0.1.0
 */
export const make: Effect.Effect<WorkQueue, never, Scope.Scope> = Effect.gen(function*() {
  const queue = yield* Queue.unbounded<string>()
  const timers = yield* FiberMap.make<string>()
  const waiting = new Set<string>()
  const running = new Set<string>()
  const again = new Set<string>()
  const due = new Map<string, number>()
  const failures = new Map<string, number>()

  const addUnsafe = (key: string): void => {
    if (running.has(key)) {
      again.add(key)
      return
    }
    if (waiting.has(key)) return
    waiting.add(key)
    Queue.offerUnsafe(queue, key)
  }

  const addAfter: WorkQueue["addAfter"] = Effect.fnUntraced(function*(key, delay) {
    const at = (yield* Clock.currentTimeMillis) + Duration.toMillis(delay)
    if ((due.get(key) ?? Number.POSITIVE_INFINITY) <= at) return
    due.set(key, at)
    const timer = Effect.andThen(
      Effect.sleep(delay),
      Effect.sync(() => {
        due.delete(key)
        addUnsafe(key)
      })
    )
    yield* FiberMap.run(timers, key, timer)
  })

  const retry: WorkQueue["retry"] = (key) => {
    const count = failures.get(key) ?? 0
    failures.set(key, count + 1)
    return addAfter(key, Duration.millis(Math.min(500 * 2 ** Math.min(count, 20), 60_000)))
  }

  const step = <R>(work: (key: string) => Effect.Effect<void, never, R>) =>
    Effect.flatMap(Queue.take(queue), (key) => {
      waiting.delete(key)
      running.add(key)
      return metrics.depth(waiting.size).pipe(
        Effect.andThen(work(key)),
        Effect.ensuring(Effect.sync(() => {
          running.delete(key)
          if (again.delete(key)) addUnsafe(key)
        }))
      )
    })

  return {
    addUnsafe,
    addAfter,
    retry,
    forget: (key) => void failures.delete(key),
    run: (workers, work) =>
      Effect.andThen(
        Effect.forEach(Array.from({ length: workers }), () => Effect.forever(step(work)), {
          concurrency: "unbounded",
          discard: true
        }),
        Effect.never
      )
  }
})
