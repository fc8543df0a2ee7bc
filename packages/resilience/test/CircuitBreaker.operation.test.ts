import { CircuitBreaker } from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Stream } from "effect"
import { TestClock } from "effect/testing"
import { eventsOf, metrics, withMetrics } from "./support.ts"
import { begin, fail, halfOpened, ok, open, opened, times } from "./support/breaker.ts"

describe("CircuitBreaker", () => {
  describe("keyed", () => {
    const make = CircuitBreaker.keyed({ minimumCalls: 1, idleTimeToLive: "10 seconds", openDuration: "1 minute" })

    it.effect("opens for one key and not for another", () =>
      Effect.gen(function*() {
        const breaker = yield* make
        yield* Effect.exit(breaker("a")(fail))
        assert.strictEqual((yield* Effect.flip(breaker("a")(ok)))._tag, "CircuitOpen")
        assert.strictEqual(yield* breaker("b")(ok), "ok")
        assert.deepStrictEqual(yield* Stream.runCollect(breaker("b").stream(Stream.make(1))), [1])
        yield* (yield* breaker.get("a")).close
        assert.strictEqual(yield* breaker("a")(ok), "ok")
      }))

    /** The keys that are left when all have been idle for so long. */
    const left = Effect.fnUntraced(function*(
      prepare: (one: CircuitBreaker.CircuitBreaker) => Effect.Effect<unknown, CircuitBreaker.CircuitOpen>,
      idle: Duration.Input
    ) {
      const breaker = yield* make
      yield* prepare(yield* breaker.get("a"))
      yield* TestClock.adjust(idle)
      yield* breaker("b")(ok)
      return yield* breaker.keys
    })

    it.effect("drops a closed breaker that is idle", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* left((one) => times(3, one(ok)), 9_999), ["a", "b"])
        assert.deepStrictEqual(yield* left((one) => times(3, one(ok)), 10_000), ["b"])
      }))

    for (
      const [what, trip] of [
        ["a window of time", CircuitBreaker.timeWindow({ window: "1 minute", minimumCalls: 3 })],
        [
          "one in a combination",
          CircuitBreaker.anyOf(CircuitBreaker.consecutive(9), CircuitBreaker.timeWindow({ window: "1 minute" }))
        ]
      ] as const
    ) {
      it.effect(`keeps a closed breaker for as long as its calls count in ${what}`, () =>
        Effect.gen(function*() {
          const breaker = yield* CircuitBreaker.keyed({ trip, idleTimeToLive: "10 seconds" })
          yield* Effect.exit(breaker("a")(fail))
          yield* TestClock.adjust(59_999)
          yield* breaker("b")(ok)
          assert.deepStrictEqual(yield* breaker.keys, ["a", "b"])
          yield* TestClock.adjust(10_000)
          yield* breaker("c")(ok)
          assert.deepStrictEqual(yield* breaker.keys, ["b", "c"])
        }))
    }

    it.effect("keeps an open breaker until its open time is over for as long as it was", () =>
      Effect.gen(function*() {
        const openIt = (one: CircuitBreaker.CircuitBreaker) => Effect.exit(one(fail))
        assert.deepStrictEqual(yield* left(openIt, 119_999), ["a", "b"])
        assert.deepStrictEqual(yield* left(openIt, 120_000), ["b"])
      }))

    it.effect("keeps a half-open breaker for as long", () =>
      Effect.gen(function*() {
        const probeIt = Effect.fnUntraced(function*(one: CircuitBreaker.CircuitBreaker) {
          yield* Effect.exit(one(fail))
          yield* TestClock.adjust("1 minute")
          yield* (yield* begin(one)).interrupt
        })
        assert.deepStrictEqual(yield* left(probeIt, 59_999), ["a", "b"])
        assert.deepStrictEqual(yield* left(probeIt, 60_000), ["b"])
      }))

    it.effect("keeps a half-open breaker while one of its probes is within its limit", () =>
      Effect.gen(function*() {
        const probing = Effect.fnUntraced(function*(one: CircuitBreaker.CircuitBreaker) {
          yield* Effect.exit(one(fail))
          yield* TestClock.adjust("1 minute")
          yield* begin(one)
        })
        assert.deepStrictEqual(yield* left(probing, 299_999), ["a", "b"])
        assert.deepStrictEqual(yield* left(probing, 300_000), ["b"])
      }))

    it.effect("keeps one that has closed for as long as it was open", () =>
      Effect.gen(function*() {
        const closeIt = Effect.fnUntraced(function*(one: CircuitBreaker.CircuitBreaker) {
          yield* Effect.exit(one(fail))
          yield* TestClock.adjust("1 minute")
          yield* one(ok)
        })
        assert.deepStrictEqual(yield* left(closeIt, 59_999), ["a", "b"])
        assert.deepStrictEqual(yield* left(closeIt, 60_000), ["b"])
      }))

    it.effect("drops one that was closed by hand", () =>
      Effect.gen(function*() {
        const closeIt = (one: CircuitBreaker.CircuitBreaker) => Effect.andThen(one.open("1 hour"), one.close)
        assert.deepStrictEqual(yield* left(closeIt, 10_000), ["b"])
      }))

    it.effect("keeps what was set by hand", () =>
      Effect.gen(function*() {
        for (const hand of ["isolate", "disable", "shadow"] as const) {
          assert.deepStrictEqual(yield* left((one) => one[hand], "1 day"), ["a", "b"])
        }
      }))

    it.effect("does not pile up when keys that fail come from outside", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.keyed({
          trip: CircuitBreaker.consecutive(2),
          openDuration: "1 second",
          idleTimeToLive: "10 seconds"
        })
        for (let n = 0; n < 3_000; n++) {
          yield* TestClock.adjust(10)
          yield* times(1 + n % 2, breaker(`key ${n}`)(fail))
        }
        assert.isAtMost((yield* breaker.keys).length, 1_600)
      }))

    it.effect("needs no options", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.keyed()
        yield* times(10, breaker("a")(fail))
        assert.deepStrictEqual(yield* (yield* breaker.get("a")).inspect, open("30 seconds"))
      }))

    it("refuses nonsense in its own name", () => {
      assert.throws(() => CircuitBreaker.keyed({ probes: 0 }), RangeError, "CircuitBreaker.keyed: probes must be")
    })
  })

  describe("events", () => {
    const tags = (events: ReadonlyArray<Testing.Recorded<CircuitBreaker.Event>>) => events.map(({ event }) => event)
    const transitioned = (
      from: CircuitBreaker.State["_tag"],
      to: CircuitBreaker.State["_tag"],
      because: CircuitBreaker.Because,
      openFor?: Duration.Duration,
      shadow = false
    ): CircuitBreaker.Event => ({ _tag: "Transitioned", from, to, because, openFor, shadow })

    it.effect("tell transitions and rejections", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ minimumCalls: 1 })
        const recorded = yield* Testing.record(breaker.events)
        yield* Effect.exit(breaker(fail))
        yield* TestClock.adjust("29 seconds")
        yield* Effect.exit(breaker(ok))
        yield* TestClock.adjust("1 second")
        const probe = yield* begin(breaker)
        yield* Effect.exit(breaker(ok))
        yield* probe.fail
        yield* TestClock.adjust("30 seconds")
        yield* breaker(ok)
        assert.deepStrictEqual(tags(yield* recorded), [
          transitioned("Closed", "Open", "failure-rate", Duration.seconds(30)),
          { _tag: "Rejected", state: "open", retryAfter: Duration.seconds(1) },
          transitioned("Open", "HalfOpen", "open-time-over"),
          { _tag: "Rejected", state: "half-open", retryAfter: undefined },
          transitioned("HalfOpen", "Open", "probes-failed", Duration.seconds(30)),
          transitioned("Open", "HalfOpen", "open-time-over"),
          transitioned("HalfOpen", "Closed", "probes-succeeded")
        ])
      }))

    it.effect("tell which rule was met", () =>
      Effect.gen(function*() {
        const because = Effect.fnUntraced(function*(trip: CircuitBreaker.Trip) {
          const breaker = yield* CircuitBreaker.make({
            trip,
            classify: () => ({ _tag: "Failure", retryable: true, slow: true })
          })
          const recorded = yield* Testing.record(breaker.events)
          yield* Effect.exit(breaker(fail))
          const [first] = tags(yield* recorded)
          return first?._tag === "Transitioned" ? first.because : undefined
        })
        const { allOf, anyOf, consecutive, consecutiveSlow, countWindow, timeWindow } = CircuitBreaker
        const slow = countWindow({ size: 1, slowRate: 1 })
        assert.strictEqual(yield* because(consecutive(1)), "consecutive")
        assert.strictEqual(yield* because(consecutiveSlow(1)), "consecutive")
        assert.strictEqual(yield* because(slow), "slow-rate")
        assert.strictEqual(yield* because(timeWindow({ minimumCalls: 1 })), "failure-rate")
        assert.strictEqual(yield* because(anyOf(consecutive(2), slow)), "slow-rate")
        assert.strictEqual(yield* because(allOf(consecutive(1), slow)), "consecutive")
      }))

    it.effect("tell what is done by hand", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ minimumCalls: 1 })
        const recorded = yield* Testing.record(breaker.events)
        yield* breaker.close
        yield* breaker.isolate
        yield* breaker.isolate
        yield* Effect.exit(breaker(ok))
        yield* breaker.disable
        yield* breaker.open("1 second")
        yield* breaker.shadow
        yield* breaker.shadow
        yield* breaker(ok)
        yield* breaker.import(yield* breaker.export)
        yield* breaker.automatic
        assert.deepStrictEqual(tags(yield* recorded), [
          transitioned("Closed", "Closed", "manual"),
          transitioned("Closed", "Isolated", "manual"),
          { _tag: "Rejected", state: "isolated", retryAfter: undefined },
          transitioned("Isolated", "Disabled", "manual"),
          transitioned("Disabled", "Open", "manual", Duration.seconds(1)),
          { _tag: "ShadowChanged", shadow: true },
          { _tag: "Spared", state: "open" },
          transitioned("Open", "Open", "imported", Duration.seconds(1), true),
          { _tag: "ShadowChanged", shadow: false }
        ])
      }))

    it.effect("tell of nobody spared while disabled", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ name: "catalogue" })
        yield* breaker.disable
        const recorded = yield* Testing.record(breaker.events)
        yield* times(3, breaker(fail))
        assert.deepStrictEqual(tags(yield* recorded), [])
        assert.notProperty(yield* metrics, "ballast_circuit_breaker_spared_total{name=catalogue}")
      }).pipe(withMetrics))

    it.effect("tell that a probe was replaced", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ probes: 3, probeThreshold: 2, probeTimeout: "1 second" })
        yield* breaker(ok)
        yield* times(1, breaker(fail))
        yield* begin(breaker)
        const recorded = yield* Testing.record(breaker.events)
        yield* TestClock.adjust("1 second")
        yield* begin(breaker)
        assert.deepStrictEqual(tags(yield* recorded), [{ _tag: "ProbeReplaced" }])
      }))

    it.effect("tell nothing of a probe that found a free slot", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ probes: 2 })
        yield* begin(breaker)
        const recorded = yield* Testing.record(breaker.events)
        yield* begin(breaker)
        assert.deepStrictEqual(tags(yield* recorded), [])
      }))
  })

  describe("telemetry", () => {
    const gauge = "ballast_circuit_breaker_state{name=catalogue}"

    it.effect("counts transitions and rejections, and shows the state", () =>
      Effect.gen(function*() {
        const breaker = yield* opened({ name: "catalogue" })
        assert.strictEqual((yield* metrics)[gauge], 2)
        yield* Effect.exit(breaker(ok))
        yield* TestClock.adjust("30 seconds")
        const probe = yield* begin(breaker)
        assert.strictEqual((yield* metrics)[gauge], 1)
        yield* probe.succeed
        const transition = (from: string, to: string) =>
          `ballast_circuit_breaker_transitions_total{from=${from},name=catalogue,to=${to}}`
        const seen = {
          [gauge]: 0,
          [transition("closed", "open")]: 1,
          [transition("open", "half-open")]: 1,
          [transition("half-open", "closed")]: 1,
          "ballast_policy_rejections_total{name=catalogue,policy=circuit-breaker}": 1
        }
        assert.deepStrictEqual(yield* metrics, seen)
        yield* breaker.close
        assert.deepStrictEqual(yield* metrics, seen)
        yield* breaker.isolate
        assert.strictEqual((yield* metrics)[gauge], 3)
        yield* breaker.disable
        assert.strictEqual((yield* metrics)[gauge], 4)
      }).pipe(withMetrics))

    it.effect("shows a closed circuit from the start", () =>
      Effect.gen(function*() {
        yield* CircuitBreaker.make({ name: "catalogue" })
        assert.deepStrictEqual(yield* metrics, { [gauge]: 0 })
      }).pipe(withMetrics))

    it.effect("counts whom shadow spares, and shows shadow", () =>
      Effect.gen(function*() {
        const breaker = yield* opened({ name: "catalogue" })
        yield* breaker.shadow
        yield* times(3, breaker(ok))
        assert.deepInclude(yield* metrics, {
          "ballast_circuit_breaker_spared_total{name=catalogue}": 3,
          "ballast_circuit_breaker_shadow{name=catalogue}": 1
        })
        yield* breaker.automatic
        assert.strictEqual((yield* metrics)["ballast_circuit_breaker_shadow{name=catalogue}"], 0)
      }).pipe(withMetrics))

    it.effect("puts transitions into the caller's span", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ name: "catalogue", minimumCalls: 1 })
        assert.deepStrictEqual(yield* eventsOf(Effect.andThen(Effect.exit(breaker(fail)), breaker.open())), [
          { name: "ballast.circuit", attributes: { name: "catalogue", from: "closed", to: "open" } }
        ])
      }))
  })

  it.effect("an error made by hand is one of an open circuit", () =>
    Effect.sync(() => {
      const error = new CircuitBreaker.CircuitOpen({ breaker: "catalogue", retryAfter: undefined })
      assert.strictEqual(error.state, "open")
      assert.strictEqual(error.message, "Circuit breaker \"catalogue\" is open: a probe is running")
      assert.isTrue(Exit.isFailure(Exit.fail(error)))
    }))
})
