import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import * as Events from "../../src/internal/events.ts"

describe("events", () => {
  it.effect("is free while nobody listens", () =>
    Effect.gen(function*() {
      const events = Events.make<number>()
      assert.isFalse(events.active)
      events.publish(1)
      const fiber = yield* Effect.forkChild(Stream.runHead(events.stream))
      yield* Testing.settle
      assert.isTrue(events.active)
      yield* Fiber.interrupt(fiber)
      assert.isFalse(events.active)
    }))

  it.effect("tells every listener what happens from its first pull on, in order", () =>
    Effect.gen(function*() {
      const events = Events.make<number>()
      const first = yield* Testing.record(events.stream)
      events.publish(1)
      const second = yield* Testing.record(events.stream)
      events.publish(2)
      events.publish(3)
      assert.deepStrictEqual((yield* first).map(({ event }) => event), [1, 2, 3])
      assert.deepStrictEqual((yield* second).map(({ event }) => event), [2, 3])
    }))

  it.effect("stops listening when the listener has enough", () =>
    Effect.gen(function*() {
      const events = Events.make<number>()
      const fiber = yield* Effect.forkChild(Stream.runCollect(Stream.take(events.stream, 2)), {
        startImmediately: true
      })
      yield* Testing.settle
      for (const n of [1, 2, 3]) events.publish(n)
      assert.deepStrictEqual(yield* Fiber.join(fiber), [1, 2])
      assert.isFalse(events.active)
    }))

  it.effect("loses the oldest events of a listener that lags behind, and of no other", () =>
    Effect.gen(function*() {
      const events = Events.make<number>()
      const slow = yield* Effect.forkChild(
        events.stream.pipe(
          Stream.take(1_025),
          Stream.tap((n) => n === 0 ? Effect.sleep("1 second") : Effect.void),
          Stream.runCollect
        ),
        { startImmediately: true }
      )
      const quick = yield* Testing.record(events.stream)
      events.publish(0)
      yield* Testing.settle
      for (let n = 1; n <= 2_000; n++) {
        events.publish(n)
        if (n % 500 === 0) yield* Testing.settle
      }
      yield* Testing.advance("1 second")
      const kept = Array.from({ length: 1_024 }, (_, index) => 977 + index)
      assert.deepStrictEqual(yield* Fiber.join(slow), [0, ...kept])
      assert.strictEqual((yield* quick).length, 2_001)
    }))

  it.effect("forgets a listener, whenever it is interrupted", () =>
    Testing.interruptEverywhere({
      setup: Effect.sync(() => Events.make<number>()),
      run: (events) => Stream.runCollect(Stream.take(events.stream, 3)),
      beside: (events) =>
        Effect.forEach(
          [1, 2, 3],
          (n) => Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => events.publish(n)))
        ),
      check: (events) => Effect.sync(() => assert.isFalse(events.active))
    }))
})
