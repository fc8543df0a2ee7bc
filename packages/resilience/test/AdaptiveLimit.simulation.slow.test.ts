import { AdaptiveLimit } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { type Behaviour, limitOf, load, makeService } from "./support/service.ts"

interface Case {
  readonly algorithm: AdaptiveLimit.Algorithm
  readonly service: Pick<Behaviour, "admits" | "states">
  readonly near: (capacity: number) => readonly [least: number, most: number]
}

// Each service has its true capacity, and each algorithm is shown one of its kind: one that says no at once, one that
// only gets slow, one that does both, and one that says what it can do. 100 callers call without a pause.
const cases: Record<string, Case> = {
  aimd: {
    algorithm: AdaptiveLimit.aimd(),
    service: { admits: (capacity: number) => capacity },
    near: (capacity: number) => [0.7 * capacity, capacity + 1]
  },
  vegas: {
    algorithm: AdaptiveLimit.vegas({ remeasure: "15 seconds" }),
    service: { admits: () => 1_000 },
    near: (capacity: number) => [capacity, capacity + 15]
  },
  gradient2: {
    algorithm: AdaptiveLimit.gradient2(),
    service: { admits: (capacity: number) => 2 * capacity },
    near: (capacity: number) => [0.8 * capacity, 2 * capacity + 1]
  },
  told: {
    algorithm: AdaptiveLimit.told({ hold: "2 seconds" }),
    service: { admits: (capacity: number) => capacity, states: true },
    near: (capacity: number) => [capacity, capacity + 1]
  }
}

const median = (limits: ReadonlyArray<number>) => limits.toSorted((a, b) => a - b)[Math.floor(limits.length / 2)] ?? NaN

describe("AdaptiveLimit", () => {
  describe("simulated", () => {
    for (const [name, { algorithm, near, service }] of Object.entries(cases)) {
      for (const [from, initial] of [["below", 2], ["above", 80]] as const) {
        it.effect(
          `${name} comes near the capacity from ${from}, and again after it has changed`,
          () =>
            Effect.gen(function*() {
              const { behaviour, call } = makeService({ capacity: 20, time: 200, ...service })
              const limit = yield* AdaptiveLimit.make({
                algorithm,
                initial,
                queue: Infinity,
                maxWait: Duration.infinity,
                limitOf
              })
              const { stop, watch } = yield* load(limit, call)
              const settled = Effect.fnUntraced(function*(seconds: number) {
                const limits = yield* watch(seconds)
                const [least, most] = near(behaviour.capacity)
                const last = limits.slice(-15)
                assert.isTrue(
                  median(last) >= least && median(last) <= most,
                  `${behaviour.capacity}: ${limits.join(" ")}`
                )
              })
              yield* settled(60)
              behaviour.capacity = 8
              yield* settled(45)
              behaviour.capacity = 30
              yield* settled(60)
              yield* stop
              const { queued, running } = yield* limit.inspect
              assert.deepStrictEqual({ queued, running }, { queued: 0, running: 0 })
            }),
          60_000
        )
      }
    }
  })
})
