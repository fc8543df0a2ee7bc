import { Fallback, Outcome } from "@ballast/resilience"
import { interruptEverywhere, record } from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Data, Duration, Effect, Exit, Fiber, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { expectTypeOf } from "vitest"
import { eventsOf, Fault, metrics, withMetrics } from "./support.ts"

class Absent extends Data.TaggedError("Absent")<{ readonly id: number }> {
  get [Outcome.key]() {
    return Outcome.ignored()
  }
}
class Broken extends Data.TaggedError("Broken")<{ readonly why: string }> {}

const ok: Effect.Effect<string, Absent | Broken> = Effect.succeed("ok")
const absent: Effect.Effect<string, Absent | Broken> = Effect.fail(new Absent({ id: 7 }))
const broken: Effect.Effect<string, Absent | Broken> = Effect.fail(new Broken({ why: "fire" }))
const patience = 60_000

/** Compares what the types already know to be different. */
const same = (actual: unknown, expected: unknown) => assert.deepStrictEqual(actual, expected)

describe("Fallback", () => {
  describe("classes", () => {
    it.effect("by default all typed failures, and none is left in the channel", () =>
      Effect.gen(function*() {
        const fallback = yield* Fallback.make({}, Fallback.value(0))
        const guarded = fallback(broken)
        expectTypeOf(guarded).toEqualTypeOf<Effect.Effect<string | number>>()
        assert.strictEqual(yield* guarded, 0)
        assert.strictEqual(yield* fallback(absent), 0)
        assert.strictEqual(yield* fallback(ok), "ok")
      }))

    it.effect("tags leave the channel, and what serves is given them", () =>
      Effect.gen(function*() {
        const given: Array<string> = []
        const fallback = yield* Fallback.make(
          { on: Fallback.tag("Absent", "Other") },
          Fallback.effect((error: { readonly _tag: "Absent" | "Other" }) => Effect.sync(() => given.push(error._tag)))
        )
        const guarded = fallback(absent)
        expectTypeOf(guarded).toEqualTypeOf<Effect.Effect<string | number, Broken>>()
        assert.strictEqual(yield* guarded, 1)
        assert.deepStrictEqual(given, ["Absent"])
        assert.strictEqual((yield* Effect.flip(fallback(broken)))._tag, "Broken")
      }))

    it.effect("a refinement leaves the channel", () =>
      Effect.gen(function*() {
        const fallback = yield* Fallback.make(
          { on: Fallback.refine((error) => error instanceof Broken) },
          Fallback.effect((error: Broken) => Effect.succeed(error.why))
        )
        const guarded = fallback(broken)
        expectTypeOf(guarded).toEqualTypeOf<Effect.Effect<string, Absent>>()
        assert.strictEqual(yield* guarded, "fire")
        assert.strictEqual((yield* Effect.flip(fallback(absent)))._tag, "Absent")
      }))

    it.effect("a predicate leaves the channel as it is", () =>
      Effect.gen(function*() {
        const fallback = yield* Fallback.make(
          { on: Fallback.when((error) => error instanceof Absent && error.id === 7) },
          Fallback.value("seven")
        )
        const guarded = fallback(absent)
        expectTypeOf(guarded).toEqualTypeOf<Effect.Effect<string, Absent | Broken>>()
        assert.strictEqual(yield* guarded, "seven")
        assert.isTrue(Exit.isFailure(yield* Effect.exit(fallback(Effect.fail(new Absent({ id: 8 }))))))
      }))

    it.effect("an outcome may take in defects, and never an interruption", () =>
      Effect.gen(function*() {
        const fallback = yield* Fallback.make(
          { on: Fallback.outcome(({ _tag }) => _tag === "Failure") },
          Fallback.effect((error) => Effect.succeed(String(error)))
        )
        expectTypeOf(fallback(absent)).toEqualTypeOf<Effect.Effect<string, Absent | Broken>>()
        assert.strictEqual(yield* fallback(Effect.die("boom")), "boom")
        assert.include(yield* fallback(broken), "Broken")
        assert.isTrue(Exit.isFailure(yield* Effect.exit(fallback(absent))))
        const always = yield* Fallback.make({ on: Fallback.outcome(() => true) }, Fallback.value("served"))
        assert.isTrue(Exit.hasInterrupts(yield* Effect.exit(always(Effect.interrupt))))
      }))

    it.effect("a defect, even beside an error, is no typed failure", () =>
      Effect.gen(function*() {
        const fallback = yield* Fallback.make({}, Fallback.value("served"))
        const cause = Cause.combine(Cause.fail(new Absent({ id: 1 })), Cause.die("boom"))
        assert.deepStrictEqual(yield* Effect.exit(fallback(Effect.die("boom"))), Exit.die("boom"))
        same(yield* Effect.exit(fallback(Effect.failCause(cause))), Exit.failCause(cause))
      }))

    it.effect("a class that dies ends the call", () =>
      Effect.gen(function*() {
        const defect = new Error("broken predicate")
        const fallback = yield* Fallback.make({
          on: Fallback.when(() => {
            throw defect
          })
        }, Fallback.value("served"))
        assert.deepStrictEqual(yield* Effect.exit(fallback(absent)), Exit.die(defect))
        assert.deepStrictEqual(
          yield* Effect.exit(Stream.runDrain(fallback.stream(Stream.fromEffect(absent)))),
          Exit.die(defect)
        )
      }))
  })

  describe("a chain", () => {
    const mirror = Effect.suspend(() => Effect.fail(new Fault({})))

    it.effect("goes on until a step serves", () =>
      Effect.gen(function*() {
        const fallback = yield* Fallback.make(
          {},
          Fallback.effect(mirror, { name: "mirror" }),
          Fallback.value([], { name: "nothing" }),
          Fallback.value(1, { name: "never asked" })
        )
        const guarded = fallback(broken)
        expectTypeOf<Effect.Error<typeof guarded>>().toEqualTypeOf<never>()
        assert.deepStrictEqual(yield* guarded, [])
        assert.deepStrictEqual(yield* fallback.inspect, { served: 1, failed: 1 })
      }))

    it.effect("gives each step the error of the call, and returns the error of the last", () =>
      Effect.gen(function*() {
        const given: Array<unknown> = []
        const step = <E>(error: E) =>
          Fallback.effect((cause) => {
            given.push(cause)
            return Effect.fail(error)
          })
        const fallback = yield* Fallback.make({ on: Fallback.tag("Broken") }, step("first" as const), step(2 as const))
        const guarded = fallback(broken)
        expectTypeOf<Effect.Error<typeof guarded>>().toEqualTypeOf<Absent | 2>()
        assert.strictEqual(yield* Effect.flip(guarded), 2)
        assert.deepStrictEqual(given, [new Broken({ why: "fire" }), new Broken({ why: "fire" })])
      }))

    it.effect("ends at a defect, also of a function that throws", () =>
      Effect.gen(function*() {
        const boom = new Error("boom")
        const fallback = yield* Fallback.make(
          {},
          Fallback.effect((): Effect.Effect<string> => {
            throw boom
          }),
          Fallback.value("unreached")
        )
        assert.deepStrictEqual(yield* Effect.exit(fallback(absent)), Exit.die(boom))
      }))

    it.effect("of fallbacks with classes of their own is a pipe", () =>
      Effect.gen(function*() {
        const first = yield* Fallback.make({ on: Fallback.tag("Absent") }, Fallback.effect(mirror))
        const second = yield* Fallback.make({ on: Fallback.tag("Fault") }, Fallback.value("second"))
        const guarded = absent.pipe(first, second)
        expectTypeOf(guarded).toEqualTypeOf<Effect.Effect<string, Broken>>()
        assert.strictEqual(yield* guarded, "second")
      }))

    const Answer = Schema.Literals(["ok", "fail", "die"])
    it.effect.prop(
      "serves what the first good step has",
      { steps: Schema.NonEmptyArray(Answer) },
      ({ steps }) =>
        Effect.gen(function*() {
          const made = steps.map((answer, index) =>
            Fallback.effect(
              answer === "ok" ? Effect.succeed(index) : answer === "fail" ? Effect.fail(index) : Effect.die(index)
            )
          )
          const [first, ...rest] = made
          assert.isDefined(first)
          const fallback = yield* Fallback.make({}, first, ...rest)
          const decisive = steps.findIndex((answer) => answer !== "fail")
          const last = decisive < 0 ? steps.length - 1 : decisive
          const expected = { ok: Exit.succeed, fail: Exit.fail, die: Exit.die }[steps[last] ?? "fail"](last)
          assert.deepStrictEqual(yield* Effect.exit(fallback(Effect.fail("call"))), expected)
          same(
            yield* Effect.exit(Stream.runCollect(fallback.stream(Stream.fail("call")))),
            Exit.map(expected, (answer) => [answer])
          )
          const { failed, served } = yield* fallback.inspect
          assert.deepStrictEqual([served, failed], [
            2 * Number(steps[last] === "ok"),
            2 * (last + Number(steps[last] !== "ok"))
          ])
        })
    )
  })

  describe("stream", () => {
    it.effect("is answered while it has emitted nothing", () =>
      Effect.gen(function*() {
        const fallback = yield* Fallback.make({}, Fallback.value(0))
        const guarded = fallback.stream(Stream.fail(new Fault({})))
        expectTypeOf(guarded).toEqualTypeOf<Stream.Stream<number, Fault>>()
        assert.deepStrictEqual(yield* Stream.runCollect(guarded), [0])
      }))

    it.effect("fails as it is once it has emitted", () =>
      Effect.gen(function*() {
        const fallback = yield* Fallback.make({}, Fallback.value(0))
        const seen: Array<number> = []
        const guarded = fallback.stream(Stream.concat(Stream.make(1, 2), Stream.fail(new Fault({}))))
        const error = yield* Effect.flip(Stream.runForEach(guarded, (item) => Effect.sync(() => seen.push(item))))
        assert.strictEqual(error._tag, "Fault")
        assert.deepStrictEqual(seen, [1, 2])
        assert.deepStrictEqual(yield* fallback.inspect, { served: 0, failed: 0 })
      }))

    it.effect("is served a stream where there is one, and the next step only while that is empty", () =>
      Effect.gen(function*() {
        const serve = (stream: Stream.Stream<string, Fault>) =>
          Fallback.make(
            {},
            Fallback.effect(Effect.fail(new Fault({})), { stream: () => stream }),
            Fallback.value("next")
          )
        const run = (stream: Stream.Stream<string, Fault>) =>
          Effect.flatMap(
            serve(stream),
            (fallback) => Effect.exit(Stream.runCollect(fallback.stream(Stream.fail("call"))))
          )
        const fault = new Fault({})
        assert.deepStrictEqual(yield* run(Stream.make("a", "b")), Exit.succeed(["a", "b"]))
        assert.deepStrictEqual(yield* run(Stream.empty), Exit.succeed([]))
        assert.deepStrictEqual(yield* run(Stream.fail(fault)), Exit.succeed(["next"]))
        same(yield* run(Stream.concat(Stream.make("a"), Stream.fail(fault))), Exit.fail(fault))
      }))

    it.effect("is closed before the answer is served", () =>
      Effect.gen(function*() {
        const log: Array<string> = []
        const fallback = yield* Fallback.make({}, Fallback.effect(Effect.sync(() => log.push("serve"))))
        yield* Stream.runDrain(fallback.stream(
          Stream.ensuring(Stream.fail("call"), Effect.sync(() => log.push("close")))
        ))
        assert.deepStrictEqual(log, ["close", "serve"])
      }))
  })

  describe("lastGood", () => {
    const closed = Effect.fail(new Fault({}))

    it.effect("serves what was good, for its key, until it is too old", () =>
      Effect.gen(function*() {
        const lastGood = yield* Fallback.lastGood<number>({ maxAge: "1 minute" })
        yield* lastGood("book")(Effect.succeed(12))
        yield* TestClock.adjust("1 minute")
        const guarded = lastGood("book")(closed)
        expectTypeOf(guarded).toEqualTypeOf<Effect.Effect<number, Fault>>()
        assert.strictEqual(yield* guarded, 12)
        assert.strictEqual((yield* Effect.flip(lastGood("pen")(closed)))._tag, "Fault")
        yield* TestClock.adjust(1)
        assert.isTrue(Exit.isFailure(yield* Effect.exit(guarded)))
        assert.deepStrictEqual(yield* lastGood.inspect, { served: 1, failed: 2, kept: 1 })
      }))

    it.effect("serving an answer does not make it younger", () =>
      Effect.gen(function*() {
        const lastGood = yield* Fallback.lastGood<number>({ maxAge: "1 minute" })
        yield* lastGood("book")(Effect.succeed(12))
        yield* TestClock.adjust("40 seconds")
        yield* lastGood("book")(closed)
        yield* TestClock.adjust("40 seconds")
        assert.isTrue(Exit.isFailure(yield* Effect.exit(lastGood("book")(closed))))
      }))

    it.effect("is keyed by a function of the caller's", () =>
      Effect.gen(function*() {
        const lastGood = yield* Fallback.lastGood<number, { readonly id: number }>({ key: ({ id }) => `book-${id}` })
        yield* lastGood({ id: 1 })(Effect.succeed(12))
        assert.strictEqual(yield* lastGood({ id: 1 })(closed), 12)
        assert.isTrue(Exit.isFailure(yield* Effect.exit(lastGood({ id: 2 })(closed))))
        yield* lastGood.forget({ id: 1 })
        assert.isTrue(Exit.isFailure(yield* Effect.exit(lastGood({ id: 1 })(closed))))
      }))

    it.effect("keeps successes only, and serves only its class", () =>
      Effect.gen(function*() {
        const lastGood = yield* Fallback.lastGood<string>({
          on: Fallback.tag("Broken"),
          classify: (exit) => Exit.isSuccess(exit) && exit.value === "" ? Outcome.failure() : Outcome.classify(exit)
        })
        yield* lastGood("a")(Effect.succeed("good"))
        yield* lastGood("a")(Effect.succeed(""))
        assert.strictEqual(yield* lastGood("a")(broken), "good")
        assert.isTrue(Exit.isFailure(yield* Effect.exit(lastGood("a")(absent))))
        assert.deepStrictEqual(yield* Effect.exit(lastGood("a")(Effect.die("boom"))), Exit.die("boom"))
      }))

    it.effect("in a pipe, what it lacks the next fallback serves", () =>
      Effect.gen(function*() {
        const lastGood = yield* Fallback.lastGood<string>()
        const fallback = yield* Fallback.make({}, Fallback.value("default"))
        assert.strictEqual(yield* broken.pipe(lastGood("a"), fallback), "default")
        yield* ok.pipe(lastGood("a"), fallback)
        assert.strictEqual(yield* broken.pipe(lastGood("a"), fallback), "ok")
      }))

    it.effect("replays a whole stream, and neither a part nor one that is too long", () =>
      Effect.gen(function*() {
        const lastGood = yield* Fallback.lastGood<number>({ items: 3 })
        const run = (stream: Stream.Stream<number, Fault>) =>
          Effect.exit(Stream.runCollect(lastGood("a").stream(stream)))
        const fault = new Fault({})
        const cut = Stream.concat(Stream.make(8, 9), Stream.fail(fault))
        assert.deepStrictEqual(yield* run(cut), Exit.fail(fault))
        assert.deepStrictEqual(yield* run(Stream.fail(fault)), Exit.fail(fault))
        yield* run(Stream.make(1, 2, 3))
        assert.deepStrictEqual(yield* run(Stream.fail(fault)), Exit.succeed([1, 2, 3]))
        assert.deepStrictEqual(yield* run(cut), Exit.fail(fault))
        yield* run(Stream.make(1, 2, 3, 4))
        yield* Stream.runDrain(Stream.take(lastGood("a").stream(Stream.make(5, 6)), 1))
        assert.deepStrictEqual(yield* run(Stream.fail(fault)), Exit.succeed([1, 2, 3]))
      }))

    it.effect("keeps a stream only if its end is judged a success, with nothing as its result", () =>
      Effect.gen(function*() {
        const judged: Array<unknown> = []
        const lastGood = yield* Fallback.lastGood<number>({
          classify: Outcome.classifier({
            result: (result) => {
              judged.push(result)
              return Outcome.failure()
            }
          })
        })
        const { stream } = lastGood("a")
        assert.deepStrictEqual(yield* Stream.runCollect(stream(Stream.make(1, 2))), [1, 2])
        assert.deepStrictEqual(judged, [undefined])
        assert.strictEqual((yield* lastGood.inspect).kept, 0)
        assert.isTrue(Exit.isFailure(yield* Effect.exit(Stream.runDrain(stream(Stream.fail(new Fault({})))))))
      }))

    it.effect.prop("never keeps more than its size, and drops the oldest first", {
      keys: Schema.Array(Schema.Literals(["a", "b", "c", "d"])),
      size: Schema.Literals([1, 2, 3])
    }, ({ keys, size }) =>
      Effect.gen(function*() {
        const lastGood = yield* Fallback.lastGood<number>({ size })
        for (const [index, key] of keys.entries()) yield* lastGood(key)(Effect.succeed(index))
        const newest = Array.from(new Set(keys.toReversed())).slice(0, size)
        for (const key of ["a", "b", "c", "d"] as const) {
          const exit = yield* Effect.exit(lastGood(key)(closed))
          assert.strictEqual(Exit.isSuccess(exit), newest.includes(key))
          if (Exit.isSuccess(exit)) assert.strictEqual(exit.value, keys.lastIndexOf(key))
        }
        assert.strictEqual((yield* lastGood.inspect).kept, newest.length)
      }))

    it.effect("update changes its bounds at once", () =>
      Effect.gen(function*() {
        const lastGood = yield* Fallback.lastGood<number>()
        for (const key of ["a", "b", "c"]) yield* lastGood(key)(Effect.succeed(1))
        yield* TestClock.adjust("10 seconds")
        yield* lastGood.update({ size: 2 })
        assert.strictEqual((yield* lastGood.inspect).kept, 2)
        yield* lastGood.update({ maxAge: "5 seconds" })
        assert.isTrue(Exit.isFailure(yield* Effect.exit(lastGood("c")(closed))))
        assert.throws(() => lastGood.update({ size: 0 }), RangeError, "Fallback.update: size must be")
      }))

    it.effect("tells how old an answer was", () =>
      Effect.gen(function*() {
        const lastGood = yield* Fallback.lastGood<number>({ name: "prices" })
        const heard = yield* record(lastGood.events)
        const fault = new Fault({})
        yield* Effect.exit(lastGood("book")(Effect.fail(fault)))
        yield* lastGood("book")(Effect.succeed(12))
        yield* TestClock.adjust("3 seconds")
        yield* lastGood("book")(Effect.fail(fault))
        assert.deepStrictEqual((yield* heard).map(({ event }) => event), [
          { _tag: "Missed", key: "book", error: fault },
          { _tag: "Served", key: "book", age: Duration.seconds(3), error: fault }
        ])
        assert.deepStrictEqual(yield* metrics, {
          "ballast_fallbacks_total{fallback=last-good,name=prices}": 1,
          "ballast_fallback_failures_total{fallback=last-good,name=prices}": 1
        })
      }).pipe(withMetrics))

    it.effect("noop keeps and serves nothing", () =>
      Effect.gen(function*() {
        const lastGood = Fallback.lastGoodNoop<number>()
        yield* lastGood("a")(Effect.succeed(1))
        assert.isTrue(Exit.isFailure(yield* Effect.exit(lastGood("a")(closed))))
        assert.deepStrictEqual(yield* Stream.runCollect(lastGood("a").stream(Stream.make(1))), [1])
        assert.deepStrictEqual(yield* lastGood.inspect, { served: 0, failed: 0, kept: 0 })
      }))

    for (
      const [options, message] of [
        [{ maxAge: 0 }, "Fallback.lastGood: maxAge must be a duration above zero, got 0"],
        [{ size: 0 }, "Fallback.lastGood: size must be an integer of at least 1, got 0"],
        [{ items: 1.5 }, "Fallback.lastGood: items must be an integer of at least 1, got 1.5"]
      ] as const
    ) {
      it(`refuses ${JSON.stringify(options)}`, () => {
        assert.throws(() => Fallback.lastGood(options), RangeError, message)
      })
    }
  })

  describe("interruption", () => {
    it.effect("of the call or of a step is passed on", () =>
      Effect.gen(function*() {
        const fallback = yield* Fallback.make({}, Fallback.effect(Effect.never), Fallback.value("unreached"))
        for (const call of [Effect.never, absent]) {
          const fiber = yield* Effect.forkChild(fallback(call), { startImmediately: true })
          yield* Fiber.interrupt(fiber)
          assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
        }
        assert.deepStrictEqual(yield* fallback.inspect, { served: 0, failed: 0 })
      }))

    it.effect("at every step leaves nothing open", () =>
      Effect.gen(function*() {
        let open = 0
        const scoped = <A, E>(self: Effect.Effect<A, E>) =>
          Effect.acquireUseRelease(Effect.sync(() => open++), () =>
            Effect.andThen(Effect.sleep(10), self), () =>
            Effect.sync(() => open--))
        const program = Effect.all([
          Fallback.make({}, Fallback.effect(scoped(Effect.fail("mirror"))), Fallback.value("served")),
          Fallback.lastGood<string>()
        ])
        const { interrupted } = yield* interruptEverywhere({
          setup: program,
          run: ([fallback, lastGood]) =>
            scoped(absent).pipe(lastGood("key"), fallback),
          check: ([fallback], exit) =>
            Effect.map(fallback.inspect, ({ served }) => {
              assert.strictEqual(open, 0)
              assert.isAtLeast(served, Number(Exit.isSuccess(exit)))
            })
        })
        assert.isAbove(interrupted, 62)
      }), patience)
  })

  it.effect("1,000 callers at once are each served", () =>
    Effect.gen(function*() {
      const fallback = yield* Fallback.make({}, Fallback.effect((error) => Effect.as(Effect.sleep(5), error)))
      const lastGood = yield* Fallback.lastGood<number>({ size: 2_000 })
      const calls = Array.from({ length: 1_000 }, (_, index) => index)
      const fiber = yield* Effect.forkChild(Effect.forEach(
        calls,
        (index) =>
          Effect.andThen(
            lastGood(`${index}`)(Effect.delay(Effect.succeed(-index), 5)),
            Effect.all([lastGood(`${index}`)(Effect.fail(index)), fallback(Effect.delay(Effect.fail(index), 5))])
          ),
        { concurrency: "unbounded" }
      ))
      yield* TestClock.adjust("1 second")
      same(yield* Fiber.join(fiber), calls.map((index) => [-index, index]))
      assert.deepStrictEqual(yield* fallback.inspect, { served: 1_000, failed: 0 })
    }))

  it.effect("noop leaves a program as it is", () =>
    Effect.gen(function*() {
      expectTypeOf(Fallback.noop(absent)).toEqualTypeOf<Effect.Effect<string, Absent | Broken>>()
      assert.strictEqual((yield* Effect.flip(Fallback.noop(absent)))._tag, "Absent")
      assert.deepStrictEqual(yield* Stream.runCollect(Fallback.noop.stream(Stream.make(1))), [1])
      assert.deepStrictEqual(yield* Fallback.noop.inspect, { served: 0, failed: 0 })
    }))

  it.effect("tells which step served", () =>
    Effect.gen(function*() {
      const fallback = yield* Fallback.make(
        { name: "catalogue" },
        Fallback.effect(Effect.fail("down"), { name: "mirror" }),
        Fallback.value([], { name: "nothing" })
      )
      const heard = yield* record(fallback.events)
      const spanEvents = yield* eventsOf(fallback(absent))
      assert.deepStrictEqual((yield* heard).map(({ event }) => event), [
        { _tag: "Failed", fallback: "mirror", error: "down" },
        { _tag: "Served", fallback: "nothing", error: new Absent({ id: 7 }) }
      ])
      assert.deepStrictEqual(spanEvents, [
        { name: "ballast.fallback", attributes: { name: "catalogue", fallback: "nothing" } }
      ])
      assert.deepStrictEqual(yield* metrics, {
        "ballast_fallback_failures_total{fallback=mirror,name=catalogue}": 1,
        "ballast_fallbacks_total{fallback=nothing,name=catalogue}": 1
      })
    }).pipe(withMetrics))
})
