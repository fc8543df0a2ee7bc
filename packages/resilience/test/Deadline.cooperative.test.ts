import { Deadline, Fallback, Policy } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Cause, type Duration, Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { makeSource } from "./support/streams.ts"

const collect = <E>(stream: Stream.Stream<number, E>) =>
  Effect.gen(function*() {
    const items: Array<number> = []
    const fiber = yield* Effect.forkChild(
      Effect.exit(Stream.runForEach(stream, (item) => Effect.sync(() => items.push(item))))
    )
    yield* TestClock.adjust("1 hour")
    return { items, exit: yield* Fiber.join(fiber) }
  })

const failure = (exit: Exit.Exit<unknown, unknown>) => Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined

const exceeded = (deadline: Deadline.Kind, exit: Exit.Exit<unknown, unknown>) => {
  const error = failure(exit)
  assert.instanceOf(error, Deadline.DeadlineExceeded)
  assert.strictEqual(error.deadline, deadline)
}

describe("cooperative deadlines", () => {
  it.effect("tell the source to stop when it is idle for too long", () =>
    Effect.gen(function*() {
      const source = makeSource("1 second", "9 seconds", "11 seconds")
      const policy = Deadline.idle("10 seconds", { cooperative: true })
      const { exit, items } = yield* collect(policy.stream(source.stream))
      assert.deepStrictEqual(items, [1, 2])
      assert.deepStrictEqual(source.interrupted, [2])
      exceeded("idle", exit)
    }))

  it.effect("run the pulls after the first item on the consumer's fiber", () =>
    Effect.gen(function*() {
      const waits = ["1 second", "1 second", "1 second", "1 second"] as const
      const cooperative = makeSource(...waits)
      const plain = makeSource(...waits)
      yield* collect(Deadline.idle("10 seconds", { cooperative: true }).stream(cooperative.stream))
      yield* collect(Deadline.idle("10 seconds").stream(plain.stream))
      assert.strictEqual(new Set(cooperative.on.slice(1)).size, 1)
      assert.strictEqual(new Set(plain.on).size, plain.on.length)
    }))

  it.effect("bound the whole across an inner one, and the nearest says what was exceeded", () =>
    Effect.gen(function*() {
      const waits = ["1 second", "9 seconds", "9 seconds", "9 seconds"] as const
      const stack = (total: Duration.Input) =>
        Policy.compose(
          Deadline.total(total, { cooperative: true }),
          Deadline.make({ attempt: "27 seconds", idle: "10 seconds", cooperative: true })
        )
      const byTotal = yield* collect(stack("15 seconds").stream(makeSource(...waits).stream))
      assert.deepStrictEqual(byTotal.items, [1, 2])
      exceeded("total", byTotal.exit)
      const byAttempt = yield* collect(stack("1 minute").stream(makeSource(...waits).stream))
      assert.deepStrictEqual(byAttempt.items, [1, 2, 3])
      exceeded("attempt", byAttempt.exit)
    }))

  it.effect("end a stream that ends in time as it ends", () =>
    Effect.gen(function*() {
      const source = makeSource("1 second", "1 second")
      const policy = Deadline.make({ attempt: "3 seconds", idle: "2 seconds", cooperative: true })
      const { exit, items } = yield* collect(policy.stream(source.stream))
      assert.deepStrictEqual(items, [1, 2])
      assert.isTrue(Exit.isSuccess(exit))
      assert.deepStrictEqual(source.interrupted, [])
    }))

  it.effect("leave a source alone that another deadline, which is not cooperative, stands before", () =>
    Effect.gen(function*() {
      const source = makeSource("1 second", "1 second", "30 seconds")
      const policy = Policy.compose(Deadline.total("10 seconds", { cooperative: true }), Deadline.idle("1 minute"))
      const { exit, items } = yield* collect(policy.stream(source.stream))
      assert.deepStrictEqual(items, [1, 2])
      assert.deepStrictEqual(source.interrupted, [])
      exceeded("total", exit)
    }))

  it.effect("bound a source that claims nothing in place of one that did", () =>
    Effect.gen(function*() {
      const failing = Stream.mapEffect(makeSource("1 second").stream, () => Effect.fail("broken"))
      const slow = Stream.concat(Stream.make(1), Stream.fromEffect(Effect.as(Effect.sleep("20 seconds"), 2)))
      const fallback = yield* Fallback.make({}, Fallback.effect(Effect.succeed(0), { stream: () => slow }))
      const policy = Deadline.total("10 seconds", { cooperative: true })
      const { exit, items } = yield* collect(policy.stream(fallback.stream(failing)))
      assert.deepStrictEqual(items, [1])
      exceeded("total", exit)
    }))

  it.effect("bound a source that claims nothing", () =>
    Effect.gen(function*() {
      const slow = Stream.fromIterable([1, 2, 3]).pipe(
        Stream.rechunk(1),
        Stream.mapEffect((n) => Effect.as(Effect.sleep(n === 3 ? "20 seconds" : "1 second"), n))
      )
      const { exit, items } = yield* collect(Deadline.idle("10 seconds", { cooperative: true }).stream(slow))
      assert.deepStrictEqual(items, [1, 2])
      exceeded("idle", exit)
    }))
})
