import { CircuitBreakerStore } from "@ballast/resilience"
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { describeStores, spec, StoreClock } from "./support/circuitStores.ts"

type Outcome = CircuitBreakerStore.Result["outcome"]

/** One circuit at a store, as short words. */
const circuit = (held = spec(), key = "key") =>
  Effect.map(Effect.all([CircuitBreakerStore.CircuitBreakerStore, StoreClock]), ([store, { advance }]) => {
    const admit = store.admit(key, held)
    const record = (
      { probe, view }: CircuitBreakerStore.Admission,
      outcome: Outcome,
      more: { readonly slow?: boolean; readonly retryAfter?: number } = {}
    ) =>
      store.record(key, held, [
        { era: view.era, probe, outcome, slow: more.slow ?? false, retryAfter: more.retryAfter }
      ])
    const call = (outcome: Outcome) => Effect.flatMap(admit, (admission) => record(admission, outcome))
    const control = (command: CircuitBreakerStore.Command) => store.control(key, held, command)
    return { store, advance, admit, record, call, control, inspect: store.inspect(key, held) }
  })

const transitions = ({ transitions }: CircuitBreakerStore.Answer) =>
  transitions.map(({ because, from, to }) => `${from} ${to}: ${because}`)

describeStores("CircuitBreakerStore", (test) => {
  test(
    "is closed at first, and reading it changes nothing",
    Effect.gen(function*() {
      const { admit, inspect } = yield* circuit()
      assert.deepStrictEqual(yield* inspect, {
        _tag: "Closed",
        calls: 0,
        failures: 0,
        slow: 0,
        shadow: false,
        openings: 0
      })
      const first = yield* admit
      assert.strictEqual(first.view.phase, "Closed")
      assert.isUndefined(first.probe)
      assert.strictEqual((yield* admit).view.era, first.view.era)
    })
  )

  test(
    "opens at the n-th failure in a row, and says so once",
    Effect.gen(function*() {
      const { admit, call, inspect } = yield* circuit()
      assert.deepStrictEqual(transitions(yield* call("failure")), [])
      yield* call("success")
      assert.deepStrictEqual(transitions(yield* call("failure")), [])
      const opened = yield* call("failure")
      assert.deepStrictEqual(transitions(opened), ["Closed Open: consecutive"])
      assert.strictEqual(opened.transitions[0]?.openFor, 1_000)
      const rejected = yield* admit
      assert.deepStrictEqual(transitions(rejected), [])
      assert.deepStrictEqual(
        { phase: rejected.view.phase, left: rejected.view.left, probe: rejected.probe },
        { phase: "Open", left: 1_000, probe: undefined }
      )
      const state = yield* inspect
      assert.strictEqual(state._tag, "Open")
    })
  )

  test(
    "keeps its keys apart",
    Effect.gen(function*() {
      const one = yield* circuit(spec(), "one")
      const two = yield* circuit(spec(), "two")
      yield* one.control({ _tag: "Isolate" })
      assert.strictEqual((yield* two.admit).view.phase, "Closed")
      assert.strictEqual((yield* one.admit).view.phase, "Isolated")
    })
  )

  test(
    "becomes half-open exactly when the open time is over",
    Effect.gen(function*() {
      const { admit, advance, control, inspect } = yield* circuit()
      yield* control({ _tag: "Open", duration: 300 })
      yield* advance(299)
      assert.strictEqual((yield* admit).view.left, 1)
      yield* advance(1)
      assert.strictEqual((yield* inspect)._tag, "HalfOpen")
      const probe = yield* admit
      assert.deepStrictEqual(transitions(probe), ["Open HalfOpen: open-time-over"])
      assert.isDefined(probe.probe)
    })
  )

  test(
    "admits as many probes as it may, and no more",
    Effect.gen(function*() {
      const { admit, advance, control, inspect, record } = yield* circuit(spec({ probes: 2, probeThreshold: 2 }))
      yield* control({ _tag: "Open", duration: 1 })
      yield* advance(1)
      const one = yield* admit
      assert.isTrue(one.view.free)
      const two = yield* admit
      assert.isFalse(two.view.free)
      assert.notStrictEqual(one.probe, two.probe)
      assert.isUndefined((yield* admit).probe)
      assert.deepStrictEqual(yield* inspect, {
        _tag: "HalfOpen",
        running: 2,
        succeeded: 0,
        failed: 0,
        shadow: false,
        openings: 1
      })
      assert.deepStrictEqual(transitions(yield* record(one, "success")), [])
      assert.isUndefined((yield* admit).probe)
      const closed = yield* record(two, "success")
      assert.deepStrictEqual(transitions(closed), ["HalfOpen Closed: probes-succeeded"])
      assert.strictEqual(closed.view.phase, "Closed")
    })
  )

  test(
    "opens again as soon as the probes can't close it any more",
    Effect.gen(function*() {
      const { admit, advance, control, record } = yield* circuit(spec({ probes: 3, probeThreshold: 2 }))
      yield* control({ _tag: "Open", duration: 1 })
      yield* advance(1)
      const probes = [yield* admit, yield* admit, yield* admit]
      assert.deepStrictEqual(transitions(yield* record(probes[0]!, "failure")), [])
      assert.deepStrictEqual(transitions(yield* record(probes[1]!, "failure")), ["HalfOpen Open: probes-failed"])
      // Of an era that is over.
      assert.deepStrictEqual(transitions(yield* record(probes[2]!, "failure")), [])
    })
  )

  test(
    "gives the slot of an ignored probe to the next caller",
    Effect.gen(function*() {
      const { admit, advance, control, record } = yield* circuit()
      yield* control({ _tag: "Open", duration: 1 })
      yield* advance(1)
      const probe = yield* admit
      assert.isTrue((yield* record(probe, "ignored")).view.free)
      assert.isDefined((yield* admit).probe)
    })
  )

  test(
    "replaces a probe whose lease has run out, and its late result changes nothing",
    Effect.gen(function*() {
      const { admit, advance, control, inspect, record } = yield* circuit()
      yield* control({ _tag: "Open", duration: 1 })
      yield* advance(1)
      const dead = yield* admit
      yield* advance(4_999)
      assert.isUndefined((yield* admit).probe)
      yield* advance(1)
      const next = yield* admit
      assert.isTrue(next.replaced)
      assert.isDefined(next.probe)
      assert.notStrictEqual(next.probe, dead.probe)
      assert.strictEqual(next.view.era, dead.view.era)
      for (const outcome of ["failure", "success", "ignored"] as const) {
        assert.deepStrictEqual(transitions(yield* record(dead, outcome)), [])
      }
      assert.isUndefined((yield* admit).probe)
      assert.deepStrictEqual(yield* inspect, {
        _tag: "HalfOpen",
        running: 1,
        succeeded: 0,
        failed: 0,
        shadow: false,
        openings: 1
      })
      assert.deepStrictEqual(transitions(yield* record(next, "success")), ["HalfOpen Closed: probes-succeeded"])
    })
  )

  test(
    "does not count a probe past its lease, though nobody took its slot",
    Effect.gen(function*() {
      const { admit, advance, control, record } = yield* circuit()
      yield* control({ _tag: "Open", duration: 1 })
      yield* advance(1)
      const late = yield* admit
      yield* advance(5_000)
      assert.deepStrictEqual(transitions(yield* record(late, "success")), [])
      assert.isDefined((yield* admit).probe)
    })
  )

  test(
    "counts no result twice for one probe",
    Effect.gen(function*() {
      const { admit, advance, control, record } = yield* circuit(spec({ probes: 3, probeThreshold: 2 }))
      yield* control({ _tag: "Open", duration: 1 })
      yield* advance(1)
      const probe = yield* admit
      yield* record(probe, "success")
      assert.deepStrictEqual(transitions(yield* record(probe, "success")), [])
    })
  )

  test(
    "does not count results of an era that is over",
    Effect.gen(function*() {
      const { admit, control, inspect, record } = yield* circuit()
      const early = yield* admit
      yield* control({ _tag: "Close" })
      yield* record(early, "failure")
      yield* record(early, "failure")
      assert.deepStrictEqual(yield* inspect, {
        _tag: "Closed",
        calls: 0,
        failures: 0,
        slow: 0,
        shadow: false,
        openings: 0
      })
    })
  )

  test(
    "takes several results in one step, in their order",
    Effect.gen(function*() {
      const { admit, store } = yield* circuit()
      const { view: { era } } = yield* admit
      const results = (...outcomes: ReadonlyArray<Outcome>) =>
        outcomes.map((outcome) => ({ era, probe: undefined, outcome, slow: false, retryAfter: undefined }))
      assert.deepStrictEqual(
        transitions(yield* store.record("key", spec(), results("failure", "success", "failure"))),
        []
      )
      assert.deepStrictEqual(
        transitions(yield* store.record("key", spec(), results("failure", "failure", "success"))),
        ["Closed Open: consecutive"]
      )
    })
  )

  test(
    "opens for longer each time, up to a bound, and by the dependency's hint",
    Effect.gen(function*() {
      const { admit, advance, record } = yield* circuit(
        spec({
          trip: { _tag: "Consecutive", times: 1, of: "failures" },
          openDurations: [10, 20, 30],
          maxOpenDuration: 100
        })
      )
      const lengths: Array<number | undefined> = []
      for (const retryAfter of [undefined, undefined, undefined, undefined, 70, 1_000]) {
        const opened = yield* record(yield* admit, "failure", retryAfter === undefined ? {} : { retryAfter })
        lengths.push(opened.transitions[0]?.openFor)
        yield* advance(100)
      }
      assert.deepStrictEqual(lengths, [10, 20, 30, 30, 70, 100])
    })
  )

  test(
    "ends the row of openings once it stayed closed for as long as it was open",
    Effect.gen(function*() {
      const { admit, advance, call, record } = yield* circuit(
        spec({ trip: { _tag: "Consecutive", times: 1, of: "failures" }, openDurations: [10, 20] })
      )
      const lengthAfter = (closedFor: number) =>
        Effect.gen(function*() {
          yield* advance(20)
          yield* record(yield* admit, "success")
          yield* advance(closedFor)
          return (yield* call("failure")).transitions[0]?.openFor
        })
      yield* call("failure")
      assert.strictEqual(yield* lengthAfter(9), 20)
      assert.strictEqual(yield* lengthAfter(19), 20)
      assert.strictEqual(yield* lengthAfter(20), 10)
    })
  )

  test(
    "does what it is told by hand",
    Effect.gen(function*() {
      const { admit, call, control } = yield* circuit()
      assert.deepStrictEqual(transitions(yield* control({ _tag: "Isolate" })), ["Closed Isolated: manual"])
      assert.deepStrictEqual(transitions(yield* control({ _tag: "Isolate" })), [])
      assert.strictEqual((yield* admit).view.phase, "Isolated")
      assert.deepStrictEqual(transitions(yield* control({ _tag: "Disable" })), ["Isolated Disabled: manual"])
      yield* call("failure")
      yield* call("failure")
      assert.strictEqual((yield* admit).view.phase, "Disabled")
      assert.deepStrictEqual(transitions(yield* control({ _tag: "Automatic" })), ["Disabled Closed: manual"])
      yield* control({ _tag: "Shadow" })
      yield* call("failure")
      const opened = yield* call("failure")
      assert.deepStrictEqual(
        { phase: opened.view.phase, shadow: opened.view.shadow },
        { phase: "Open", shadow: true }
      )
      assert.isFalse((yield* control({ _tag: "Automatic" })).view.shadow)
      assert.deepStrictEqual(transitions(yield* control({ _tag: "Close" })), ["Open Closed: manual"])
    })
  )

  test(
    "admits one probe to a thousand callers at once",
    Effect.gen(function*() {
      const { admit, advance, control } = yield* circuit()
      yield* control({ _tag: "Open", duration: 1 })
      yield* advance(1)
      const all = yield* Effect.all(Array.from({ length: 1_000 }, () => admit), { concurrency: "unbounded" })
      assert.strictEqual(all.filter(({ probe }) => probe !== undefined).length, 1)
    })
  )
})
