import { CircuitBreaker, SharedCircuitBreaker } from "@ballast/resilience"
import { assert } from "@effect/vitest"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Stream } from "effect"
import { metrics, withMetrics } from "./support.ts"
import { describeStores, StoreClock } from "./support/circuitStores.ts"
import { fail, ok, options } from "./support/sharedCircuits.ts"

type Breaker = SharedCircuitBreaker.SharedCircuitBreaker

/** Reads a state until it is the one that is waited for; what ended a call is told in the background. */
const reached = (breaker: Breaker, tag: CircuitBreaker.State["_tag"]) =>
  breaker.inspect("key").pipe(
    Effect.filterOrFail((state) => state._tag === tag),
    Effect.retry({ times: 500 }),
    Effect.orDie
  )

const rejection = <A, E>(exit: Exit.Exit<A, E>) => {
  const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
  return error instanceof CircuitBreaker.CircuitOpen ? error : undefined
}

const tripped = Effect.fnUntraced(function*(breaker: Breaker) {
  yield* Effect.exit(breaker("key")(fail))
  yield* Effect.exit(breaker("key")(fail))
  yield* reached(breaker, "Open")
})

/** Opens a circuit and calls until that is known here, too: one call is rejected. */
const opened = Effect.fnUntraced(function*(breaker: Breaker) {
  yield* tripped(breaker)
  return yield* Effect.exit(breaker("key")(ok)).pipe(
    Effect.map(rejection),
    Effect.repeat({ until: (error) => error !== undefined, times: 500 })
  )
})

/** Two processes that share circuits. */
const pair = Effect.all([SharedCircuitBreaker.make(options), SharedCircuitBreaker.make(options)])

describeStores("SharedCircuitBreaker", (test) => {
  test(
    "leaves answers and errors as they are",
    Effect.gen(function*() {
      const breaker = yield* SharedCircuitBreaker.make(options)
      assert.strictEqual(yield* breaker("key")(ok), "ok")
      const exit = yield* Effect.exit(breaker("key")(fail))
      assert.deepStrictEqual(exit, yield* Effect.exit(fail))
      assert.strictEqual(yield* Effect.succeed("piped").pipe(breaker("key")), "piped")
    })
  )

  test(
    "opens for all processes, each of which knows within its staleness",
    Effect.gen(function*() {
      const { advance } = yield* StoreClock
      const [one, two] = yield* pair
      yield* two("key")(ok)
      const own = yield* opened(one)
      assert.deepStrictEqual({ state: own?.state, breaker: own?.breaker }, { state: "open", breaker: "default" })
      // What the store said at first is good for 100 ms.
      yield* advance(99)
      assert.isUndefined(rejection(yield* Effect.exit(two("key")(ok))))
      yield* advance(100)
      const other = rejection(yield* Effect.exit(two("key")(ok)))
      assert.strictEqual(other?.state, "open")
      assert.isDefined(other?.retryAfter)
    })
  )

  test(
    "knows nothing of other keys",
    Effect.gen(function*() {
      const breaker = yield* SharedCircuitBreaker.make(options)
      yield* opened(breaker)
      assert.strictEqual(yield* breaker("other")(ok), "ok")
    })
  )

  test(
    "knows nothing of other names",
    Effect.gen(function*() {
      const one = yield* SharedCircuitBreaker.make({ ...options, name: "one" })
      const other = yield* SharedCircuitBreaker.make({ ...options, name: "other" })
      yield* opened(one)
      assert.strictEqual(yield* other("key")(ok), "ok")
      yield* one.isolate("key")
      yield* other.disable("key")
      assert.strictEqual((yield* one.inspect("key"))._tag, "Isolated")
    })
  )

  test(
    "runs one probe across processes, rejects the others at once, and closes for all",
    Effect.gen(function*() {
      const { advance } = yield* StoreClock
      const [one, two] = yield* pair
      yield* opened(one)
      yield* advance(1_000)
      let running = 0
      const release = yield* Deferred.make<void>()
      const probe = Effect.suspend(() => {
        running++
        return Deferred.await(release)
      })
      const calls = yield* Effect.forEach(
        Array.from({ length: 20 }, (_, n) => n % 2 === 0 ? one : two),
        (breaker) => Effect.forkChild(Effect.exit(breaker("key")(probe)))
      )
      // All but the probe are turned away while it runs.
      const losers = yield* Effect.race(
        Effect.forEach(calls, Fiber.await, { concurrency: "unbounded" }),
        Effect.as(
          Effect.repeat(Effect.yieldNow, {
            until: () => calls.filter((call) => call.pollUnsafe() !== undefined).length === 19
          }),
          "19 of 20"
        )
      )
      assert.strictEqual(losers, "19 of 20")
      assert.strictEqual(running, 1)
      const state = yield* one.inspect("key")
      assert.deepStrictEqual(state, {
        _tag: "HalfOpen",
        running: 1,
        succeeded: 0,
        failed: 0,
        shadow: false,
        openings: 1
      })
      yield* Deferred.succeed(release, undefined)
      const exits = yield* Effect.forEach(calls, Fiber.join)
      assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
      for (const exit of exits.filter(Exit.isFailure)) assert.strictEqual(rejection(exit)?.state, "half-open")
      yield* reached(one, "Closed")
      yield* advance(100)
      assert.strictEqual(yield* one("key")(ok), "ok")
      assert.strictEqual(yield* two("key")(ok), "ok")
    })
  )

  test(
    "opens again upon a failed probe",
    Effect.gen(function*() {
      const { advance } = yield* StoreClock
      const [one, two] = yield* pair
      yield* opened(one)
      yield* advance(1_000)
      assert.isUndefined(rejection(yield* Effect.exit(two("key")(fail))))
      yield* reached(one, "Open")
      assert.strictEqual(rejection(yield* Effect.exit(one("key")(ok)))?.state, "open")
    })
  )

  test(
    "replaces a probe past its limit in another process; the late result changes nothing",
    Effect.gen(function*() {
      const { advance } = yield* StoreClock
      const [one, two] = yield* pair
      yield* opened(one)
      yield* advance(1_000)
      const release = yield* Deferred.make<void>()
      const stuck = yield* Effect.forkChild(one("key")(Effect.andThen(Deferred.await(release), fail)))
      yield* Effect.repeat(one.inspect("key"), {
        until: (state) => state._tag === "HalfOpen" && state.running === 1,
        times: 500
      })
      yield* advance(5_000)
      const events = yield* Effect.forkChild(Stream.runCollect(Stream.take(two.events, 2)), { startImmediately: true })
      yield* Effect.yieldNow
      assert.strictEqual(yield* two("key")(ok), "ok")
      yield* reached(two, "Closed")
      assert.deepStrictEqual(Array.from(yield* Fiber.join(events), ({ _tag }) => _tag), [
        "ProbeReplaced",
        "Transitioned"
      ])
      yield* Deferred.succeed(release, undefined)
      yield* Fiber.await(stuck)
      const state = yield* one.inspect("key")
      assert.strictEqual(state._tag === "Closed" && state.failures, 0)
    })
  )

  test(
    "gives an interrupted probe's slot back",
    Effect.gen(function*() {
      const { advance } = yield* StoreClock
      const [one, two] = yield* pair
      yield* opened(one)
      yield* advance(1_000)
      const started = yield* Deferred.make<void>()
      const probe = yield* Effect.forkChild(
        one("key")(Effect.andThen(Deferred.succeed(started, undefined), Effect.never))
      )
      yield* Deferred.await(started)
      yield* Fiber.interrupt(probe)
      yield* Effect.repeat(one.inspect("key"), {
        until: (state) => state._tag === "HalfOpen" && state.running === 0,
        times: 500
      })
      assert.strictEqual(yield* two("key")(ok), "ok")
    })
  )

  test(
    "does by hand what holds in every process",
    Effect.gen(function*() {
      const { advance } = yield* StoreClock
      const [one, two] = yield* pair
      const sees = (call: Effect.Effect<string, unknown>) =>
        Effect.gen(function*() {
          yield* advance(100)
          const exit = yield* Effect.exit(two("key")(call))
          return rejection(exit)?.state ?? exit._tag
        })
      yield* one.isolate("key")
      assert.strictEqual(rejection(yield* Effect.exit(one("key")(ok)))?.state, "isolated")
      assert.strictEqual(yield* sees(ok), "isolated")
      yield* one.disable("key")
      for (let i = 0; i < 3; i++) assert.strictEqual(yield* sees(fail), "Failure")
      yield* one.automatic("key")
      yield* one.shadow("key")
      assert.strictEqual(yield* sees(ok), "Success")
      yield* tripped(one)
      assert.strictEqual(yield* sees(ok), "Success")
      yield* one.automatic("key")
      assert.strictEqual(yield* sees(ok), "open")
      yield* one.close("key")
      assert.strictEqual(yield* sees(ok), "Success")
      yield* one.open("key", "1 minute")
      const { retryAfter } = rejection(yield* Effect.exit(one("key")(ok))) ?? {}
      assert.deepStrictEqual(retryAfter, Duration.minutes(1))
    })
  )

  test(
    "tells what happens, to listeners and in metrics",
    withMetrics(Effect.gen(function*() {
      const { advance } = yield* StoreClock
      const breaker = yield* SharedCircuitBreaker.make({ ...options, name: "shared" })
      const seen: Array<string> = []
      yield* Effect.forkChild(
        Stream.runForEach(breaker.events, (event) =>
          Effect.sync(() => {
            seen.push(
              event._tag === "Transitioned"
                ? `${event.key}: ${event.from} ${event.to} (${event.because}, ${event.openings})`
                : event._tag
            )
          })),
        { startImmediately: true }
      )
      yield* Effect.yieldNow
      yield* opened(breaker)
      yield* advance(1_000)
      yield* breaker("key")(ok)
      yield* reached(breaker, "Closed")
      yield* Effect.repeat(Effect.yieldNow, { until: () => seen.length === 4, times: 100_000 })
      assert.deepStrictEqual(seen, [
        "key: Closed Open (consecutive, 1)",
        "Rejected",
        "key: Open HalfOpen (open-time-over, 1)",
        "key: HalfOpen Closed (probes-succeeded, 1)"
      ])
      const all = yield* metrics
      const transition = (from: string, to: string) =>
        all[`ballast_circuit_breaker_transitions_total{from=${from},name=shared,to=${to}}`]
      assert.deepStrictEqual(
        [
          all["ballast_policy_rejections_total{name=shared,policy=circuit-breaker}"],
          transition("closed", "open"),
          transition("open", "half-open"),
          transition("half-open", "closed"),
          all["ballast_circuit_breaker_state{name=shared}"]
        ],
        [1, 1, 1, 1, 0]
      )
    }))
  )

  test(
    "lets the row of failures of one process go on in another",
    Effect.gen(function*() {
      const [one, two] = yield* pair
      yield* Effect.exit(one("key")(fail))
      yield* Effect.repeat(one.inspect("key"), {
        until: (state) => state._tag === "Closed" && state.failures === 1,
        times: 500
      })
      yield* Effect.exit(two("key")(fail))
      yield* reached(one, "Open")
    })
  )
})
