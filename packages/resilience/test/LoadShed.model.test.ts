import { LoadShed } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { TestClock } from "effect/testing"
import { makeCalls, settle } from "./support/shedding.ts"

describe("LoadShed", () => {
  // A model that knows nothing but its history, millisecond by millisecond.
  const Step = Schema.Literals(["low", "normal", "normal", "high", "end", "short", "short", "long"])

  it.effect.prop(
    "agrees with a model that keeps the whole history",
    {
      steps: Schema.Array(Step),
      limit: Schema.Literals([1, 2]),
      queue: Schema.Literals([3, 100]),
      order: Schema.Literals(["fifo", "adaptive-lifo"])
    },
    ({ limit, order, queue, steps }) =>
      Effect.gen(function*() {
        const [target, interval] = [5, 12]
        const { call, end, log } = makeCalls(yield* LoadShed.make({ limit, queue, order, target, interval }))
        const expected: Array<string> = []
        const ranks = { high: 0, normal: 1, low: 2 }
        let waiting: Array<{ readonly id: string; readonly rank: number; readonly since: number }> = []
        let running = 0
        let now = 0
        let lastGood = 0
        const note = () => {
          const since = Math.min(...waiting.map((waiter) => waiter.since))
          if (now - since < target) lastGood = now
        }
        const stands = () => now - (lastGood + 1) >= interval
        const drop = (id: string, word: string) => {
          waiting = waiting.filter((waiter) => waiter.id !== id)
          expected.push(`${word} ${id}`)
          note()
        }
        const sweep = () => {
          note()
          for (const waiter of waiting.toSorted((a, b) => a.since - b.since)) {
            if (stands() && now - waiter.since >= 2 * target) drop(waiter.id, "shed")
          }
        }
        let id = 0
        for (const step of steps.flatMap((step) => [step, step])) {
          switch (step) {
            case "short":
            case "long": {
              const pause = step === "short" ? 2 : 7
              for (let i = 0; i < pause; i++) {
                now++
                sweep()
              }
              yield* TestClock.adjust(pause)
              break
            }
            case "end": {
              if (running > 0) {
                running--
                sweep()
                const lifo = order === "adaptive-lifo" && stands()
                const [next] = waiting.toSorted((a, b) => a.rank - b.rank || (lifo ? Number(b.id) - Number(a.id) : 0))
                if (next !== undefined) {
                  running++
                  drop(next.id, "run")
                }
              }
              yield* end
              break
            }
            default: {
              const rank = ranks[step]
              id++
              if (running < limit) {
                running++
                expected.push(`run ${id}`)
              } else {
                const lesser = waiting.filter((waiter) => waiter.rank > rank)
                  .toSorted((a, b) => b.rank - a.rank || Number(b.id) - Number(a.id))[0]
                if (waiting.length >= queue && lesser === undefined) expected.push(`shed ${id}`)
                else {
                  if (waiting.length >= queue && lesser !== undefined) drop(lesser.id, "shed")
                  waiting.push({ id: `${id}`, rank, since: now })
                }
              }
              note()
              yield* call(`${id}`, step)
              yield* settle
            }
          }
          // Those shed in one moment are told in no particular order.
          assert.deepStrictEqual(log.toSorted(), expected.toSorted())
        }
        const runs = (lines: ReadonlyArray<string>) => lines.filter((line) => line.startsWith("run"))
        assert.deepStrictEqual(runs(log), runs(expected))
      })
  )
})
