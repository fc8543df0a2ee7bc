import { CircuitBreaker, Outcome } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Fault } from "./support.ts"
import { begin, closed, fail, halfOpen, halfOpened, ok, tagOf, times } from "./support/breaker.ts"
import { interruptEverywhere } from "./support/interruption.ts"

const many = 1_000

/** So many callers at once, whose calls end when they are told. */
const crowd = Effect.fnUntraced(function*(breaker: CircuitBreaker.CircuitBreaker) {
  const answer = yield* Deferred.make<string, Fault>()
  let executions = 0
  const call = breaker(Effect.suspend(() => {
    executions++
    return Deferred.await(answer)
  }))
  const fibers = yield* Effect.forEach(
    Array.from({ length: many }),
    () => Effect.forkChild(call, { startImmediately: true })
  )
  return { answer, exits: Fiber.awaitAll(fibers), fibers, executions: () => executions }
})

describe("CircuitBreaker", () => {
  describe("a thousand callers", () => {
    it.effect("all run while closed, and open the circuit once", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        const { answer, executions, exits } = yield* crowd(breaker)
        assert.strictEqual(executions(), many)
        yield* Deferred.fail(answer, new Fault({}))
        yield* exits
        const state = yield* breaker.export
        assert.strictEqual(state.openings, 1)
        assert.strictEqual(state.phase._tag, "Open")
      }))

    it.effect("are rejected at once while half-open, all but the probes", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ probes: 7, probeThreshold: 4 })
        const { answer, executions, exits, fibers } = yield* crowd(breaker)
        assert.strictEqual(executions(), 7)
        assert.strictEqual(fibers.filter((fiber) => fiber.pollUnsafe() === undefined).length, 7)
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(7, 0))
        yield* Deferred.succeed(answer, "ok")
        const ended = yield* exits
        assert.strictEqual(ended.filter(Exit.isSuccess).length, 7)
        const rejections = ended.flatMap((exit) => Exit.isFailure(exit) ? [Cause.squash(exit.cause)] : [])
        assert.isTrue(
          rejections.every((error) => error instanceof CircuitBreaker.CircuitOpen && error.state === "half-open")
        )
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
      }))

    it.effect("that are interrupted leave nothing behind", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ probes: 7 })
        const { fibers } = yield* crowd(breaker)
        yield* Fiber.interruptAll(fibers)
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(0, 0))
        yield* times(7, breaker(ok))
        assert.strictEqual(yield* tagOf(breaker), "Closed")
      }))
  })

  describe("interrupted at every step", () => {
    /** A breaker whose next two callers are probes. */
    const setup = Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make({ probes: 2, probeThreshold: 2 })
      yield* breaker.open(1)
      yield* TestClock.adjust(1)
      return breaker
    })

    // Between the end of its call and its own, a fiber may be interrupted whose call has been counted.
    const oneOf = (states: ReadonlyArray<CircuitBreaker.State>, exit: Exit.Exit<unknown, unknown>) =>
      Exit.isSuccess(exit) ? states.slice(1) : states

    const noSlotLost = (breaker: CircuitBreaker.CircuitBreaker, exit: Exit.Exit<unknown, unknown>) =>
      Effect.gen(function*() {
        assert.deepInclude(oneOf([halfOpen(0, 0), halfOpen(0, 1)], exit), yield* breaker.inspect)
        yield* times(2, breaker(ok))
        assert.strictEqual(yield* tagOf(breaker), "Closed")
      })

    it.effect("a probe gives its slot back", () =>
      Effect.gen(function*() {
        const report = yield* interruptEverywhere({
          setup,
          run: (breaker) => breaker(Effect.sleep("1 second")),
          check: noSlotLost
        })
        assert.isAbove(report.interrupted, report.runs / 2)
      }), 60_000)

    it.effect("a probe of a stream gives its slot back", () =>
      Effect.gen(function*() {
        yield* interruptEverywhere({
          setup,
          run: (breaker) => Stream.runDrain(breaker.stream(Stream.fromEffect(Effect.sleep("1 second")))),
          check: noSlotLost
        })
      }), 60_000)

    it.effect("a probe beside another one leaves that alone", () =>
      Effect.gen(function*() {
        yield* interruptEverywhere({
          setup,
          run: (breaker) => breaker(Effect.sleep("1 second")),
          beside: (breaker) => breaker(Effect.sleep("2 seconds")),
          check: (breaker, exit) =>
            Effect.gen(function*() {
              assert.deepInclude(oneOf([halfOpen(0, 1), closed(0, 0)], exit), yield* breaker.inspect)
            })
        })
      }), 60_000)

    it.effect("a call of a closed circuit counts only when it ends", () =>
      Effect.gen(function*() {
        yield* interruptEverywhere({
          setup: CircuitBreaker.make({ slowAfter: "1 second" }),
          run: (breaker) => breaker(Effect.sleep("1 second")),
          check: (breaker, exit) =>
            Effect.gen(function*() {
              assert.deepInclude(oneOf([closed(0, 0), closed(1, 0, 1)], exit), yield* breaker.inspect)
            })
        })
      }), 60_000)

    it.effect("a rejected caller changes nothing", () =>
      Effect.gen(function*() {
        yield* interruptEverywhere({
          setup: Effect.gen(function*() {
            const breaker = yield* CircuitBreaker.make()
            yield* breaker.open("1 hour")
            return breaker
          }),
          run: (breaker) => breaker(Effect.sleep("1 second")),
          check: (breaker, exit) =>
            Effect.gen(function*() {
              assert.isTrue(Exit.isFailure(exit))
              assert.strictEqual(yield* tagOf(breaker), "Open")
            })
        })
      }), 60_000)

    it.effect("a listener leaves", () =>
      Effect.gen(function*() {
        yield* interruptEverywhere({
          setup: CircuitBreaker.make({ minimumCalls: 1 }),
          run: (breaker) => Stream.runDrain(Stream.take(breaker.events, 1)),
          beside: (breaker) => Effect.delay(Effect.exit(breaker(fail)), "1 second"),
          check: (breaker) => Effect.map(tagOf(breaker), (tag) => assert.strictEqual(tag, "Open"))
        })
      }), 60_000)
  })

  describe("a classifier that steers the breaker itself", () => {
    it.effect("makes the result void that it judges", () =>
      Effect.gen(function*() {
        let control: Effect.Effect<void> = Effect.void
        const breaker = yield* CircuitBreaker.make({
          minimumCalls: 1,
          classify: (exit) => {
            Effect.runSync(control)
            return Outcome.classify(exit)
          }
        })
        control = breaker.close
        yield* times(1, breaker(fail))
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
        control = breaker.isolate
        yield* times(1, breaker(fail))
        assert.strictEqual(yield* tagOf(breaker), "Isolated")
      }))
  })

  describe("a defect", () => {
    it.effect("in a probe is a bad one", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened()
        assert.deepStrictEqual(yield* Effect.exit(breaker(Effect.die("boom"))), Exit.die("boom"))
        assert.strictEqual(yield* tagOf(breaker), "Open")
      }))

    it.effect("in the classifier counts for nothing, and is told", () =>
      Effect.gen(function*() {
        let broken = true
        const breaker = yield* CircuitBreaker.make({
          minimumCalls: 1,
          classify: (exit) => {
            if (broken) throw new Error("broken classifier")
            return Outcome.classify(exit)
          }
        })
        assert.isTrue(Exit.hasDies(yield* Effect.exit(breaker(fail))))
        assert.isTrue(Exit.hasDies(yield* Effect.exit(Stream.runDrain(breaker.stream(Stream.make(1))))))
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
        broken = false
        yield* breaker(ok)
        assert.deepStrictEqual(yield* breaker.inspect, closed(1, 0))
      }))

    it.effect("cannot come of a result that is void: the classifier is not asked", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({
          classify: () => {
            throw new Error("asked")
          }
        })
        const call = yield* begin(breaker)
        yield* breaker.close
        assert.deepStrictEqual(yield* call.succeed, Exit.succeed("ok"))
      }))

    it.effect("in the classifier of a stream gives the probe slot back", () =>
      Effect.gen(function*() {
        let broken = false
        const breaker = yield* halfOpened({
          classify: (exit) => {
            if (broken) throw new Error("broken classifier")
            return Outcome.classify(exit)
          }
        })
        broken = true
        yield* Effect.exit(Stream.runDrain(breaker.stream(Stream.make(1))))
        assert.deepStrictEqual(yield* breaker.inspect, halfOpen(0, 0))
      }))
  })
})
