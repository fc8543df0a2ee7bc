/** Waits of a run that go on after a crash where they were. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Activity from "effect/workflow/Activity"
import * as DurableClock from "effect/workflow/DurableClock"
import * as DurableDeferred from "effect/workflow/DurableDeferred"
import { WorkflowEngine, WorkflowInstance } from "effect/workflow/WorkflowEngine"

/** How often a wait beside calls in flight looks whether it is over. */
const look = "1 second"

/**
 * Waits for what somebody else completes.
 *
 * The engine interrupts a run that waits when the wait is over, and calls in flight with it: they would be made again. So its own waiting, in which
 * the run leaves the memory, begins only when no call is in flight.
 */
export const completed = Effect.fnUntraced(function*<A extends Schema.Constraint>(
  deferred: DurableDeferred.DurableDeferred<A>
) {
  const engine = yield* WorkflowEngine
  const { activityState } = yield* WorkflowInstance
  while (activityState.count > 0) {
    const exit = yield* engine.deferredResult(deferred)
    if (Option.isSome(exit)) return yield* exit.value
    yield* Effect.raceFirst(activityState.latch.await, Effect.sleep(look))
    // What waited for the call that has ended may begin the next one.
    yield* Effect.yieldNow
    yield* Effect.yieldNow
  }
  return yield* DurableDeferred.await(deferred)
})

/** A run whose wait is longer leaves the memory meanwhile, and reads what its steps gave again after it. */
const inMemory = 60_000

/**
 * Waits for a time, up to `bound`; both in milliseconds. The first time that is given counts; `bound` must be the same each time.
 */
export const sleep = Effect.fnUntraced(function*(name: string, millis: number, bound: number) {
  if (bound <= inMemory) {
    const until = yield* Activity.make({
      name: `${name}/until`,
      success: Schema.Finite,
      execute: Effect.map(Clock.currentTimeMillis, (now) => now + millis)
    })
    return yield* Activity.make({
      name,
      execute: Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.sleep(Math.max(0, until - now)))
    })
  }
  const clock = DurableClock.make({ name, duration: millis })
  const { executionId, workflow } = yield* WorkflowInstance
  yield* (yield* WorkflowEngine).scheduleClock(workflow, { executionId, clock })
  yield* completed(clock.deferred)
})
