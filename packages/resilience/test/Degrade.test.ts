import { CircuitBreaker, Degrade, Fallback, Outcome, Retry } from "@ballast/resilience"
import { interruptEverywhere } from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Ref, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Fault, metrics, withMetrics } from "./support.ts"

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

/** A dependency that counts how often it runs. */
const counted = () => {
  let executions = 0
  return { call: Effect.sync(() => ++executions), executions: () => executions }
}

describe("Degrade", () => {
  describe("by hand", () => {
    it.effect("turns calls away before they run, until it is flipped back", () =>
      Effect.gen(function*() {
        const degrade = yield* Degrade.make({ name: "search" })
        const { call, executions } = counted()
        assert.strictEqual(yield* degrade(call), 1)
        yield* degrade.set("degraded")
        const error = yield* Effect.flip(degrade(call))
        assert.strictEqual(error._tag, "Degraded")
        assert.strictEqual(error.message, "Calls are degraded by \"search\": it is switched on by hand")
        assert.deepStrictEqual(error[Outcome.key], Outcome.ignored({ executed: false }))
        assert.strictEqual(executions(), 1)
        yield* degrade.set("normal")
        assert.strictEqual(yield* degrade(call), 2)
      }))

    it.effect("wins over the condition, both ways", () =>
      Effect.gen(function*() {
        const condition = yield* Ref.make(true)
        const degrade = yield* Degrade.make({ when: Ref.get(condition), mode: "normal" })
        assert.strictEqual(yield* degrade(Effect.succeed("ok")), "ok")
        yield* Ref.set(condition, false)
        yield* degrade.set("degraded")
        assert.strictEqual((yield* Effect.flip(degrade(Effect.void))).because, "manual")
      }))

    it.effect("leaves calls under way alone", () =>
      Effect.gen(function*() {
        const degrade = yield* Degrade.make()
        const fiber = yield* start(degrade(Effect.as(Effect.sleep("1 second"), "ok")))
        yield* degrade.set("degraded")
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(fiber), "ok")
      }))

    it.effect("holds for an effect that was guarded before", () =>
      Effect.gen(function*() {
        const degrade = yield* Degrade.make()
        const guarded = degrade(Effect.succeed("ok"))
        yield* degrade.set("degraded")
        assert.isTrue(Exit.isFailure(yield* Effect.exit(guarded)))
      }))

    it.effect("refuses a mode that is none", () =>
      Effect.gen(function*() {
        const degrade = yield* Degrade.make()
        const wrong: Degrade.Mode = JSON.parse("\"off\"")
        const message = /mode must be automatic, degraded, normal, got off/
        assert.throws(() => Degrade.make({ mode: wrong }), RangeError, message)
        assert.throws(() => degrade.set(wrong), RangeError, message)
      }))
  })

  describe("automatic", () => {
    it.effect("asks its condition at each call", () =>
      Effect.gen(function*() {
        const condition = yield* Ref.make(false)
        const degrade = yield* Degrade.make({ when: Ref.get(condition) })
        assert.deepStrictEqual(yield* degrade.inspect, { mode: "automatic", degraded: false })
        yield* degrade(Effect.void)
        yield* Ref.set(condition, true)
        assert.deepStrictEqual(yield* degrade.inspect, { mode: "automatic", degraded: true })
        assert.strictEqual((yield* Effect.flip(degrade(Effect.void))).because, "automatic")
        yield* Ref.set(condition, false)
        yield* degrade(Effect.void)
      }))

    it.effect("follows a circuit, and lets its probe through", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ minimumCalls: 1, openDuration: "10 seconds" })
        const degrade = yield* Degrade.make({ when: Degrade.whileOpen(breaker) })
        const answers = yield* Fallback.make({ on: Fallback.tag("Degraded") }, Fallback.value("default"))
        let executions = 0
        const guarded = <E>(call: Effect.Effect<string, E>) =>
          Effect.tap(call, () => Effect.sync(() => executions++)).pipe(breaker, degrade, answers)
        yield* Effect.flip(guarded(Effect.fail(new Fault({}))))
        assert.strictEqual(yield* guarded(Effect.succeed("fresh")), "default")
        yield* TestClock.adjust("9999 millis")
        assert.strictEqual(yield* guarded(Effect.succeed("fresh")), "default")
        assert.strictEqual(executions, 0)
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* guarded(Effect.succeed("fresh")), "fresh")
        assert.strictEqual((yield* breaker.inspect)._tag, "Closed")
      }))

    it.effect("a circuit in shadow degrades nobody, an isolated one everybody", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ minimumCalls: 1 })
        const degrade = yield* Degrade.make({ when: Degrade.whileOpen(breaker) })
        yield* breaker.shadow
        yield* Effect.exit(breaker(Effect.fail(new Fault({}))))
        assert.strictEqual((yield* breaker.inspect)._tag, "Open")
        assert.strictEqual(yield* degrade(breaker(Effect.succeed("runs"))), "runs")
        yield* breaker.isolate
        assert.strictEqual((yield* Effect.flip(degrade(Effect.void)))._tag, "Degraded")
      }))

    it.effect("for each key follows the circuit of that key, also one that was made anew", () =>
      Effect.gen(function*() {
        const breakers = yield* CircuitBreaker.keyed({ minimumCalls: 1, openDuration: "1 hour" })
        const switches = yield* Degrade.keyed({ when: (key) => Effect.flatMap(breakers.get(key), Degrade.whileOpen) })
        const call = (key: string, answer: Effect.Effect<string, Fault>) =>
          Effect.exit(answer.pipe(breakers(key), switches(key)))
        assert.deepStrictEqual(yield* call("a", Effect.succeed("ok")), Exit.succeed("ok"))
        yield* TestClock.adjust("1 day")
        yield* call("b", Effect.succeed("ok"))
        assert.deepStrictEqual(yield* breakers.keys, ["b"])
        yield* call("a", Effect.fail(new Fault({})))
        const error = yield* Effect.flip(switches("a")(Effect.void))
        assert.strictEqual(error.because, "automatic")
        assert.deepStrictEqual(yield* call("b", Effect.succeed("ok")), Exit.succeed("ok"))
      }))

    it.effect("a defect of the condition is a defect of the call", () =>
      Effect.gen(function*() {
        const degrade = yield* Degrade.make({ when: Effect.die("boom") })
        assert.deepStrictEqual(yield* Effect.exit(degrade(Effect.void)), Exit.die("boom"))
        yield* degrade.set("normal")
        yield* degrade(Effect.void)
      }))
  })

  it.effect("turns a stream away before it is pulled, and not later", () =>
    Effect.gen(function*() {
      const degrade = yield* Degrade.make()
      const { call, executions } = counted()
      const stream = degrade.stream(Stream.mapEffect(Stream.make(0, 0), () => call))
      const items = yield* Stream.runCollect(Stream.tap(stream, () => degrade.set("degraded")))
      assert.deepStrictEqual(items, [1, 2])
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(stream)))._tag, "Degraded")
      assert.strictEqual(executions(), 2)
    }))

  it.effect("a retry around it does not try again", () =>
    Effect.gen(function*() {
      const degrade = yield* Degrade.make({ mode: "degraded" })
      const error = yield* Effect.flip(Retry.make()(degrade(Effect.void)))
      assert.strictEqual(error._tag, "Degraded")
    }))

  it.effect("tells what happens, and counts what it turns away", () =>
    Effect.gen(function*() {
      const degrade = yield* Degrade.make({ name: "search" })
      const listener = yield* start(Stream.runCollect(Stream.take(degrade.events, 3)))
      yield* degrade.set("automatic") // no change, no event
      yield* degrade.set("degraded")
      yield* Effect.exit(degrade(Effect.void))
      yield* degrade.set("normal")
      assert.deepStrictEqual(yield* Fiber.join(listener), [
        { _tag: "Switched", from: "automatic", to: "degraded" },
        { _tag: "Degraded", because: "manual" },
        { _tag: "Switched", from: "degraded", to: "normal" }
      ])
      assert.deepStrictEqual(yield* metrics, {
        "ballast_policy_rejections_total{name=search,policy=degrade}": 1
      })
    }).pipe(withMetrics))

  it.effect("has a switch for each key, kept while it is flipped", () =>
    Effect.gen(function*() {
      const switches = yield* Degrade.keyed({ idleTimeToLive: "1 minute" })
      yield* (yield* switches.get("a")).set("degraded")
      yield* switches("b")(Effect.void)
      yield* TestClock.adjust("10 minutes")
      yield* switches("c")(Effect.void)
      assert.deepStrictEqual([...yield* switches.keys].sort(), ["a", "c"])
      assert.isTrue(Exit.isFailure(yield* Effect.exit(switches("a")(Effect.void))))
    }))

  it.effect("1,000 concurrent calls are all turned away or all run", () =>
    Effect.gen(function*() {
      const degrade = yield* Degrade.make({ when: Effect.succeed(true) })
      const { call, executions } = counted()
      const all = Effect.forEach(Array.from({ length: 1_000 }), () => Effect.exit(degrade(call)), {
        concurrency: "unbounded"
      })
      assert.strictEqual((yield* all).filter(Exit.isFailure).length, 1_000)
      yield* degrade.set("normal")
      yield* all
      assert.strictEqual(executions(), 1_000)
    }))

  it.effect("an interruption at any step leaves nothing behind", () =>
    Effect.gen(function*() {
      const { interrupted } = yield* interruptEverywhere({
        setup: Degrade.make({ when: Effect.succeed(false) }),
        run: (degrade) => degrade(Effect.sleep("1 second")),
        check: (degrade) =>
          Effect.gen(function*() {
            assert.strictEqual(yield* degrade(Effect.succeed("ok")), "ok")
          })
      })
      assert.isAbove(interrupted, 0)
    }))

  it.effect("the no-op twin never turns a call away", () =>
    Effect.gen(function*() {
      yield* Degrade.noop.set("degraded")
      assert.strictEqual(yield* Degrade.noop(Effect.succeed("ok")), "ok")
      assert.deepStrictEqual(yield* Stream.runCollect(Degrade.noop.stream(Stream.make(1))), [1])
      assert.deepStrictEqual(yield* Degrade.noop.inspect, { mode: "normal", degraded: false })
    }))
})
