import { RateLimiterStore } from "@ballast/resilience"
import { assert, layer } from "@effect/vitest"
import { Clock, Context, Effect, Layer, Schema } from "effect"
import { Redis } from "effect/persistence"
import * as rate from "./support/rate.ts"
import * as redis from "./support/redis.ts"

const Weight = Schema.Literals([0.5, 1, 1, 2, 3, 7])
const Back = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 9 }))
const Settings = Schema.Struct({
  limit: Schema.Literals([5, 10, 20]),
  window: Schema.Literals([30_000, 60_000, 60_000, 120_000]),
  burst: Schema.Literals([4, 15]),
  warmUp: Schema.Literals([0, 20_000, 60_000])
})
const Step = Schema.Union([
  Schema.Struct({
    op: Schema.tag("take"),
    weights: Schema.Array(Weight).check(Schema.isMaxLength(4)),
    extra: Schema.Literals([0, 0, 5]),
    marked: Schema.Boolean
  }),
  Schema.Struct({ op: Schema.tag("peek"), weight: Weight }),
  Schema.Struct({ op: Schema.tag("charge"), weight: Weight }),
  Schema.Struct({ op: Schema.tag("reward"), weight: Weight }),
  Schema.Struct({ op: Schema.tag("giveBack"), weight: Weight, back: Back }),
  Schema.Struct({
    op: Schema.tag("hold"),
    kind: Schema.Literals(["pause", "block"]),
    seconds: Schema.Literals([5, 90])
  }),
  Schema.Struct({ op: Schema.tag("release"), kind: Schema.Literals(["pause", "block"]) }),
  Schema.Struct({ op: Schema.tag("pass"), seconds: Schema.Literals([1, 7, 59, 60, 61, 130]) }),
  Schema.Struct({ op: Schema.tag("update"), settings: Settings })
])

/** Little but calls, changes of the limit, and refunds of what was taken before them. */
const Changing = Schema.Union([
  Schema.Struct({
    op: Schema.tag("take"),
    weights: Schema.NonEmptyArray(Schema.Literals([3, 7])).check(Schema.isMaxLength(2)),
    extra: Schema.Literal(0),
    marked: Schema.Literals([false, false, true])
  }),
  Schema.Struct({ op: Schema.tag("giveBack"), weight: Schema.Literals([3, 7]), back: Back }),
  Schema.Struct({ op: Schema.tag("reward"), weight: Schema.Literal(1) }),
  Schema.Struct({ op: Schema.tag("pass"), seconds: Schema.Literals([1, 7]) }),
  Schema.Struct({ op: Schema.tag("update"), settings: Settings })
])

const sums = ["wait", "remaining"] as const
const all = [...sums, "reset"] as const

/**
 * The two stores have different clocks, and a test cannot set a server's. But
 * time on a key goes on from an offset that is stored with it. So time passes in
 * Redis by a larger offset, and in memory the clock then says what Redis said:
 * no answer depends on how fast the test runs.
 */
redis.describeRedis("RateLimiterStore", () => {
  layer(rate.storeRedis, { excludeTestServices: true })("against the arithmetic in memory", (it) => {
    let keys = 0

    for (
      const [what, algorithms, steps] of [
        ["history", rate.algorithms, Step],
        ["changes of the limit", ["token-bucket", "leaky-bucket"], Changing]
      ] as const
    ) {
      it.effect.prop(
        `answers alike on any ${what}`,
        {
          algorithm: Schema.Literals<ReadonlyArray<(typeof algorithms)[number]>>(algorithms),
          first: Settings,
          steps: Schema.Array<typeof Step | typeof Changing>(steps)
        },
        ({ algorithm, first, steps }) =>
          Effect.gen(function*() {
            const { send } = yield* Redis.Redis
            const inRedis = yield* RateLimiterStore.RateLimiterStore
            const key = `history ${keys++}`
            const hash = redis.hashOf(key)
            let base: number | undefined
            let now = 0
            const clock = redis.makeClock(() => now)
            const memory = Context.get(
              yield* Effect.scoped(Layer.build(RateLimiterStore.layerStoreMemory)),
              RateLimiterStore.RateLimiterStore
            )
            const inMemory = <A, E>(effect: Effect.Effect<A, E>) => Effect.provideService(effect, Clock.Clock, clock)

            const bucket = algorithm === "token-bucket" || algorithm === "leaky-bucket"
            const specOf = ({ burst, limit, warmUp, window }: typeof Settings.Type) =>
              rate.spec({
                algorithm,
                limit,
                window,
                burst: algorithm === "token-bucket" ? burst : algorithm === "leaky-bucket" ? 8 : limit,
                warmUp: bucket ? warmUp : 0
              })
            let spec = specOf(first)
            const takenAt: Array<{ readonly redis: number; readonly memory: number }> = []

            const compare = Effect.fnUntraced(function*(
              what: string,
              ask: (
                store: typeof memory
              ) => Effect.Effect<RateLimiterStore.Decision, RateLimiterStore.RateLimiterStoreError>
            ) {
              const actual = yield* ask(inRedis)
              base ??= actual.at
              now = actual.at - base
              const expected = yield* inMemory(ask(memory))
              for (const field of ["admitted", "extra", "blocked"] as const) {
                assert.strictEqual(actual[field], expected[field], `${what}: ${field}`)
              }
              // An entry of a log that was given back whole stays in memory until its window is over.
              if (algorithm === "sliding-log") assert.isAtMost(actual.reset, expected.reset + 0.01, `${what}: reset`)
              for (const field of algorithm === "sliding-log" ? sums : all) {
                if (actual[field] !== expected[field]) {
                  assert.closeTo(actual[field], expected[field], 0.01, `${what}: ${field}`)
                }
              }
              takenAt.push({ redis: actual.at, memory: expected.at })
            })
            /** What tells no time leaves it behind as the time last seen. */
            const change = Effect.fnUntraced(function*(
              f: (store: typeof memory) => Effect.Effect<void, RateLimiterStore.RateLimiterStoreError>
            ) {
              yield* f(inRedis)
              now = Number(yield* send<string>("HGET", hash, "seen")) - (base ?? 0)
              yield* inMemory(f(memory))
            })

            yield* compare("the first", (store) => store.take(key, spec, { weights: [1], extra: 0, marked: true }))
            for (const step of steps) {
              switch (step.op) {
                case "take":
                  yield* compare("take", (store) => store.take(key, spec, step))
                  break
                case "peek":
                  yield* compare("peek", (store) => store.peek(key, spec, step.weight))
                  break
                case "charge":
                  yield* change((store) => store.charge(key, spec, step.weight))
                  break
                case "reward":
                  yield* change((store) => store.reward(key, spec, step.weight))
                  break
                case "giveBack": {
                  const at = takenAt[Math.max(0, takenAt.length - 1 - step.back)]
                  if (at !== undefined) {
                    yield* change((store) =>
                      store.giveBack(key, spec, step.weight, store === memory ? at.memory : at.redis)
                    )
                  }
                  break
                }
                case "hold":
                  yield* change((store) => store.hold(key, step.kind, step.seconds * 1_000))
                  break
                case "release":
                  yield* inRedis.release(key, step.kind)
                  yield* inMemory(memory.release(key, step.kind))
                  break
                case "pass":
                  yield* send("HINCRBYFLOAT", hash, "offset", `${step.seconds * 1_000}`)
                  break
                case "update":
                  spec = specOf(step.settings)
                  break
              }
              // In memory a look may move a window on, in Redis only a change does; so both are moved at one time.
              if (step.op === "pass") yield* change((store) => store.charge(key, spec, 0))
              // The server's own time must not end a key while time on it is the test's.
              yield* send("PERSIST", hash)
              yield* send("PERSIST", `${hash}:log`)
              yield* compare(`after ${step.op}`, (store) => store.peek(key, spec, 1))
            }
          }),
        { arbitrary: { runs: 150, size: 30 }, timeout: 60_000 }
      )
    }
  })
})
