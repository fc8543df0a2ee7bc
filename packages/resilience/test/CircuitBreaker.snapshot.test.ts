import { CircuitBreaker, Outcome } from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Exit, Schedule, Schema } from "effect"
import { TestClock } from "effect/testing"
import { begin, closed, fail, halfOpen, halfOpened, ok, open, opened, tagOf, times } from "./support/breaker.ts"

const slow = Effect.succeed("slow")

/** Takes the answer "slow" for a slow one. */
const classify = (exit: Exit.Exit<unknown, unknown>) =>
  exit._tag === "Success" && exit.value === "slow" ? Outcome.slowSuccess : Outcome.classify(exit)

/** What another process reads of an exported state. */
const json = (breaker: CircuitBreaker.CircuitBreaker) =>
  Effect.map(breaker.export, (state): unknown => JSON.parse(JSON.stringify(state)))

const moved = (from: CircuitBreaker.CircuitBreaker, options?: CircuitBreaker.Options) =>
  Effect.gen(function*() {
    const to = yield* CircuitBreaker.make({ minimumCalls: 1, ...options })
    yield* to.import(yield* json(from))
    return to
  })

describe("CircuitBreaker", () => {
  describe("export and import", () => {
    it.effect("give back what was written down", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        yield* times(3, breaker(fail))
        const state = yield* json(breaker)
        assert.deepStrictEqual(state, {
          version: 1,
          shadow: false,
          openings: 0,
          openFor: 0,
          byHand: false,
          phase: {
            _tag: "Closed",
            closedFor: 0,
            counter: { _tag: "TimeWindow", slices: [{ age: -500, calls: 3, failures: 3, slow: 0 }] }
          }
        })
        assert.deepStrictEqual(Schema.decodeUnknownSync(CircuitBreaker.Snapshot)(state), yield* breaker.export)
      }))

    it.effect("carry an open circuit over to another clock", () =>
      Effect.gen(function*() {
        const breaker = yield* opened({ openDuration: Schedule.exponential("10 seconds") })
        yield* TestClock.adjust("4 seconds")
        const state = yield* json(breaker)
        yield* TestClock.adjust("1 day")
        const other = yield* CircuitBreaker.make({ openDuration: Schedule.exponential("10 seconds") })
        yield* other.import(state)
        assert.deepStrictEqual(yield* other.inspect, open("6 seconds"))
        yield* TestClock.adjust("6 seconds")
        yield* Effect.exit(other(fail))
        assert.deepStrictEqual(yield* other.inspect, open("20 seconds", 2))
      }))

    it.effect("carry an opening over for no longer than the longest where it goes on", () =>
      Effect.gen(function*() {
        const breaker = yield* opened({ openDuration: "4 minutes" })
        const options = { maxOpenDuration: "1 minute" } as const
        assert.deepStrictEqual(yield* (yield* moved(breaker, options)).inspect, open("1 minute"))
        const state = yield* breaker.export
        const other = yield* CircuitBreaker.make(options)
        yield* other.import({ ...state, openFor: 1e12, phase: { _tag: "Open", left: 1e12 } })
        assert.deepStrictEqual(yield* other.inspect, open("1 minute"))
        assert.strictEqual((yield* other.export).openFor, 60_000)
      }))

    it.effect("keep the time of a circuit that was opened by hand, until it opens by itself", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ minimumCalls: 1 })
        yield* breaker.open("1 hour")
        const twice = yield* moved(yield* moved(breaker))
        assert.deepStrictEqual(yield* twice.inspect, open("1 hour"))
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(yield* (yield* moved(twice)).export, yield* twice.export)
        yield* times(1, twice(fail))
        const state = yield* twice.export
        yield* twice.import({ ...state, phase: { _tag: "Open", left: 1e12 } })
        assert.deepStrictEqual(yield* twice.inspect, open("5 minutes", 2))
        yield* twice.open()
        assert.isFalse((yield* twice.export).byHand)
        yield* breaker.open("1 hour")
        yield* breaker.close
        assert.isFalse((yield* breaker.export).byHand)
      }))

    it.effect("go on from a state that does not say who opened it", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        yield* breaker.open("1 hour")
        const { byHand: _, ...state } = yield* breaker.export
        yield* breaker.import(state)
        assert.deepStrictEqual(yield* breaker.inspect, open("5 minutes"))
      }))

    it.effect("carry an open circuit over whose time is over", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened()
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(yield* (yield* moved(breaker)).inspect, halfOpen(0, 0))
      }))

    it.effect("carry what probes said over, and leave their slots free", () =>
      Effect.gen(function*() {
        const options = { probes: 5, probeThreshold: 3 }
        const breaker = yield* halfOpened(options)
        yield* breaker(ok)
        yield* times(2, breaker(fail))
        yield* begin(breaker)
        yield* TestClock.adjust("3 seconds")
        const phase = { _tag: "HalfOpen" as const, halfOpenFor: 3_000, succeeded: 1, failed: 2 }
        assert.deepStrictEqual((yield* breaker.export).phase, phase)
        const other = yield* moved(breaker, options)
        assert.deepStrictEqual(yield* other.inspect, halfOpen(0, 1, 2))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual((yield* other.export).phase, { ...phase, halfOpenFor: 4_000 })
        yield* times(2, other(ok))
        assert.strictEqual(yield* tagOf(other), "Closed")
      }))

    it.effect("end a half-open phase that is decided where it goes on", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ probes: 5, probeThreshold: 3 })
        yield* times(2, breaker(ok))
        assert.strictEqual(yield* tagOf(yield* moved(breaker, { probes: 2 })), "Closed")
        yield* times(2, breaker(fail))
        assert.deepStrictEqual(
          yield* (yield* moved(breaker, { probes: 4, probeThreshold: 3 })).inspect,
          open("30 seconds", 2)
        )
      }))

    it.effect("tell that a half-open phase goes on, and how it is decided", () =>
      Effect.gen(function*() {
        const breaker = yield* halfOpened({ probes: 5, probeThreshold: 3 })
        yield* times(2, breaker(ok))
        const state = yield* json(breaker)
        const told = Effect.fnUntraced(function*(options: CircuitBreaker.Options) {
          const other = yield* CircuitBreaker.make(options)
          const recorded = yield* Testing.record(other.events)
          yield* other.import(state)
          return (yield* recorded).map(({ event }) => event)
        })
        const imported: CircuitBreaker.Event = {
          _tag: "Transitioned",
          from: "Closed",
          to: "HalfOpen",
          because: "imported",
          openFor: undefined,
          shadow: false
        }
        const decided: CircuitBreaker.Event = {
          ...imported,
          from: "HalfOpen",
          to: "Closed",
          because: "probes-succeeded"
        }
        assert.deepStrictEqual(yield* told({ probes: 5, probeThreshold: 3 }), [imported])
        assert.deepStrictEqual(yield* told({ probes: 2 }), [imported, decided])
      }))

    it.effect("carry the row of openings over, and how long it has been closed", () =>
      Effect.gen(function*() {
        const options = { minimumCalls: 1, openDuration: Schedule.exponential("10 seconds") }
        for (const [closedFor, expected] of [[9_999, open("20 seconds", 2)], [10_000, open("10 seconds")]] as const) {
          const breaker = yield* opened(options)
          yield* TestClock.adjust("10 seconds")
          yield* breaker(ok)
          yield* TestClock.adjust(closedFor)
          const other = yield* moved(breaker, options)
          yield* Effect.exit(other(fail))
          assert.deepStrictEqual(yield* other.inspect, expected)
        }
      }))

    it.effect("carry isolation, disablement and shadow over", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        yield* breaker.shadow
        assert.deepStrictEqual(yield* (yield* moved(breaker)).inspect, {
          _tag: "Closed",
          calls: 0,
          failures: 0,
          slow: 0,
          shadow: true
        })
        yield* breaker.isolate
        assert.deepStrictEqual(yield* (yield* moved(breaker)).inspect, { _tag: "Isolated" })
        yield* breaker.disable
        assert.deepStrictEqual(yield* (yield* moved(breaker)).inspect, { _tag: "Disabled" })
      }))

    it.effect("reject everybody when isolated, though the state claims shadow too", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        yield* breaker.isolate
        yield* breaker.import({ ...(yield* breaker.export), shadow: true })
        assert.isFalse(yield* breaker.peek)
        assert.strictEqual((yield* Effect.flip(breaker(ok))).state, "isolated")
        assert.isFalse((yield* breaker.export).shadow)
        yield* breaker.disable
        yield* breaker.import({ ...(yield* breaker.export), shadow: true })
        assert.isFalse((yield* breaker.export).shadow)
      }))

    it.effect("begin a new era", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ minimumCalls: 1 })
        const call = yield* begin(breaker)
        yield* breaker.import(yield* json(breaker))
        yield* call.fail
        assert.deepStrictEqual(yield* breaker.inspect, closed(0, 0))
      }))
  })

  describe("exported counts", () => {
    const { allOf, anyOf, consecutive, consecutiveSlow, countWindow, timeWindow } = CircuitBreaker

    const carried = Effect.fnUntraced(function*(from: CircuitBreaker.Trip, to: CircuitBreaker.Trip, calls: string) {
      const breaker = yield* CircuitBreaker.make({ trip: from, classify })
      for (const call of calls) yield* Effect.exit(breaker(call === "x" ? fail : call === "s" ? slow : ok))
      const other = yield* moved(breaker, { trip: to, minimumCalls: undefined })
      return yield* other.inspect
    })

    it.effect("go on in a rule of the same kind", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* carried(consecutiveSlow(5), consecutiveSlow(9), ".ss"), closed(2, 0, 2))
        assert.deepStrictEqual(yield* carried(timeWindow(), timeWindow(), "sxs"), closed(3, 1, 2))
        assert.deepStrictEqual(yield* carried(consecutive(5), consecutive(9), ".xxx"), closed(3, 3))
        assert.deepStrictEqual(yield* carried(timeWindow(), timeWindow({ window: "1 minute" }), "..x"), closed(3, 1))
        const [small, large] = [countWindow({ size: 3 }), countWindow({ size: 5 })]
        assert.deepStrictEqual(yield* carried(large, small, "xx.."), closed(3, 1))
        assert.deepStrictEqual(yield* carried(large, large, "xx.."), closed(4, 2))
        assert.deepStrictEqual(
          yield* carried(countWindow({ size: 3, failureRate: 1 }), large, "xxx.x.x"),
          { ...open("30 seconds") }
        )
      }))

    it.effect("of the last calls are in the order in which those ended", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ trip: countWindow({ size: 3, failureRate: 1 }), classify })
        const calls = Effect.map(breaker.export, ({ phase }) => phase._tag === "Closed" ? phase.counter : undefined)
        yield* times(1, breaker(fail))
        yield* breaker(ok)
        assert.deepStrictEqual(yield* calls, { _tag: "CountWindow", calls: [1, 0] })
        yield* breaker(slow)
        assert.deepStrictEqual(yield* calls, { _tag: "CountWindow", calls: [1, 0, 2] })
        yield* breaker(ok)
        assert.deepStrictEqual(yield* calls, { _tag: "CountWindow", calls: [0, 2, 0] })
        yield* times(1, breaker(fail))
        assert.deepStrictEqual(yield* calls, { _tag: "CountWindow", calls: [2, 0, 1] })
      }))

    it.effect("of a full window go on with its last calls", () =>
      Effect.gen(function*() {
        const never = countWindow({ size: 3, slowRate: 1 })
        assert.deepStrictEqual(yield* carried(never, countWindow({ size: 5, slowRate: 1 }), "xxx.x"), closed(3, 2))
        assert.deepStrictEqual(yield* carried(never, countWindow({ size: 2, slowRate: 1 }), "x..xx.x"), closed(2, 1))
      }))

    it.effect("begin anew in a rule of another kind", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* carried(consecutive(5), consecutiveSlow(5), "xxx"), closed(0, 0))
        assert.deepStrictEqual(yield* carried(consecutive(5), timeWindow(), "xxx"), closed(0, 0))
        assert.deepStrictEqual(yield* carried(timeWindow(), countWindow({ size: 9 }), "xxx"), closed(0, 0))
        assert.deepStrictEqual(yield* carried(countWindow({ size: 9 }), timeWindow(), "xxx"), closed(0, 0))
        assert.deepStrictEqual(yield* carried(countWindow({ size: 9 }), consecutive(5), "xxx"), closed(0, 0))
        assert.deepStrictEqual(yield* carried(timeWindow(), consecutive(5), "xxx"), closed(0, 0))
        assert.deepStrictEqual(yield* carried(consecutive(5), countWindow({ size: 9 }), "xxx"), closed(0, 0))
        assert.deepStrictEqual(yield* carried(consecutive(5), anyOf(consecutive(5)), "xxx"), closed(0, 0))
        assert.deepStrictEqual(yield* carried(anyOf(consecutive(5)), consecutive(5), "xxx"), closed(0, 0))
      }))

    it.effect("of combinations go on by place", () =>
      Effect.gen(function*() {
        const from = anyOf(consecutive(5), timeWindow())
        assert.deepStrictEqual(
          yield* carried(from, allOf(consecutive(9), timeWindow(), consecutive(2)), "xxx"),
          closed(3, 3)
        )
        assert.deepStrictEqual(yield* carried(from, anyOf(timeWindow(), consecutive(5)), "xxx"), closed(0, 0))
        const all = allOf(consecutiveSlow(5), consecutive(9))
        assert.deepStrictEqual(yield* carried(all, all, "sss"), closed(3, 0, 3))
      }))

    it.effect("age while they go on", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ window: "10 seconds" })
        yield* TestClock.adjust(12_345)
        yield* times(1, breaker(fail))
        yield* TestClock.adjust("4 seconds")
        yield* breaker(ok)
        const state = yield* json(breaker)
        yield* TestClock.adjust("1 hour")
        const other = yield* CircuitBreaker.make({ window: "10 seconds" })
        yield* other.import(state)
        assert.deepStrictEqual(yield* other.inspect, closed(2, 1))
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual(yield* other.inspect, closed(2, 1))
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* other.inspect, closed(1, 0))
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual(yield* other.inspect, closed(0, 0))
      }))

    it.effect("go on in a process that has only just begun", () =>
      Effect.gen(function*() {
        const young = yield* CircuitBreaker.make()
        const slices = [{ age: 8_500, calls: 2, failures: 1, slow: 0 }, { age: 100, calls: 3, failures: 0, slow: 0 }]
        const state = yield* young.export
        yield* young.import({
          ...state,
          phase: { _tag: "Closed", closedFor: 0, counter: { _tag: "TimeWindow", slices } }
        })
        assert.deepStrictEqual(yield* young.inspect, closed(5, 1))
        assert.deepStrictEqual(yield* (yield* moved(young, { minimumCalls: 10 })).inspect, closed(5, 1))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* young.inspect, closed(3, 0))
        yield* TestClock.adjust("8 seconds")
        assert.deepStrictEqual(yield* young.inspect, closed(0, 0))
      }))

    it.effect("that are too old for a shorter window are left out", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ window: "1 minute" })
        yield* times(3, breaker(fail))
        yield* TestClock.adjust("30 seconds")
        yield* breaker(ok)
        const short = yield* moved(breaker, { window: "10 seconds", minimumCalls: 10 })
        assert.deepStrictEqual(yield* short.inspect, closed(1, 0))
      }))
  })

  describe("nonsense", () => {
    const phase = { _tag: "Isolated" }
    const state = { version: 1, shadow: false, openings: 0, openFor: 0, phase }
    const slice = { age: 0, calls: 1, failures: 0, slow: 0 }
    const counted = (counter: unknown) => ({ ...state, phase: { _tag: "Closed", closedFor: 0, counter } })
    const timed = (changes: object) => counted({ _tag: "TimeWindow", slices: [{ ...slice, ...changes }] })
    const endless = { _tag: "AnyOf", parts: Array<unknown>() }
    endless.parts.push(endless)
    const nonsense: Readonly<Record<string, unknown>> = {
      nothing: undefined,
      text: "Open",
      "another version": { ...state, version: 2 },
      "no phase": { ...state, phase: undefined },
      "an unknown phase": { ...state, phase: { _tag: "Ajar" } },
      "openings below zero": { ...state, openings: -1 },
      "half an opening": { ...state, openings: 0.5 },
      "a time without end": { ...state, phase: { _tag: "Open", left: Infinity } },
      "a time below zero": { ...state, phase: { _tag: "Open", left: -1 } },
      "more failures than calls": timed({ failures: 2 }),
      "more slow calls than calls": timed({ slow: 2 }),
      "an age that is none": timed({ age: NaN }),
      "an unknown call": counted({ _tag: "CountWindow", calls: [0, 4] }),
      "an unknown counter": counted({ _tag: "Moon" }),
      "a part of a combination": counted({ _tag: "AnyOf", parts: [{ _tag: "Moon" }] }),
      "parts without end": counted(endless)
    }
    for (const [what, snapshot] of Object.entries(nonsense)) {
      it.effect(`is refused and changes nothing: ${what}`, () =>
        Effect.gen(function*() {
          const breaker = yield* opened({ name: "catalogue" })
          const before = yield* breaker.export
          const error = yield* Effect.flip(breaker.import(snapshot))
          assert.instanceOf(error, CircuitBreaker.InvalidSnapshot)
          assert.strictEqual(error._tag, "InvalidSnapshot")
          assert.include(error.message, "Circuit breaker \"catalogue\" cannot go on from this state: ")
          assert.isAbove(error.details.length, 10)
          assert.deepStrictEqual(yield* breaker.export, before)
        }))
    }

    it.effect("is refused with what is wrong about it", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        const { details } = yield* Effect.flip(breaker.import(timed({ failures: 2 })))
        assert.include(details, "no more failures or slow calls than calls")
      }))

    it.effect("is not the longest time that there is", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        yield* breaker.import({ ...state, byHand: true, phase: { _tag: "Open", left: Number.MAX_VALUE } })
        assert.strictEqual((yield* Effect.flip(breaker(ok)))._tag, "CircuitOpen")
        assert.deepStrictEqual(yield* (yield* moved(breaker)).inspect, yield* breaker.inspect)
      }))

    it.effect("is not what it is made of", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make()
        yield* breaker.import(state)
        yield* breaker.import(timed({ failures: 1, slow: 1 }))
        assert.deepStrictEqual(yield* breaker.inspect, closed(1, 1, 1))
        const long = counted({ _tag: "CountWindow", calls: Array.from({ length: 1_000 }, () => 3) })
        yield* breaker.update({ trip: CircuitBreaker.countWindow({ size: 2 }) })
        yield* breaker.import(long)
        assert.deepStrictEqual(yield* breaker.inspect, closed(2, 2, 2))
      }))
  })
})
