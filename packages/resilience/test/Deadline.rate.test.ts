import { Deadline, Outcome, Policy } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Schema, Stream } from "effect"
import { metrics, withMetrics } from "./support.ts"
import { consume, timed } from "./support/streams.ts"

/** A stream of weights, each after so much time. */
const weights = (...items: ReadonlyArray<{ readonly gap: number; readonly weight: number }>) =>
  Stream.fromIterable(items).pipe(
    Stream.rechunk(1),
    Stream.mapEffect(({ gap, weight }) => Effect.as(Effect.sleep(gap), weight))
  )

const weigh = (item: unknown) => Number(item)

describe("Deadline.leastRate", () => {
  it.effect("lets a stream pass that is as fast as it must be", () =>
    Effect.gen(function*() {
      const deadline = Deadline.leastRate({ least: 2, window: 100 })
      const { error, items } = yield* consume(deadline.stream(timed(500, ...Array.from({ length: 20 }, () => 49))))
      assert.deepStrictEqual([error, items.length], [undefined, 21])
    }))

  it.effect("ends a trickle that an idle deadline takes for progress", () =>
    Effect.gen(function*() {
      const deadline = Deadline.make({ idle: 100, leastRate: { least: 3, window: 200 } })
      const { error, items, took } = yield* consume(deadline.stream(timed(1, 90, 90, 90, 90, 90)))
      assert.strictEqual(error?.deadline, "rate")
      assert.strictEqual(error?.message, "Too little of the stream came within 200ms")
      assert.deepStrictEqual(error?.limit, Duration.millis(200))
      assert.deepStrictEqual(error?.[Outcome.key], Outcome.failure())
      assert.deepStrictEqual([items.length, took], [3, 201])
    }))

  it.effect("ends a stream that stalls, which never looks like its end", () =>
    Effect.gen(function*() {
      const deadline = Deadline.leastRate({ least: 1, window: 100 })
      const { error, items, took } = yield* consume(deadline.stream(Stream.concat(timed(1, 40, 40), Stream.never)))
      // The last item leaves the window 100 ms after it came.
      assert.deepStrictEqual([error?.deadline, items.length, took], ["rate", 3, 181])
    }))

  it.effect("starts with the first item, and grants a whole window", () =>
    Effect.gen(function*() {
      const deadline = Deadline.leastRate({ least: 100, window: 100 })
      const { error, took } = yield* consume(deadline.stream(timed(5_000, 99)))
      assert.deepStrictEqual([error, took], [undefined, 5_099])
      const late = yield* consume(deadline.stream(timed(5_000, 60, 60)))
      assert.deepStrictEqual([late.error?.deadline, late.took], ["rate", 5_100])
    }))

  it.effect("a slow consumer does not trip it", () =>
    Effect.gen(function*() {
      const deadline = Deadline.leastRate({ least: 2, window: 100 })
      const { error, items } = yield* consume(deadline.stream(timed(1, 49, 49, 49, 49)), 10_000)
      assert.deepStrictEqual([error, items.length], [undefined, 5])
    }))

  it.effect("weighs items as it is told, and nothing and nonsense as nothing", () =>
    Effect.gen(function*() {
      const deadline = Deadline.leastRate({ least: 100, window: 100, weigh })
      const heavy = weights(...Array.from({ length: 9 }, () => ({ gap: 90, weight: 200 })))
      assert.isUndefined((yield* consume(deadline.stream(heavy))).error)
      for (const weight of [99, 0, -1_000, NaN]) {
        const light = weights(...Array.from({ length: 9 }, () => ({ gap: 90, weight })))
        assert.strictEqual((yield* consume(deadline.stream(light))).error?.deadline, "rate", String(weight))
      }
    }))

  it.effect("nonsense takes nothing from what came with it", () =>
    Effect.gen(function*() {
      const deadline = Deadline.leastRate({ least: 100, window: 100, weigh })
      for (const weight of [NaN, -1_000]) {
        const chunks = Stream.fromIterable(Array.from({ length: 9 }, () => [200, weight])).pipe(
          Stream.rechunk(1),
          Stream.mapEffect((chunk) => Effect.as(Effect.sleep(90), chunk)),
          Stream.flatMap(Stream.fromIterable)
        )
        assert.isUndefined((yield* consume(deadline.stream(chunks))).error, String(weight))
      }
    }))

  it.effect("takes a weight without end for enough for a window, and no more", () =>
    Effect.gen(function*() {
      const deadline = Deadline.leastRate({ least: 100, window: 100, weigh })
      const endless = (gap: number) => weights(...Array.from({ length: 9 }, () => ({ gap, weight: Infinity })))
      assert.isUndefined((yield* consume(deadline.stream(endless(90)))).error)
      const late = yield* consume(deadline.stream(endless(101)))
      assert.deepStrictEqual([late.items.length, late.took, late.error?.deadline], [1, 201, "rate"])
    }))

  it.effect("counts only progress, unless it is told how to weigh", () =>
    Effect.gen(function*() {
      const progress = (item: unknown) => item === 0 || item === 4
      const rate = { least: 1, window: 100 }
      const steady = timed(1, 30, 30, 30, 30, 30)
      const quiet = yield* consume(Deadline.leastRate(rate, { progress }).stream(steady))
      assert.deepStrictEqual([quiet.error?.deadline, quiet.items.length], ["rate", 4])
      const told = yield* consume(Deadline.leastRate({ ...rate, weigh: () => 1 }, { progress }).stream(steady))
      assert.isUndefined(told.error)
    }))

  it.effect("does nothing to an effect, and stands beside other deadlines", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Deadline.leastRate({ least: 1, window: 1 })(Effect.succeed("ok")), "ok")
      const stack = Policy.compose(Deadline.total(150), Deadline.leastRate({ least: 1, window: 100 }))
      const { error } = yield* consume(stack.stream(timed(...Array.from({ length: 20 }, () => 10))))
      assert.strictEqual(error?.deadline, "total")
    }))

  it.effect("a defect in weigh or in progress is the stream's, and leaves nothing behind", () =>
    Effect.gen(function*() {
      const broken = () => {
        throw new Error("boom")
      }
      for (
        const deadline of [
          Deadline.leastRate({ least: 1, window: 100, weigh: broken }),
          Deadline.idle(100, { progress: broken })
        ]
      ) {
        const exit = yield* Effect.exit(Stream.runDrain(deadline.stream(Stream.make(1))))
        assert.isTrue(exit._tag === "Failure" && exit.cause.reasons[0]?._tag === "Die")
      }
    }))

  it.effect("is counted by its own name", () =>
    Effect.gen(function*() {
      const deadline = Deadline.leastRate({ least: 1, window: 10 }, { name: "catalogue" })
      yield* consume(deadline.stream(timed(1, 11)))
      assert.deepStrictEqual(yield* metrics, { "ballast_deadlines_exceeded_total{deadline=rate,name=catalogue}": 1 })
    }).pipe(withMetrics))

  const Item = Schema.Struct({
    gap: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 12 })),
    weight: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5 }))
  })

  /** When a stream becomes too slow, counted from its first item, by looking at every window anew. */
  const tooSlowAt = (
    items: ReadonlyArray<typeof Item.Type>,
    { least, window }: { readonly least: number; readonly window: number }
  ): number | undefined => {
    let at = 0
    const arrivals = items.map(({ gap, weight }, n) => ({ at: at += n === 0 ? 0 : gap * 10, weight }))
    for (let end = window; end < at; end++) {
      const inside = arrivals.filter((arrival) => arrival.at > end - window && arrival.at <= end)
      if (inside.reduce((sum, { weight }) => sum + weight, 0) < least) return end
    }
    return undefined
  }

  it.effect.prop("ends a stream exactly when a window holds too little", {
    items: Schema.NonEmptyArray(Item),
    least: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 10 })),
    // Never a multiple of a gap, so that no arrival is in doubt.
    tenths: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 20 })),
    pause: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 30 }))
  }, ({ items, least, pause, tenths }) =>
    Effect.gen(function*() {
      const window = tenths * 10 + 5
      const stream = weights(...items.map(({ gap, weight }) => ({ gap: gap * 10, weight })))
      const expected = tooSlowAt(items, { least, window })
      const guarded = Deadline.leastRate({ least, window, weigh }).stream(stream)
      const { error, items: got, took } = yield* consume(guarded, pause)
      assert.strictEqual(error?.deadline, expected === undefined ? undefined : "rate")
      const all = items.reduce((sum, { gap }) => sum + gap * 10, 0)
      const first = (items[0]?.gap ?? 0) * 10
      assert.strictEqual(took - got.length * pause, expected === undefined ? all : first + expected)
    }))
})
