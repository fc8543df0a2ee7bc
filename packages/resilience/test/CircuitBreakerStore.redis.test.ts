/** What holds of the store in Redis only, by the server's own clock. No test is decided by how fast anything is. */
import { CircuitBreakerStore } from "@ballast/resilience"
import * as NodeRedis from "@effect/platform-node/NodeRedis"
import { assert, it } from "@effect/vitest"
import { Clock, Duration, Effect, Layer } from "effect"
import { Redis } from "effect/persistence"
import * as RedisServer from "../../../test/support/RedisServer.ts"
import { server, spec } from "./support/circuitStores.ts"
import * as RestartableRedis from "./support/restartableRedis.ts"

const { CircuitBreakerStore: Store } = CircuitBreakerStore

const hour = 3_600_000

const failures = { _tag: "Consecutive", times: 2, of: "failures" } as const

/** A store of the test's own on the shared server. */
const store = (prefix: string, options?: CircuitBreakerStore.RedisOptions) =>
  Effect.provide(Store, CircuitBreakerStore.layerStoreRedis({ ...options, prefix }))

const send = <A = unknown>(...[command, ...args]: readonly [string, ...Array<string>]) =>
  Effect.flatMap(Redis.Redis, (redis) => redis.send<A>(command, ...args))

/** Milliseconds on the server's clock. */
const serverTime = Effect.map(
  send<ReadonlyArray<string>>("TIME"),
  ([seconds, micros]) => Number(seconds) * 1_000 + Number(micros) / 1_000
)

/** Asks the server what time it is until that has passed. */
const until = (millis: number) => Effect.repeat(serverTime, { until: (now) => now >= millis })

const failed = (era: string) => ({
  era,
  probe: undefined,
  outcome: "failure" as const,
  slow: false,
  retryAfter: undefined
})

RedisServer.describeRedis("CircuitBreakerStore in Redis", () => {
  it.layer(server)("server", (it) => {
    it.effect("keeps one circuit under one key of one hash slot, which expires in every state", () =>
      Effect.gen(function*() {
        const held = spec({ probeTimeout: 60_000 })
        const { admit, control, record } = yield* store("expiry", { idleTimeToLive: "1 minute" })
        const ttl = Effect.gen(function*() {
          assert.deepStrictEqual(yield* send("KEYS", "*expiry*"), ["{expiry:key}"])
          return Number(yield* send("PTTL", "{expiry:key}"))
        })
        const within = (actual: number, least: number, most: number) => {
          assert.isAbove(actual, least)
          assert.isAtMost(actual, most)
        }
        const minute = 60_000
        const day = 24 * 60 * minute
        const { view } = yield* admit("key", held)
        within(yield* ttl, 0, minute)
        yield* record("key", held, [failed(view.era), failed(view.era)])
        within(yield* ttl, 0, minute + 2_000)
        yield* control("key", held, { _tag: "Open", duration: 1 })
        yield* Effect.repeat(admit("key", held), { until: ({ probe }) => probe !== undefined })
        within(yield* ttl, minute, 2 * minute + 1)
        for (const command of ["Isolate", "Disable", "Shadow"] as const) {
          yield* control("key", held, { _tag: command })
          within(yield* ttl, 29 * day, 30 * day + minute + 1)
        }
        yield* control("key", held, { _tag: "Automatic" })
        within(yield* ttl, 0, minute)
        // The window counts for as long as it is.
        yield* control("key", spec({ trip: { _tag: "TimeWindow", window: day, minimumCalls: 1 } }), { _tag: "Close" })
        within(yield* ttl, minute, day + minute + 1)
      }))

    it.effect("keeps a key in use, though nothing changes", () =>
      Effect.gen(function*() {
        const { admit } = yield* store("in-use", { idleTimeToLive: "1 minute" })
        yield* admit("key", spec())
        yield* send("PEXPIRE", "{in-use:key}", "30000")
        yield* admit("key", spec())
        assert.isAbove(Number(yield* send("PTTL", "{in-use:key}")), 30_000)
      }))

    it.effect("decides in one script call", () =>
      Effect.gen(function*() {
        const { admit, control, inspect, record } = yield* store("calls")
        const { view } = yield* admit("key", spec())
        yield* send("CONFIG", "RESETSTAT")
        yield* admit("key", spec())
        yield* record("key", spec(), [failed(view.era), failed(view.era)])
        yield* control("key", spec(), { _tag: "Isolate" })
        yield* inspect("key", spec())
        const stats = String(yield* send("INFO", "commandstats"))
        assert.match(stats, /cmdstat_evalsha:calls=4,/)
        assert.notMatch(stats, /cmdstat_script/)
      }))

    it.effect.each([["RPUSH", "[]"], ["SET", "not a circuit"], ["SET", "[1]"]] as const)(
      "names a key that holds something else, and what to do: %s %s",
      ([command, value]) =>
        Effect.gen(function*() {
          const { admit } = yield* store("foreign")
          yield* send("DEL", "{foreign:key}")
          yield* send(command, "{foreign:key}", value)
          const error = yield* Effect.flip(admit("key", spec()))
          assert.strictEqual(
            error.message,
            "The store of circuits failed to admit a call: the Redis key {foreign:key} holds something else: delete it, " +
              "or choose another prefix"
          )
          yield* send("DEL", "{foreign:key}")
          assert.strictEqual((yield* admit("key", spec())).view.phase, "Closed")
        })
    )

    it.effect("goes on after the server's scripts were flushed", () =>
      Effect.gen(function*() {
        const held = spec({ openDurations: [hour], maxOpenDuration: hour })
        const { admit, inspect, record } = yield* store("flushed")
        const { view } = yield* admit("key", held)
        yield* record("key", held, [failed(view.era)])
        yield* send("SCRIPT", "FLUSH")
        yield* record("key", held, [failed(view.era)])
        assert.strictEqual((yield* inspect("key", held))._tag, "Open")
      }))

    it.effect("goes by the server's clock, whatever a process thinks the time is", () =>
      Effect.gen(function*() {
        const held = spec({ openDurations: [hour], maxOpenDuration: hour })
        const { admit, control } = yield* store("clocks")
        const real = yield* Clock.Clock
        const ahead = (millis: number): Clock.Clock => ({
          ...real,
          currentTimeMillisUnsafe: () => real.currentTimeMillisUnsafe() + millis,
          currentTimeNanosUnsafe: () => real.currentTimeNanosUnsafe() + BigInt(millis) * 1_000_000n,
          monotonicTimeNanosUnsafe: () => real.monotonicTimeNanosUnsafe() + BigInt(millis) * 1_000_000n
        })
        const by = (millis: number) => Effect.provideService(admit("key", held), Clock.Clock, ahead(millis))
        const before = yield* serverTime
        yield* control("key", held, { _tag: "Open", duration: undefined })
        for (const millis of [0, 10_000, -10_000]) {
          const { view: { left = NaN } } = yield* by(millis)
          const passed = Math.ceil((yield* serverTime) - before) + 1
          assert.isAtMost(left, hour)
          assert.isAtLeast(left, hour - passed)
        }
      }))

    it.effect("forgets what has left a window of 250 ms, and counts what has not", () =>
      Effect.gen(function*() {
        const held = spec({
          trip: { _tag: "TimeWindow", window: 250, minimumCalls: 2, failureRate: 1 },
          openDurations: [hour],
          maxOpenDuration: hour
        })
        const { admit, inspect, record } = yield* store("window")
        const { view } = yield* admit("key", held)
        const counted = Effect.map(inspect("key", held), (state) => state._tag === "Closed" ? state.calls : state._tag)
        yield* record("key", held, [failed(view.era)])
        yield* until((yield* serverTime) + 251)
        assert.strictEqual(yield* counted, 0)
        yield* record("key", held, [failed(view.era)])
        assert.notStrictEqual(yield* counted, "Open")
        yield* until((yield* serverTime) + 251)
        // In one step, so at one time.
        yield* record("key", held, [failed(view.era), failed(view.era)])
        assert.strictEqual(yield* counted, "Open")
      }))

    it.effect("admits no probe before 250 ms of open time are over", () =>
      Effect.gen(function*() {
        const held = spec()
        const { admit, control } = yield* store("open-time")
        const before = yield* serverTime
        yield* control("key", held, { _tag: "Open", duration: 250 })
        yield* Effect.repeat(admit("key", held), { until: ({ probe }) => probe !== undefined })
        assert.isAtLeast(yield* serverTime, Math.floor(before) + 250)
      }))

    it.effect("outlives a server's clock that went back", () =>
      Effect.gen(function*() {
        const held = spec({ openDurations: [500] })
        const { admit, control, record } = yield* store("back")
        const { view } = yield* admit("key", held)
        yield* control("key", held, { _tag: "Open", duration: 500 })
        // As if it had been opened by a clock that was an hour ahead.
        const text = String(yield* send("GET", "{back:key}"))
        const later = text.replace(/"untilAt":(\d+)/, (_, at) => `"untilAt":${Number(at) + hour}`)
        assert.notStrictEqual(later, text)
        yield* send("SET", "{back:key}", later)
        const rejected = yield* admit("key", held)
        assert.isAtMost(rejected.view.left ?? NaN, 500)
        assert.deepStrictEqual((yield* record("key", held, [failed(view.era)])).transitions, [])
      }))

    it.effect("nor does it stop the time of an opening or of a probe", () =>
      Effect.gen(function*() {
        const held = spec({ probeTimeout: 200 })
        const { admit, control } = yield* store("stopped")
        /** As if it had begun by a clock that was an hour ahead. */
        const begunLater = Effect.gen(function*() {
          const text = String(yield* send("GET", "{stopped:key}"))
          const later = text.replaceAll(/\d{13}(?=[,}\]])/g, (at) => String(Number(at) + hour))
          assert.notStrictEqual(later, text)
          yield* send("SET", "{stopped:key}", later)
        })
        yield* admit("key", held)
        yield* control("key", held, { _tag: "Open", duration: 200 })
        yield* begunLater
        assert.strictEqual((yield* admit("key", held)).view.phase, "Open")
        yield* until((yield* serverTime) + 250)
        assert.isDefined((yield* admit("key", held)).probe)
        yield* begunLater
        assert.isUndefined((yield* admit("key", held)).probe)
        yield* until((yield* serverTime) + 250)
        assert.isTrue((yield* admit("key", held)).replaced)
      }))
  })

  it.live(
    "starts afresh when the server lost its keys, and counts no result from before",
    () =>
      Effect.gen(function*() {
        const redis = yield* RestartableRedis.make
        const layer = CircuitBreakerStore.layerStoreRedis().pipe(
          Layer.provide(NodeRedis.layer({ url: redis.url, disableOfflineQueue: true }))
        )
        yield* Effect.gen(function*() {
          const { admit, control, inspect, record } = yield* Store
          const held = spec({ trip: failures, openDurations: [hour], maxOpenDuration: hour })
          const before = yield* admit("key", held)
          yield* control("key", held, { _tag: "Open", duration: 1 })
          const probe = yield* Effect.repeat(admit("key", held), { until: ({ probe }) => probe !== undefined })

          yield* redis.kill
          const error = yield* Effect.flip(admit("key", held))
          assert.strictEqual(error._tag, "CircuitBreakerStoreError")
          yield* redis.restart
          const after = yield* admit("key", held).pipe(
            Effect.eventually
          )
          assert.strictEqual(after.view.phase, "Closed")
          assert.notInclude([before.view.era, probe.view.era], after.view.era)
          const late = { ...failed(probe.view.era), probe: probe.probe }
          yield* record("key", held, [failed(before.view.era), failed(before.view.era), late, late])
          assert.deepStrictEqual(yield* inspect("key", held), {
            _tag: "Closed",
            calls: 0,
            failures: 0,
            slow: 0,
            shadow: false,
            openings: 0
          })
          yield* record("key", held, [failed(after.view.era), failed(after.view.era)])
          const opened = yield* inspect("key", held)
          assert.isTrue(opened._tag === "Open" && Duration.toMillis(opened.retryAfter) > 0)
        }).pipe(Effect.provide(layer))
      }).pipe(Effect.scoped),
    30_000
  )
})
