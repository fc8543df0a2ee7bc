import { EffectRateLimiter, RateLimiterStore } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Layer, Option, References, Scope } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { RateLimiter } from "effect/persistence"
import { TestClock } from "effect/testing"
import { storeWith } from "./support/rate.ts"

const provided = Effect.provide(
  EffectRateLimiter.layer().pipe(Layer.provideMerge(RateLimiterStore.layerStoreMemory))
)

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

const settle = TestClock.adjust(0)

/** A service that answers with the next of so many responses, and with 200 past them. */
const service = (...responses: ReadonlyArray<() => Response>) => {
  const at: Array<number> = []
  const client = HttpClient.make((request) =>
    Effect.clockWith((clock) =>
      Effect.sync(() => {
        const response = responses[at.length]?.() ?? new Response("ok")
        at.push(clock.currentTimeMillisUnsafe())
        return HttpClientResponse.fromWeb(request, response)
      })
    )
  )
  return { at, client }
}

describe("EffectRateLimiter", () => {
  for (const algorithm of ["fixed-window", "token-bucket"] as const) {
    it.effect(`${algorithm}: fails beyond the limit with the time until there is room`, () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.RateLimiter
        const options = { algorithm, key: "a", limit: 3, window: "3 seconds", tokens: 2 } as const
        const first = yield* limiter.consume(options)
        assert.deepStrictEqual([first.limit, first.remaining, Duration.toMillis(first.delay)], [3, 1, 0])
        const { reason } = yield* Effect.flip(limiter.consume(options))
        assert.strictEqual(reason._tag, "RateLimitExceeded")
        if (reason._tag === "RateLimitExceeded") {
          assert.strictEqual(Duration.toMillis(reason.retryAfter), algorithm === "fixed-window" ? 3_000 : 1_000)
        }
        yield* limiter.consume({ ...options, tokens: 1 })
        yield* limiter.consume({ ...options, key: "b" })
      }).pipe(provided))

    it.effect(`${algorithm}: waits beyond the limit, and an interrupted waiter costs nothing`, () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.RateLimiter
        const options = { algorithm, key: "a", limit: 2, window: "2 seconds", onExceeded: "delay" } as const
        yield* limiter.consume({ ...options, tokens: 2 })
        const waiting = yield* start(limiter.consume({ ...options, tokens: 2 }))
        const next = yield* start(limiter.consume(options))
        yield* TestClock.adjust("500 millis")
        yield* Fiber.interrupt(waiting)
        yield* TestClock.adjust(algorithm === "fixed-window" ? 1_500 : 500)
        assert.isTrue(Duration.isZero((yield* Fiber.join(next)).delay))
      }).pipe(provided))
  }

  it.effect("takes more than the limit piece by piece", () =>
    Effect.gen(function*() {
      const limiter = yield* RateLimiter.RateLimiter
      const heavy = yield* start(
        limiter.consume({ key: "a", limit: 2, window: "1 second", onExceeded: "delay", tokens: 5 })
      )
      yield* TestClock.adjust(1_999)
      assert.isUndefined(heavy.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.strictEqual((yield* Fiber.join(heavy)).remaining, 1)
    }).pipe(provided))

  it.effect("a 429 holds what the store has let through, but says so after it", () =>
    Effect.gen(function*() {
      const limiter = yield* EffectRateLimiter.make()
      const call = yield* start(
        limiter.consume({ key: "a", limit: 5, window: "1 second", onExceeded: "delay" })
      )
      yield* limiter.adaptiveFeedback({ key: "a", epoch: 0, tokens: 1, status: 429, retryAfter: Duration.millis(500) })
      yield* TestClock.adjust(499)
      assert.isUndefined(call.pollUnsafe())
      yield* TestClock.adjust(1_000)
      assert.strictEqual((yield* Fiber.join(call)).remaining, 4)
    }).pipe(
      Effect.scoped,
      storeWith(({ take }) => ({ take: (...request) => Effect.tap(take(...request), () => Effect.sleep(50)) }))
    ))

  it.effect("a 429 holds what another process consumes, also what waits already", () =>
    Effect.gen(function*() {
      const here = yield* EffectRateLimiter.make()
      const there = yield* EffectRateLimiter.make()
      const options = { key: "a", limit: 1, window: "1 second", onExceeded: "delay" } as const
      yield* there.consume(options)
      const waiting = yield* start(there.consume(options))
      const feedback = { key: "a", epoch: 0, tokens: 1 }
      yield* here.adaptiveFeedback({ ...feedback, status: 200, retryAfter: Duration.hours(1) })
      yield* here.adaptiveFeedback({ ...feedback, status: 429, retryAfter: undefined })
      yield* here.adaptiveFeedback({ ...feedback, status: 429, retryAfter: Duration.seconds(5) })
      const asked = { key: "a", tokens: 1, fallbackLimit: 1, fallbackWindow: Duration.seconds(1) }
      const { delay, phase } = yield* here.adaptiveConsume(asked)
      assert.deepStrictEqual([phase, Duration.toMillis(delay)], ["cooldown", 5_000])
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(waiting.pollUnsafe())
      yield* TestClock.adjust(1)
      yield* Fiber.join(waiting)
      assert.strictEqual((yield* here.adaptiveConsume(asked)).phase, "inactive")
    }).pipe(provided))

  it.effect("limits and holds are those of its name", () =>
    Effect.gen(function*() {
      const one = yield* EffectRateLimiter.make({ name: "one" })
      const other = yield* EffectRateLimiter.make({ name: "other" })
      const options = { key: "a", limit: 1, window: "1 hour" } as const
      yield* one.consume(options)
      yield* one.adaptiveFeedback({ key: "a", epoch: 0, tokens: 1, status: 429, retryAfter: Duration.hours(1) })
      yield* other.consume(options)
      assert.strictEqual((yield* Effect.flip(other.consume(options))).reason._tag, "RateLimitExceeded")
    }).pipe(provided))

  describe("takes what Effect's takes", () => {
    const consume = Effect.fnUntraced(function*(change: Partial<Parameters<RateLimiter.RateLimiter["consume"]>[0]>) {
      const limiter = yield* RateLimiter.RateLimiter
      const call = limiter.consume({ key: "a", limit: 1, window: "1 second", ...change })
      const outcomes: Array<string> = []
      for (let i = 0; i < 2; i++) {
        const exit = yield* Effect.exit(call)
        const error = Option.getOrUndefined(Exit.findErrorOption(exit))
        outcomes.push(exit._tag === "Success" ? "taken" : error?.reason._tag ?? "died")
      }
      return outcomes
    })
    const rejected = "RateLimitExceeded"
    const cases: ReadonlyArray<readonly [Parameters<typeof consume>[0], ReadonlyArray<string>]> = [
      [{ limit: 1.5 }, ["taken", rejected]],
      [{ limit: 0.5 }, [rejected, rejected]],
      [{ limit: 0 }, [rejected, rejected]],
      [{ limit: -1 }, [rejected, rejected]],
      [{ limit: NaN }, ["taken", "taken"]],
      [{ limit: Infinity }, ["taken", "taken"]],
      [{ window: 0 }, ["taken", rejected]],
      [{ window: -1 }, ["taken", rejected]],
      [{ window: NaN }, ["taken", rejected]],
      [{ window: Infinity }, ["taken", rejected]],
      [{ tokens: 0 }, ["taken", "taken"]],
      [{ tokens: -1 }, ["taken", "taken"]],
      [{ tokens: NaN }, ["taken", "taken"]],
      [{ tokens: Infinity }, [rejected, rejected]]
    ]
    for (const [change, outcomes] of cases) {
      const [name, value] = Object.entries(change)[0] ?? []
      for (const algorithm of ["fixed-window", "token-bucket"] as const) {
        it.effect(`${algorithm} of ${name} ${String(value)}`, () =>
          Effect.gen(function*() {
            const effects = yield* Effect.provide(
              consume({ ...change, algorithm }),
              RateLimiter.layer.pipe(Layer.provide(RateLimiter.layerStoreMemory))
            )
            assert.deepStrictEqual(effects, outcomes)
            assert.deepStrictEqual(yield* consume({ ...change, algorithm }), outcomes)
          }).pipe(provided))
      }
    }

    it.effect("waits under a limit of a fraction, and for nothing that never comes", () =>
      Effect.gen(function*() {
        const limiter = yield* RateLimiter.RateLimiter
        const call = { key: "a", limit: 0.5, window: "1 second", onExceeded: "delay" } as const
        yield* limiter.consume(call)
        const waiting = yield* start(limiter.consume(call))
        for (const never of [{ limit: 0 }, { limit: -Infinity }, { tokens: Infinity }]) {
          const { reason } = yield* Effect.flip(limiter.consume({ ...call, ...never }))
          assert.strictEqual(reason._tag, rejected)
          if (reason._tag === rejected) assert.strictEqual(Duration.toMillis(reason.retryAfter), 1_000)
        }
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(waiting)
      }).pipe(provided))
  })

  it("refuses an option out of its bounds", () => {
    assert.throws(
      () => EffectRateLimiter.make({ maxQueue: -1 }),
      "EffectRateLimiter.make: maxQueue must be an integer of at least 0, or Infinity, got -1"
    )
    assert.throws(() => EffectRateLimiter.layer({ storeTimeout: 0 }), RangeError)
  })

  it.effect("asks the store once for a decision", () => {
    const asked: Array<string> = []
    const note = (name: string) => <A, E>(request: Effect.Effect<A, E>) =>
      Effect.suspend(() => {
        asked.push(name)
        return request
      })
    return Effect.gen(function*() {
      const limiter = yield* EffectRateLimiter.make()
      const call = { key: "a", limit: 3, window: "1 second" } as const
      const { remaining, resetAfter } = yield* limiter.consume({ ...call, tokens: 2 })
      assert.deepStrictEqual([remaining, Duration.toMillis(resetAfter)], [1, 1_000])
      assert.deepStrictEqual(asked, ["take"])
      assert.strictEqual((yield* limiter.consume({ ...call, tokens: 0 })).remaining, 1)
      assert.deepStrictEqual(asked, ["take", "peek"])
    }).pipe(storeWith((store) => ({
      take: (...args) => note("take")(store.take(...args)),
      peek: (...args) => note("peek")(store.peek(...args))
    })))
  })

  describe("when the store", () => {
    const call = { key: "a", limit: 3, window: "1 second" } as const
    const feedback = { key: "a", epoch: 0, tokens: 1, status: 429, retryAfter: Duration.seconds(5) }
    const gone = Effect.fail(new RateLimiterStore.RateLimiterStoreError({ operation: "answer", cause: "gone" }))
    const answers = { fails: gone, hangs: Effect.never }
    for (const [what, answer] of Object.entries(answers)) {
      const broken = storeWith(() => ({ take: () => answer, peek: () => answer, hold: () => answer }))
      const within = <A, E, R>(self: Effect.Effect<A, E, R>) =>
        Effect.flatMap(start(self), (fiber) => Effect.andThen(TestClock.adjust("1 second"), Fiber.join(fiber)))

      it.effect(`${what}, calls go on when told so, as if nothing was taken`, () =>
        Effect.gen(function*() {
          const limiter = yield* EffectRateLimiter.make({ onStoreError: "allow" })
          for (const change of [{}, { onExceeded: "delay", tokens: 5 }, { tokens: 0 }] as const) {
            assert.deepStrictEqual(yield* within(limiter.consume({ ...call, ...change })), {
              delay: Duration.zero,
              limit: 3,
              remaining: 3,
              resetAfter: Duration.zero
            })
          }
          yield* within(limiter.adaptiveFeedback(feedback))
          const asked = { key: "a", tokens: 1, fallbackLimit: 1, fallbackWindow: Duration.seconds(1) }
          assert.strictEqual((yield* limiter.adaptiveConsume(asked)).phase, "cooldown")
        }).pipe(broken))

      it.effect(`${what}, calls fail with Effect's error`, () =>
        Effect.gen(function*() {
          const limiter = yield* EffectRateLimiter.make()
          const calls = [
            limiter.consume(call),
            limiter.consume({ ...call, tokens: 0 }),
            limiter.adaptiveFeedback(feedback)
          ]
          for (const call of calls) {
            const { reason } = yield* within(Effect.flip(call))
            assert.strictEqual(reason._tag, "RateLimitStoreError")
          }
        }).pipe(broken))
    }
  })

  describe("when its scope closes", () => {
    const call = { key: "a", limit: 1, window: "1 hour", onExceeded: "delay" } as const
    const opened = Effect.gen(function*() {
      const scope = yield* Scope.make()
      const limiter = yield* Effect.provideService(EffectRateLimiter.make(), Scope.Scope, scope)
      return { limiter, close: Scope.close(scope, Exit.void) }
    })

    it.effect("no call waits on, however it came in as others left", () =>
      Effect.gen(function*() {
        for (let budget = 3; budget < 30; budget++) {
          for (let apart = 0; apart < 12; apart++) {
            const exit = yield* Effect.gen(function*() {
              const { close, limiter } = yield* opened
              yield* Effect.forkChild(limiter.consume(call))
              for (let i = 0; i < apart; i++) yield* Effect.yieldNow
              const waiting = yield* Effect.forkChild(limiter.consume(call))
              yield* settle
              yield* close
              yield* settle
              const exit = waiting.pollUnsafe()
              yield* Fiber.interrupt(waiting)
              return exit
            }).pipe(
              Effect.provideService(References.MaxOpsBeforeYield, budget),
              Effect.provide(RateLimiterStore.layerStoreMemory, { local: true })
            )
            assert.isTrue(exit !== undefined && Exit.hasInterrupts(exit), `budget ${budget}, ${apart} yields apart`)
          }
        }
      }))

    it.effect("calls that come later are interrupted", () =>
      Effect.gen(function*() {
        const { close, limiter } = yield* opened
        yield* limiter.consume(call)
        yield* close
        assert.isTrue(Exit.hasInterrupts(yield* Effect.exit(limiter.consume(call))))
      }).pipe(provided))

    it.effect("what a store still does has the time of one answer, for all keys together", () =>
      Effect.gen(function*() {
        const { close, limiter } = yield* opened
        for (const key of ["a", "b", "c"]) yield* start(limiter.consume({ ...call, key }))
        const closing = yield* start(close)
        yield* TestClock.adjust(999)
        assert.isUndefined(closing.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.isDefined(closing.pollUnsafe())
      }).pipe(storeWith(() => ({ take: () => Effect.never }))))

    it.effect("what was taken for a call that left is given back first", () => {
      const slowly = <A, E>(request: Effect.Effect<A, E>) => Effect.tap(request, () => Effect.sleep("100 millis"))
      let given = false
      return Effect.gen(function*() {
        const { close, limiter } = yield* opened
        const leaving = yield* start(limiter.consume(call))
        yield* TestClock.adjust(50)
        yield* Fiber.interrupt(leaving)
        yield* TestClock.adjust(100)
        const closing = yield* start(close)
        yield* TestClock.adjust(49)
        assert.deepStrictEqual([closing.pollUnsafe(), given], [undefined, false])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual([closing.pollUnsafe(), given], [Exit.void, true])
      }).pipe(storeWith((store) => ({
        take: (...args) => slowly(store.take(...args)),
        giveBack: (...args) =>
          Effect.map(slowly(store.giveBack(...args)), () => {
            given = true
          })
      })))
    })
  })

  describe("under HttpClient.withRateLimiter", () => {
    it.effect("spreads requests over the windows", () =>
      Effect.gen(function*() {
        const { at, client } = service()
        const limited = HttpClient.withRateLimiter(client, {
          limiter: yield* RateLimiter.RateLimiter,
          key: "service",
          limit: 2,
          window: "1 second"
        })
        const calls = yield* start(
          Effect.all(Array.from({ length: 5 }, () => limited.get("http://service/")), { concurrency: "unbounded" })
        )
        yield* TestClock.adjust("3 seconds")
        assert.strictEqual((yield* Fiber.join(calls)).length, 5)
        assert.deepStrictEqual(at, [0, 0, 1_000, 1_000, 2_000])
      }).pipe(provided))

    it.effect("a 429 holds all requests of its key for as long as it says", () =>
      Effect.gen(function*() {
        const { at, client } = service(() => new Response(null, { status: 429, headers: { "retry-after": "5" } }))
        const limited = HttpClient.withRateLimiter(client, {
          limiter: yield* RateLimiter.RateLimiter,
          key: "service",
          limit: 10,
          window: "1 second"
        })
        const first = yield* start(limited.get("http://service/"))
        yield* TestClock.adjust("1 second")
        const second = yield* start(limited.get("http://service/"))
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(
          [(yield* Fiber.join(first)).status, (yield* Fiber.join(second)).status],
          [200, 200]
        )
        assert.strictEqual(at.length, 3)
        assert.isAtLeast(at[1] ?? 0, 5_000)
        assert.isAtLeast(at[2] ?? 0, 5_000)
      }).pipe(provided))
  })
})
