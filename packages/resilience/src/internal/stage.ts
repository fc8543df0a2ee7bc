/** A part of the runtime for one program under test, which knows when nothing but time can help the program on. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Scheduler from "effect/Scheduler"
import * as TestClock from "effect/testing/TestClock"

export interface Stage {
  /** What a program must run with to be on the stage. */
  readonly context: Context.Context<never>
  /** Fibers on the stage that have not ended. */
  readonly living: () => number
  /** Lets fibers run until none can go on by itself; no time passes. */
  readonly settle: Effect.Effect<void>
  /**
   * Lets a fiber run to its end, with time passing when nothing else can go on.
   * Gives up when nobody waits for time, or after so many milliseconds of it.
   */
  readonly drive: (fiber: Fiber.Fiber<unknown, unknown>, within: number) => Effect.Effect<boolean>
}

/** `onStep` hears of each step: a task that a scheduler ran for the stage. */
export const make = (onStep: () => void = () => {}): Effect.Effect<Stage> =>
  TestClock.testClockWith((clock) =>
    // The first sleep on a clock that was never adjusted starts a warning, and can't be slept in a finalizer.
    Effect.andThen(
      clock.adjust(0),
      Effect.withFiber((fiber) => {
        let pending = 0
        let living = 0
        const alarms = new Set<{ readonly at: number }>()

        const inner = fiber.getRef(Scheduler.Scheduler)
        const scheduler: Scheduler.Scheduler = {
          executionMode: inner.executionMode,
          shouldYield: (fiber) => inner.shouldYield(fiber),
          makeDispatcher: () => {
            const dispatcher = inner.makeDispatcher()
            return {
              flush: () => dispatcher.flush(),
              scheduleTask: (task, priority) => {
                pending++
                dispatcher.scheduleTask(() => {
                  pending--
                  task()
                  onStep()
                }, priority)
              }
            }
          }
        }

        const sleep = (duration: Duration.Duration) =>
          Effect.suspend(() => {
            let alarm: { readonly at: number } | undefined
            return Effect.onExitPrimitive(
              Effect.suspend(() => {
                alarm = { at: clock.currentTimeMillisUnsafe() + Duration.toMillis(duration) }
                alarms.add(alarm)
                return clock.sleep(duration)
              }),
              () => {
                if (alarm !== undefined) alarms.delete(alarm)
                return undefined
              }
            )
          })

        const context = Context.empty().pipe(
          Context.add(Scheduler.Scheduler, scheduler),
          Context.add(Clock.Clock, { ...clock, sleep }),
          Context.add(Metric.FiberRuntimeMetrics, {
            recordFiberStart: () => {
              living++
            },
            recordFiberEnd: () => {
              living--
            }
          })
        )

        const busy = () => pending > 0
        const settle = Effect.whileLoop({ while: busy, body: () => Effect.yieldNow, step: () => {} })

        const drive = Effect.fnUntraced(function*(fiber: Fiber.Fiber<unknown, unknown>, within: number) {
          const until = clock.currentTimeMillisUnsafe() + within
          while (fiber.pollUnsafe() === undefined) {
            yield* settle
            if (fiber.pollUnsafe() !== undefined) return true
            const next = Math.min(...Array.from(alarms, (alarm) => alarm.at))
            if (next > until || next === Infinity) return false
            yield* clock.adjust(Math.max(0, next - clock.currentTimeMillisUnsafe()))
          }
          return true
        })

        return Effect.succeed<Stage>({ context, living: () => living, settle, drive })
      })
    )
  )
