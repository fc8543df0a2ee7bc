import { AnswerMemory, Limits } from "@ballast/chat"
import { interruptEverywhere } from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"

const unit = 100 * Limits.limits.freeAnswer

/** A reader of an answer, and whether its wait is over. */
const reader = Effect.fnUntraced(function*(memory: AnswerMemory.AnswerMemory) {
  const scope = yield* Scope.make()
  const hold = yield* memory.hold(scope)
  return { hold, end: Scope.close(scope, Exit.void) }
})

const wait = (hold: AnswerMemory.Hold) => Effect.forkChild(hold.turn, { startImmediately: true })
const isOver = (fiber: Fiber.Fiber<void>) => Effect.as(Effect.yieldNow, fiber.pollUnsafe() !== undefined)

describe("AnswerMemory", () => {
  it.effect("does not count what is small", () =>
    Effect.gen(function*() {
      const memory = AnswerMemory.make(unit)
      const [large, small] = [yield* reader(memory), yield* reader(memory)]
      assert.isFalse(large.hold.set(unit + 1))
      assert.isTrue(small.hold.set(Limits.limits.freeAnswer))
      assert.deepStrictEqual(yield* memory.inspect, { capacity: unit, reading: unit + 1, kept: 0 })
      assert.isFalse(small.hold.set(Limits.limits.freeAnswer + 1))
    }))

  it.effect("lets the first that waits go on, and the others when there is room", () =>
    Effect.gen(function*() {
      const memory = AnswerMemory.make(2 * unit)
      const [first, second, third] = [yield* reader(memory), yield* reader(memory), yield* reader(memory)]
      assert.deepStrictEqual([first, second, third].map(({ hold }) => hold.set(unit)), [true, true, false])
      yield* first.hold.turn
      const waiting = [yield* wait(second.hold), yield* wait(third.hold)]
      assert.isFalse(first.hold.set(3 * unit))
      yield* first.hold.turn
      assert.deepStrictEqual(yield* Effect.forEach(waiting, isOver), [false, false])
      yield* first.end
      yield* Effect.forEach(waiting, Fiber.join)
      yield* second.end
      yield* third.end
      assert.strictEqual((yield* memory.inspect).reading, 0)
    }))

  it.effect("forgets a reader that is interrupted while it waits", () =>
    Effect.gen(function*() {
      const memory = AnswerMemory.make(unit)
      const other = yield* reader(memory)
      other.hold.set(2 * unit)
      yield* other.hold.turn
      const next = yield* reader(memory)
      next.hold.set(unit)
      const interrupted = yield* Effect.forkChild(
        Effect.scopedWith((scope) =>
          Effect.flatMap(memory.hold(scope), (hold) => {
            hold.set(unit)
            return hold.turn
          })
        ),
        { startImmediately: true }
      )
      const waiting = yield* wait(next.hold)
      yield* Fiber.interrupt(interrupted)
      assert.strictEqual((yield* memory.inspect).reading, 3 * unit)
      yield* other.end
      yield* Fiber.join(waiting)
    }))

  it.effect("counts what is kept, which the first one waits for too", () =>
    Effect.gen(function*() {
      const memory = AnswerMemory.make(unit)
      const kept = yield* Scope.make()
      yield* memory.keep(kept, 2 * unit)
      const { end, hold } = yield* reader(memory)
      assert.isFalse(hold.set(unit))
      const waiting = yield* wait(hold)
      assert.isFalse(yield* isOver(waiting))
      yield* Scope.close(kept, Exit.void)
      yield* Fiber.join(waiting)
      yield* end
      assert.deepStrictEqual(yield* memory.inspect, { capacity: unit, reading: 0, kept: 0 })
    }))

  it.effect("keeps nothing for a reader that was interrupted", () =>
    interruptEverywhere({
      setup: Effect.sync(() => AnswerMemory.make(unit)),
      run: (memory) => Effect.scopedWith((scope) => memory.keep(scope, unit)),
      check: (memory) => Effect.map(memory.inspect, ({ kept }) => assert.strictEqual(kept, 0)),
      budgets: [3, 4, 5, 7]
    }))
})
