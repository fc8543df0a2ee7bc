import { Chaos, Policy, Retry } from "@ballast/resilience"
import { interruptEverywhere, passTime, record } from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Clock, ConfigProvider, Duration, Effect, Exit, Fiber, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { expectTypeOf } from "vitest"
import { eventsOf, metrics, withMetrics } from "./support.ts"

const ok = Effect.succeed("ok")
const down = { effect: Effect.fail("down" as const) }

/** Compares what the types already know to be different. */
const same = (actual: unknown, expected: unknown) => assert.deepStrictEqual(actual, expected)

/** Gives a program this configuration and none of the machine's. */
const configured = (settings: Record<string, string>) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.provideService(self, ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(settings))

const make = <E = never, B = never>(options: Chaos.Options<E, B>) => configured({})(Chaos.make(options))

/** What becomes of so many calls in turn, and how long each takes. */
const outcomes = Effect.fnUntraced(function*<E, B>(chaos: Chaos.Chaos<E, B>, calls: number) {
  const seen: Array<string> = []
  for (let call = 0; call < calls; call++) {
    const began = yield* Clock.currentTimeMillis
    const exit = yield* Effect.exit(passTime(chaos(ok)))
    const took = (yield* Clock.currentTimeMillis) - began
    seen.push(`${Exit.isSuccess(exit) ? String(exit.value) : "failed"} after ${took}`)
  }
  return seen
})

const all = { latency: { rate: 0.3, delay: 10 }, fault: { rate: 0.3, ...down }, result: { rate: 0.3, value: "fake" } }

describe("Chaos", () => {
  describe("disturbs", () => {
    it.effect("by a fault, in place of the call", () =>
      Effect.gen(function*() {
        const chaos = yield* make({ fault: { rate: 1, ...down } })
        let executed = false
        assert.strictEqual(yield* Effect.flip(chaos(Effect.sync(() => executed = true))), "down")
        assert.isFalse(executed)
      }))

    it.effect("by a defect or by hanging, where that is the fault", () =>
      Effect.gen(function*() {
        const dying = yield* make({ fault: { rate: 1, effect: Effect.die("boom") } })
        assert.deepStrictEqual(yield* Effect.exit(dying(ok)), Exit.die("boom"))
        const hanging = yield* make({ fault: { rate: 1, effect: Effect.never } })
        const fiber = yield* Effect.forkChild(hanging(ok), { startImmediately: true })
        yield* TestClock.adjust("1 day")
        assert.isUndefined(fiber.pollUnsafe())
        yield* Fiber.interrupt(fiber)
      }))

    it.effect("by a delay, before the call", () =>
      Effect.gen(function*() {
        const chaos = yield* make({ latency: { rate: 1, delay: "3 seconds" } })
        assert.deepStrictEqual(yield* outcomes(chaos, 2), ["ok after 3000", "ok after 3000"])
      }))

    it.effect("by delays drawn from a range", () =>
      Effect.gen(function*() {
        const chaos = yield* make({ latency: { rate: 1, delay: 1_000, upTo: 2_000 } })
        const heard = yield* record(chaos.events)
        yield* outcomes(chaos, 50)
        const delays = (yield* heard).map(({ event }) =>
          event._tag === "Delayed" ? Duration.toMillis(event.delay) : NaN
        )
        assert.isTrue(delays.every((delay) => delay >= 1_000 && delay < 2_000))
        assert.isAbove(new Set(delays).size, 40)
      }))

    it.effect("by a result, in place of the call; a fault comes before it, and a delay before both", () =>
      Effect.gen(function*() {
        const chaos = yield* make({ result: { rate: 1, value: 0 }, latency: { rate: 1, delay: 5 } })
        assert.deepStrictEqual(yield* outcomes(chaos, 1), ["0 after 5"])
        const failing = yield* make({
          result: { rate: 1, value: 0 },
          latency: { rate: 1, delay: 5 },
          fault: { rate: 1, ...down }
        })
        assert.deepStrictEqual(yield* outcomes(failing, 1), ["failed after 5"])
        assert.strictEqual((yield* failing.inspect).result.injected, 0)
      }))

    it.effect("nothing at a rate of 0, or when it was begun switched off", () =>
      Effect.gen(function*() {
        const never = yield* make({ latency: { rate: 0, delay: 5 }, fault: { rate: 0, ...down } })
        const off = yield* make({ ...all, fault: { rate: 1, ...down }, on: false })
        for (const chaos of [never, off]) {
          assert.deepStrictEqual(new Set(yield* outcomes(chaos, 50)), new Set(["ok after 0"]))
        }
      }))
  })

  describe("seed", () => {
    it.effect("the same seed disturbs the same calls, another one others", () =>
      Effect.gen(function*() {
        const run = (seed: string | number) => Effect.flatMap(make({ ...all, seed }), (chaos) => outcomes(chaos, 100))
        const first = yield* run("a")
        assert.deepStrictEqual(yield* run("a"), first)
        assert.notDeepEqual(yield* run("b"), first)
        assert.notDeepEqual(yield* run(1), first)
      }))

    it.effect("does not depend on the program's own chance", () =>
      Effect.gen(function*() {
        const chaos = yield* make({ fault: { rate: 0.5, ...down } })
        assert.isAbove(new Set(yield* outcomes(chaos, 50)).size, 1)
      }))

    it.effect("each kind is drawn for on its own", () =>
      Effect.gen(function*() {
        const chaos = yield* make({ fault: { rate: 0.5, ...down }, result: { rate: 0.5, value: "fake" } })
        for (let call = 0; call < 1_000; call++) yield* Effect.exit(chaos(ok))
        const { fault, result } = yield* chaos.inspect
        assert.closeTo(result.injected, (1_000 - fault.injected) / 2, 70)
      }))

    const Toggle = Schema.Literals(["latency", "fault", "result"])
    it.effect.prop("switching one kind leaves the others as they were", {
      seed: Schema.String,
      off: Toggle,
      at: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 30 }))
    }, ({ at, off, seed }) =>
      Effect.gen(function*() {
        const kinds = ["latency", "fault"] as const
        const trace = Effect.fnUntraced(function*(switched: boolean) {
          const chaos = yield* make({ ...all, seed })
          const seen: Array<Record<Chaos.Kind, number>> = []
          let before = { latency: 0, fault: 0, result: 0 }
          for (let call = 0; call < 30; call++) {
            if (switched && call === at) yield* chaos.set(off, false)
            yield* Effect.exit(passTime(chaos(ok)))
            const { fault, latency, result } = yield* chaos.inspect
            const now = { latency: latency.injected, fault: fault.injected, result: result.injected }
            seen.push({
              latency: now.latency - before.latency,
              fault: now.fault - before.fault,
              result: now.result - before.result
            })
            before = now
          }
          return seen
        })
        const plain = yield* trace(false)
        const switched = yield* trace(true)
        for (let call = 0; call < 30; call++) {
          for (const kind of kinds) {
            const expected = kind === off && call >= at ? 0 : plain[call]?.[kind]
            assert.strictEqual(switched[call]?.[kind], expected)
          }
        }
      }), { arbitrary: { runs: 20 } })

    it.effect.prop("the share of disturbed calls comes close to the rate", {
      seed: Schema.String,
      rate: Schema.Literals([0.1, 0.5, 0.9])
    }, ({ rate, seed }) =>
      Effect.gen(function*() {
        const chaos = yield* make({ seed, fault: { rate, ...down } })
        for (let call = 0; call < 2_000; call++) yield* Effect.exit(chaos(ok))
        assert.closeTo((yield* chaos.inspect).fault.injected / 2_000, rate, 0.07)
      }), { arbitrary: { runs: 20 } })
  })

  describe("while running", () => {
    it.effect("each kind is switched on its own, or all at once", () =>
      Effect.gen(function*() {
        const chaos = yield* make({
          latency: { rate: 1, delay: 5 },
          fault: { rate: 1, ...down },
          result: { rate: 1, value: "fake" }
        })
        const heard = yield* record(chaos.events)
        assert.deepStrictEqual(yield* outcomes(chaos, 1), ["failed after 5"])
        yield* chaos.set("fault", false)
        assert.deepStrictEqual(yield* outcomes(chaos, 1), ["fake after 5"])
        yield* chaos.set("result", false)
        assert.deepStrictEqual(yield* outcomes(chaos, 1), ["ok after 5"])
        yield* chaos.set("all", false)
        assert.deepStrictEqual(yield* outcomes(chaos, 1), ["ok after 0"])
        yield* chaos.set("all", true)
        assert.deepStrictEqual(yield* outcomes(chaos, 1), ["failed after 5"])
        const told = (yield* heard).map(({ event }) => event._tag === "Switched" ? event.kind : event._tag)
        assert.strictEqual(
          told.join(" "),
          "Delayed Failed fault Delayed Answered result Delayed latency latency fault result Delayed Failed"
        )
      }))

    it.effect("rates and delays change; what is left out stays", () =>
      Effect.gen(function*() {
        const chaos = yield* make({ fault: { rate: 1, ...down } })
        yield* chaos.update({ fault: { rate: 0 }, latency: { rate: 1, delay: 7 } })
        assert.deepStrictEqual(yield* outcomes(chaos, 1), ["ok after 7"])
        yield* chaos.update({ fault: { rate: 1 } })
        assert.deepStrictEqual(yield* outcomes(chaos, 1), ["failed after 7"])
        yield* chaos.update({ result: { rate: 1 }, fault: { rate: 0 } })
        assert.deepStrictEqual(yield* outcomes(chaos, 1), ["ok after 7"])
        assert.throws(
          () => chaos.update({ fault: { rate: 2 } }),
          RangeError,
          "Chaos.update: fault.rate must be in [0, 1]"
        )
      }))

    it.effect("a call under way goes on as it began", () =>
      Effect.gen(function*() {
        const chaos = yield* make({ latency: { rate: 1, delay: 10 }, fault: { rate: 1, ...down } })
        const fiber = yield* Effect.forkChild(chaos(ok), { startImmediately: true })
        yield* chaos.set("all", false)
        yield* TestClock.adjust(10)
        same(yield* Fiber.await(fiber), Exit.fail("down"))
      }))
  })

  describe("production", () => {
    const start = (settings: Record<string, string>, options: Chaos.Options = {}) =>
      Effect.exit(configured(settings)(Chaos.make({ name: "drill", ...options })))

    it.effect("refuses to start, with words", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(configured({ NODE_ENV: "production" })(Chaos.make({ name: "drill" })))
        assert.instanceOf(error, Chaos.ChaosRefused)
        assert.strictEqual(
          error.message,
          "Chaos \"drill\" does not start in the profile \"production\" unless allowInProduction is set"
        )
      }))

    it.effect("starts when told", () =>
      Effect.gen(function*() {
        assert.isTrue(Exit.isSuccess(yield* start({ NODE_ENV: "production" }, { allowInProduction: true })))
      }))

    for (
      const [settings, option, starts] of [
        [{}, undefined, true],
        [{ NODE_ENV: "test" }, undefined, true],
        [{ NODE_ENV: "Production" }, undefined, false],
        [{ NODE_ENV: "prod" }, undefined, false],
        [{ BALLAST_PROFILE: " live " }, undefined, false],
        [{ BALLAST_PROFILE: " ", NODE_ENV: "production" }, undefined, false],
        [{ BALLAST_PROFILE: " ", NODE_ENV: "test" }, undefined, true],
        [{ BALLAST_PROFILE: "staging", NODE_ENV: "production" }, undefined, true],
        [{ BALLAST_PROFILE: "production", NODE_ENV: "test" }, undefined, false],
        [{ NODE_ENV: "test" }, "production", false],
        [{ NODE_ENV: "production" }, "staging", true]
      ] as const
    ) {
      it.effect(`${JSON.stringify(settings)} and the option ${option} ${starts ? "start" : "don't start"}`, () =>
        Effect.map(start(settings, { profile: option }), (exit) => assert.strictEqual(Exit.isSuccess(exit), starts)))
    }

    for (
      const profile of [
        "production-eu",
        "eu-production",
        "eu_PROD_2",
        "prod-2",
        "prod2",
        "Prod.EU",
        "live/blue",
        "us-live",
        // Which are other profiles, perhaps; whoever knows that can say so.
        "pre-production",
        "non-prod",
        "not live"
      ]
    ) {
      it.effect(`refuses ${profile}`, () =>
        Effect.gen(function*() {
          const error = yield* Effect.flip(Chaos.make({ profile }))
          assert.strictEqual(error.profile, profile)
          yield* Chaos.make({ profile, allowInProduction: true })
        }))
    }

    for (
      const profile of [
        "",
        "preprod",
        "nonproduction",
        "product-team",
        "productions",
        "reprod",
        "liverpool",
        "delivery",
        "prodé"
      ]
    ) {
      it.effect(`starts in ${JSON.stringify(profile)}`, () => Effect.asVoid(Chaos.make({ profile })))
    }

    it.effect("refuses where the profile can't be read", () =>
      Effect.gen(function*() {
        const broken = ConfigProvider.make(() =>
          Effect.fail(new ConfigProvider.SourceError({ message: "vault is sealed" }))
        )
        const error = yield* Effect.flip(Effect.provideService(Chaos.make({}), ConfigProvider.ConfigProvider, broken))
        assert.strictEqual(
          error.message,
          "Chaos \"default\" does not start: the profile can't be read from the configuration"
        )
      }))
  })

  describe("stream", () => {
    it.effect("is disturbed before its first item and not later", () =>
      Effect.gen(function*() {
        const run = <E, B>(options: Chaos.Options<E, B>) =>
          Effect.flatMap(make(options), (chaos) =>
            Effect.exit(passTime(Stream.runCollect(chaos.stream(Stream.make(1, 2))))))
        same(yield* run({ fault: { rate: 1, ...down } }), Exit.fail("down"))
        assert.deepStrictEqual(yield* run({ result: { rate: 1, value: 0 } }), Exit.succeed([0]))
        assert.deepStrictEqual(yield* run({ latency: { rate: 1, delay: "1 minute" } }), Exit.succeed([1, 2]))
        assert.strictEqual(yield* Clock.currentTimeMillis, 60_000)
      }))
  })

  it.effect("types: faults and results are added, and without results it is a policy", () =>
    Effect.gen(function*() {
      const call: Effect.Effect<string, number> = ok
      const both = yield* make({ fault: { rate: 0, ...down }, result: { rate: 0, value: true } })
      expectTypeOf(both(call)).toEqualTypeOf<Effect.Effect<string | boolean, number | "down">>()
      const faults = yield* make({ fault: { rate: 0, ...down } })
      expectTypeOf(faults).toExtend<Policy.Policy<"down">>()
      const stack = Policy.compose(Retry.make(), faults)
      expectTypeOf(stack(call)).toEqualTypeOf<Effect.Effect<string, number | "down">>()
      assert.isTrue(Policy.isPolicy(faults))
      assert.strictEqual(yield* stack(call), "ok")
    }))

  it.effect("passes a defect of the call on", () =>
    Effect.gen(function*() {
      const chaos = yield* make({ latency: { rate: 1, delay: 0 } })
      assert.deepStrictEqual(yield* Effect.exit(passTime(chaos(Effect.die("boom")))), Exit.die("boom"))
    }))

  it.effect("an interruption ends a delay at once", () =>
    Effect.gen(function*() {
      const chaos = yield* make({ latency: { rate: 1, delay: "1 hour" } })
      const fiber = yield* Effect.forkChild(chaos(ok), { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
    }))

  it.effect("interrupted at every step leaves nothing behind", () =>
    Effect.gen(function*() {
      const { interrupted } = yield* interruptEverywhere({
        setup: make({ latency: { rate: 1, delay: 5 }, result: { rate: 0.5, value: "fake" } }),
        run: (chaos) => Effect.all([chaos(ok), Stream.runDrain(chaos.stream(Stream.make(1))), chaos(ok)]),
        check: (chaos, exit) =>
          Effect.map(chaos.inspect, ({ latency }) => {
            assert.isAtMost(latency.injected, 3)
            if (Exit.isSuccess(exit)) assert.strictEqual(latency.injected, 3)
          })
      })
      assert.isAbove(interrupted, 62)
    }), 60_000)

  it.effect("1,000 callers at once", () =>
    Effect.gen(function*() {
      const chaos = yield* make({ latency: { rate: 0.5, delay: 10 }, fault: { rate: 0.5, ...down } })
      const exits = yield* passTime(
        Effect.forEach(Array.from({ length: 1_000 }), () => Effect.exit(chaos(ok)), { concurrency: "unbounded" })
      )
      const { fault, latency } = yield* chaos.inspect
      assert.strictEqual(exits.filter(Exit.isFailure).length, fault.injected)
      assert.closeTo(latency.injected, 500, 100)
    }))

  it.effect("counts what it does, and how long it delays", () =>
    Effect.gen(function*() {
      const chaos = yield* make({ name: "drill", fault: { rate: 1, ...down }, latency: { rate: 1, delay: 500 } })
      assert.deepStrictEqual(yield* passTime(eventsOf(chaos(ok))), [
        { name: "ballast.chaos", attributes: { name: "drill", kind: "latency" } },
        { name: "ballast.chaos", attributes: { name: "drill", kind: "fault" } },
        { name: "ballast.wait", attributes: { policy: "chaos", name: "drill", seconds: 0.5 } }
      ])
      assert.deepStrictEqual(yield* metrics, {
        "ballast_chaos_injections_total{kind=latency,name=drill}": 1,
        "ballast_chaos_injections_total{kind=fault,name=drill}": 1,
        "ballast_policy_wait_seconds{name=drill,policy=chaos}": 0.5,
        "ballast_policy_wait_seconds_count{name=drill,policy=chaos}": 1
      })
    }).pipe(withMetrics))

  it.effect("noop disturbs nothing, whatever it is told", () =>
    Effect.gen(function*() {
      yield* Chaos.noop.set("all", true)
      yield* Chaos.noop.update({ fault: { rate: 1 } })
      assert.strictEqual(yield* Chaos.noop(ok), "ok")
      assert.deepStrictEqual(yield* Stream.runCollect(Chaos.noop.stream(Stream.make(1))), [1])
      assert.isFalse((yield* Chaos.noop.inspect).fault.on)
    }))

  describe("options", () => {
    const refused: ReadonlyArray<readonly [Chaos.Options, string]> = [
      [{ latency: { rate: 1.1, delay: 1 } }, "Chaos.make: latency.rate must be in [0, 1], got 1.1"],
      [{ latency: { rate: 1, delay: -1 } }, "Chaos.make: latency.delay must be a duration of at least zero"],
      [{ latency: { rate: 1, delay: Infinity } }, "Chaos.make: latency.delay must be finite, got Infinity"],
      [
        { latency: { rate: 1, delay: 2, upTo: 1 } },
        "Chaos.make: latency.delay must be no longer than latency.upTo (1ms), got 2ms"
      ],
      [{ fault: { rate: NaN, effect: Effect.never } }, "Chaos.make: fault.rate must be in [0, 1], got NaN"]
    ]
    for (const [options, message] of refused) {
      it(`refuses with "${message}"`, () => {
        assert.throws(() => Chaos.make(options), RangeError, message)
      })
    }
  })
})
