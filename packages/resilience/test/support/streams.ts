import { Deadline } from "@ballast/resilience"
import { Cause, Channel, Clock, type Duration, Effect, Fiber, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

/** Counts the sleeps that are under way, so that a forgotten timer shows. */
export const countingSleeps = Effect.map(Clock.Clock, (clock) => {
  let running = 0
  let started = 0
  const counting: Clock.Clock = {
    ...clock,
    sleep: (duration) =>
      Effect.suspend(() => {
        running++
        started++
        return Effect.ensuring(clock.sleep(duration), Effect.sync(() => running--))
      })
  }
  return {
    provide: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.provideService(self, Clock.Clock, counting),
    running: () => running,
    started: () => started
  }
})

/** A stream that needs so much time for each of its items, numbered from 0. */
export const timed = (...gaps: ReadonlyArray<number>) =>
  Stream.fromIterable(gaps.entries()).pipe(
    Stream.rechunk(1),
    Stream.mapEffect(([n, gap]) => Effect.as(Effect.sleep(gap), n))
  )

/** A stream that is opened only once so much was done. */
export const openedAfter = <A, E, R>(
  first: Effect.Effect<unknown>,
  stream: Stream.Stream<A, E, R>
): Stream.Stream<A, E, R> =>
  Stream.fromChannel(
    Channel.fromTransform((upstream, scope) =>
      Effect.andThen(first, Channel.toTransform(Stream.toChannel(stream))(upstream, scope))
    )
  )

/** Takes a stream to its end, with a pause after each item; gives its items, its error and how long it took. */
export const consume = Effect.fnUntraced(function*<A, E>(stream: Stream.Stream<A, E>, pause = 0) {
  const items: Array<A> = []
  const began = yield* Clock.currentTimeMillis
  const fiber = yield* start(
    Effect.exit(Stream.runForEach(stream, (item) => {
      items.push(item)
      return Effect.sleep(pause)
    })).pipe(Effect.flatMap((exit) => Effect.map(Clock.currentTimeMillis, (now) => ({ exit, took: now - began }))))
  )
  yield* TestClock.adjust("1 day")
  const { exit, took } = yield* Fiber.join(fiber)
  const error = exit._tag === "Failure" && exit.cause.reasons[0]?._tag === "Fail"
    ? exit.cause.reasons[0].error
    : undefined
  return { items, took, error }
})

/**
 * A source of 1, 2, 3, … at the given times, which ends its waits itself when the stop that it claims tells it to. `on` holds the ids of
 * the fibers that its pulls ran on.
 */
export const makeSource = (...waits: ReadonlyArray<Duration.Input>) => {
  const on: Array<number> = []
  const interrupted: Array<number> = []
  const stream: Stream.Stream<number> = Stream.fromChannel(
    Channel.fromTransform((_upstream, scope) =>
      Effect.withFiber((opener) => {
        let given = 0
        let wake: (() => void) | undefined
        const release = opener.getRef(Deadline.CurrentStop)?.claim(() => {
          interrupted.push(given)
          wake?.()
        })
        const stop = Effect.callback<never>((resume) => {
          wake = () => resume(Effect.interrupt)
        })
        const pull = Effect.withFiber((fiber) => {
          on.push(fiber.id)
          const wait = waits[given]
          if (wait === undefined) return Cause.done()
          return Effect.map(Effect.raceFirst(Effect.sleep(wait), stop), () => [++given] as const)
        })
        return Effect.as(Scope.addFinalizer(scope, Effect.sync(() => release?.())), pull)
      })
    )
  )
  return { on, interrupted, stream }
}
