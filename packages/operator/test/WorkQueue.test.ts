import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { TestClock } from "effect/testing"
import { WorkQueue } from "../src/index.ts"

describe("WorkQueue", () => {
  it.effect("works on a key once for all that was added before, and not by two workers at once", () =>
    Effect.gen(function*() {
      const queue = yield* WorkQueue.make
      const log: Array<string> = []
      yield* Effect.forkScoped(queue.run(4, (key) =>
        Effect.sync(() => void log.push(`+${key}`)).pipe(
          Effect.andThen(Effect.sleep("1 second")),
          Effect.andThen(Effect.sync(() => void log.push(`-${key}`)))
        )))
      for (const key of ["a", "a", "b"]) queue.addUnsafe(key)
      yield* TestClock.adjust("500 millis")
      assert.deepStrictEqual(log, ["+a", "+b"])
      queue.addUnsafe("a")
      queue.addUnsafe("a")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(log.filter((one) => one.endsWith("a")), ["+a", "-a", "+a"])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(log.slice(5), ["-a"])
    }))

  it.effect("keeps the earliest of several times", () =>
    Effect.gen(function*() {
      const queue = yield* WorkQueue.make
      const log: Array<string> = []
      yield* Effect.forkScoped(queue.run(1, (key) => Effect.sync(() => void log.push(key))))
      yield* queue.addAfter("a", Duration.seconds(5))
      yield* queue.addAfter("a", Duration.seconds(2))
      yield* queue.addAfter("a", Duration.seconds(9))
      yield* TestClock.adjust("1999 millis")
      assert.deepStrictEqual(log, [])
      yield* TestClock.adjust("1 milli")
      assert.deepStrictEqual(log, ["a"])
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(log, ["a"])
    }))

  it.effect("waits longer after each failure, up to a minute, until it is forgotten", () =>
    Effect.gen(function*() {
      const queue = yield* WorkQueue.make
      const at: Array<number> = []
      let time = 0
      yield* Effect.forkScoped(queue.run(1, (key) => {
        at.push(time)
        return queue.retry(key)
      }))
      queue.addUnsafe("a")
      for (; time < 200_000; time += 500) {
        yield* Effect.yieldNow
        yield* TestClock.adjust("500 millis")
      }
      const waits = at.slice(1).map((when, index) => when - (at[index] ?? 0))
      assert.deepStrictEqual(waits.slice(0, 9), [0, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000])
    }))
})
