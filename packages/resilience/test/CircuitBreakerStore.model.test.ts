/**
 * The script in Redis judges as the state machine in memory does: both are
 * driven through the same histories, with the same clock, and must give the same
 * answers. The clock is one that the test moves, since in real time an answer
 * would depend on when the server is asked.
 */
import { CircuitBreakerStore } from "@ballast/resilience"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { TestClock } from "effect/testing"
import * as RedisServer from "../../../test/support/RedisServer.ts"
import { memory, redis, server, spec, type Store, StoreClock } from "./support/circuitStores.ts"

type Trip = CircuitBreakerStore.Spec["trip"]

const consecutive = (times: number, of: "failures" | "slow"): Trip => ({ _tag: "Consecutive", times, of })
const countWindow = (size: number, rates: object): Trip => ({ _tag: "CountWindow", size, minimumCalls: 2, ...rates })
const timeWindow = (window: number, rates: object): Trip => ({ _tag: "TimeWindow", window, minimumCalls: 3, ...rates })

const trips: ReadonlyArray<Trip> = [
  consecutive(3, "failures"),
  consecutive(2, "slow"),
  countWindow(4, { failureRate: 0.5 }),
  countWindow(6, { slowRate: 0.6 }),
  countWindow(3, { failureRate: 1, slowRate: 0.5 }),
  timeWindow(250, { failureRate: 0.5 }),
  timeWindow(1_000, { failureRate: 0.9, slowRate: 0.4 }),
  { _tag: "AnyOf", trips: [consecutive(3, "failures"), timeWindow(250, { slowRate: 0.5 })] },
  {
    _tag: "AllOf",
    trips: [countWindow(5, { failureRate: 0.4 }), {
      _tag: "AnyOf",
      trips: [consecutive(2, "failures"), consecutive(2, "slow")]
    }]
  }
]

const Trip = Schema.Literals([0, 1, 2, 3, 4, 5, 6, 7, 8])

const Spec = Schema.Struct({
  trip: Trip,
  openDurations: Schema.Literals(["10", "10, 20, 50"]),
  probes: Schema.Literals([1, 2, 3]),
  probeThreshold: Schema.Literals([1, 2, 3])
})

const specOf = ({ openDurations, probeThreshold, probes, trip }: typeof Spec.Type) =>
  spec({
    trip: trips[trip]!,
    openDurations: openDurations === "10" ? [10] : [10, 20, 50],
    maxOpenDuration: 200,
    probes,
    probeThreshold: Math.min(probes, probeThreshold),
    probeTimeout: 40
  })

const Outcome = Schema.Literals(["success", "failure", "failure", "ignored"])

const Step = Schema.Union([
  Schema.TaggedStruct("Admit", {}),
  Schema.TaggedStruct("Call", { outcome: Outcome, slow: Schema.Boolean, retryAfter: Schema.Literals([0, 30]) }),
  Schema.TaggedStruct("Call", { outcome: Outcome, slow: Schema.Boolean, retryAfter: Schema.Literals([0, 500]) }),
  /** The result of an earlier admission, which may be told more than once and late. */
  Schema.TaggedStruct("End", {
    which: Schema.Literals([0, 1, 2, 3]),
    outcome: Outcome,
    slow: Schema.Boolean,
    times: Schema.Literals([1, 1, 2])
  }),
  Schema.TaggedStruct("Pass", { millis: Schema.Literals([1, 7, 10, 25, 40, 100, 260]) }),
  Schema.TaggedStruct("Control", {
    command: Schema.Literals(["Open", "Close", "Isolate", "Disable", "Shadow", "Automatic", "Automatic"]),
    duration: Schema.Literals([0, 15])
  }),
  Schema.TaggedStruct("Change", { to: Spec })
])

type Step = typeof Step.Type

/** Plays a history and returns all that was answered; eras are numbered in the order in which they are first seen. */
const play = Effect.fnUntraced(function*(first: typeof Spec.Type, steps: ReadonlyArray<Step>) {
  const store = yield* CircuitBreakerStore.CircuitBreakerStore
  const { advance } = yield* StoreClock
  let held = specOf(first)
  const eras: Array<string> = []
  const admissions: Array<CircuitBreakerStore.Admission> = []
  const answers: Array<unknown> = []

  const plain = ({ transitions, view }: CircuitBreakerStore.Answer) => {
    if (!eras.includes(view.era)) eras.push(view.era)
    const { free, left, openings, phase, shadow } = view
    return {
      phase,
      shadow,
      openings,
      left,
      free,
      era: eras.indexOf(view.era),
      transitions: transitions.map((t) => ({ ...t }))
    }
  }
  const admit = Effect.suspend(() =>
    Effect.map(store.admit("key", held), (admission) => {
      admissions.unshift(admission)
      answers.push({ ...plain(admission), probe: admission.probe, replaced: admission.replaced })
      return admission
    })
  )
  const record = (results: ReadonlyArray<CircuitBreakerStore.Result>) =>
    Effect.map(store.record("key", held, results), (answer) => {
      answers.push(plain(answer))
    })

  for (const step of steps) {
    switch (step._tag) {
      case "Admit":
        yield* admit
        break
      case "Call": {
        const { probe, view } = yield* admit
        const { outcome, retryAfter, slow } = step
        if (view.phase !== "Closed" && probe === undefined) break
        yield* record([{ era: view.era, probe, outcome, slow, retryAfter: retryAfter || undefined }])
        break
      }
      case "End": {
        const admission = admissions[step.which]
        if (admission === undefined) break
        const { probe, view: { era } } = admission
        const result = { era, probe, outcome: step.outcome, slow: step.slow, retryAfter: undefined }
        yield* record(Array.from({ length: step.times }, () => result))
        break
      }
      case "Pass":
        yield* advance(step.millis)
        break
      case "Control": {
        const command = step.command === "Open"
          ? { _tag: step.command, duration: step.duration || undefined }
          : { _tag: step.command }
        answers.push(plain(yield* store.control("key", held, command)))
        break
      }
      case "Change":
        held = specOf(step.to)
    }
    answers.push(yield* store.inspect("key", held))
  }
  return answers
})

RedisServer.describeRedis("CircuitBreakerStore", () => {
  it.layer(server)("script and machine", (it) => {
    it.effect.prop(
      "give the same answers to the same history",
      { first: Spec, steps: Schema.Array(Step) },
      ({ first, steps }) =>
        Effect.gen(function*() {
          const on = <R>(store: Layer.Layer<Store, never, R>) =>
            play(first, steps).pipe(
              Effect.provide(Layer.provideMerge(Layer.fresh(store), Layer.fresh(TestClock.layer())))
            )
          const expected = yield* on(memory)
          const actual = yield* on(redis)
          assert.deepStrictEqual(actual, expected)
        }),
      { timeout: 60_000, arbitrary: { runs: 100, size: 60 } }
    )
  })
})
