import { interruptEverywhere } from "@ballast/resilience/testing"
import { ByModel, CallContext, Choice, Split } from "@ballast/router"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Random, Result, Stream } from "effect"
import { TestClock } from "effect/testing"
import { answered, answering, bothWays, request } from "./support.ts"

const empty = (): string => "no arm"

const count = (model: Split.Split<unknown>, calls: number, ask = (_: number) => request) =>
  Effect.gen(function*() {
    const counts: Record<string, number> = {}
    for (let call = 0; call < calls; call++) {
      const id = (yield* model.complete(ask(call))).id ?? ""
      counts[id] = (counts[id] ?? 0) + 1
    }
    return counts
  })

const seeded = Random.withSeed("ballast")

describe("Split", () => {
  it.effect("divides calls by weight, within chance", () =>
    Effect.gen(function*() {
      const split = Split.make({ a: { model: answering("a"), weight: 95 }, b: { model: answering("b"), weight: 5 } }, {
        empty
      })
      const { b = 0 } = yield* count(split, 10_000)
      // Five standard deviations of a binomial distribution around 500.
      assert.closeTo(b, 500, 5 * Math.sqrt(10_000 * 0.05 * 0.95))
    }).pipe(seeded))

  it.effect("gives an arm of weight 0 no call, and takes new weights at once", () =>
    Effect.gen(function*() {
      const split = Split.make({ a: { model: answering("a") }, b: { model: answering("b"), weight: 0 } }, { empty })
      assert.deepStrictEqual(yield* count(split, 100), { a: 100 })
      yield* split.update({ a: 0, b: 1 })
      assert.deepStrictEqual(yield* count(split, 100), { b: 100 })
      assert.deepStrictEqual((yield* split.inspect).map(({ name, weight }) => [name, weight]), [["a", 0], ["b", 1]])
      yield* split.update({ b: 0 })
      assert.deepStrictEqual(yield* bothWays(split), [Result.fail("no arm"), Result.fail("no arm")])
      const only = Split.make({ a: { model: answering("a"), weight: 0 } }, { empty })
      assert.deepStrictEqual(yield* bothWays(only), [Result.fail("no arm"), Result.fail("no arm")])
    }))

  it.effect.each(["complete", "stream"] as const)(
    "counts no call that has ended, wherever it is interrupted: %s",
    (way) =>
      interruptEverywhere({
        setup: Effect.sync(() => Split.make({ a: { model: answering("a") } }, { empty })),
        run: (split) => way === "complete" ? split.complete(request) : Stream.runDrain(split.stream(request)),
        check: (split) =>
          Effect.map(split.inspect, (arms) => assert.deepStrictEqual(arms.map(({ inFlight }) => inFlight), [0])),
        budgets: [3, 4, 5, 7]
      })
  )

  it.effect("keeps a key on its arm, and moves only the share of an arm that is added", () =>
    Effect.gen(function*() {
      const users = Array.from({ length: 4000 }, (_, index) => ({ ...request, user_id: `user-${index}` }))
      const arms = (names: ReadonlyArray<string>) =>
        Split.make(
          Object.fromEntries(names.map((name) => [name, { model: answering(name) }])),
          { empty, choice: Choice.byKey(Choice.user) }
        )
      const place = (split: Split.Split<unknown>) =>
        Effect.forEach(users, (user) => Effect.map(split.complete(user), ({ id }) => id))
      const four = yield* place(arms(["a", "b", "c", "d"]))
      assert.deepStrictEqual(yield* place(arms(["d", "c", "b", "a"])), four)
      const five = yield* place(arms(["a", "b", "c", "d", "e"]))
      const moved = five.filter((name, index) => name !== four[index])
      assert.isTrue(moved.every((name) => name === "e"))
      assert.closeTo(moved.length, 800, 5 * Math.sqrt(4000 * 0.2 * 0.8))
    }))

  it.effect("follows the weights over many keys", () =>
    Effect.gen(function*() {
      const split = Split.make(
        { a: { model: answering("a"), weight: 3 }, b: { model: answering("b"), weight: 1 } },
        { empty, choice: Choice.byKey(Choice.user) }
      )
      const { b = 0 } = yield* count(split, 4000, (call) => ({ ...request, user_id: `${call}` }))
      assert.closeTo(b, 1000, 5 * Math.sqrt(4000 * 0.25 * 0.75))
    }))

  it.effect("chooses the less busy of two", () =>
    Effect.gen(function*() {
      const slow = {
        complete: () => Effect.delay(Effect.succeed(answered("slow")), "1 minute"),
        stream: () => Stream.never
      }
      const split = Split.make(
        { slow: { model: slow }, quick: { model: answering("quick") } },
        { empty, choice: Choice.leastLoaded }
      )
      const fibers = yield* Effect.forEach(
        Array.from({ length: 20 }),
        () => Effect.forkChild(split.complete(request), { startImmediately: true })
      )
      // Once one call waits at `slow`, it is the busier one.
      assert.isAtMost((yield* split.inspect)[0]?.inFlight ?? 20, 1)
      yield* TestClock.adjust("1 minute")
      yield* Effect.forEach(fibers, Fiber.join)
      assert.deepStrictEqual((yield* split.inspect).map(({ inFlight }) => inFlight), [0, 0])
    }).pipe(seeded))

  it.effect("sends a call only to arms that it may go to", () =>
    Effect.gen(function*() {
      const split = Split.make({
        long: { model: answering("long"), when: ({ max_tokens }) => Effect.succeed((max_tokens ?? 0) > 1000) },
        short: { model: answering("short"), when: ({ max_tokens }) => Effect.succeed((max_tokens ?? 0) <= 1000) }
      }, { empty })
      assert.deepStrictEqual(yield* count(split, 20, () => ({ ...request, max_tokens: 2000 })), { long: 20 })
      assert.deepStrictEqual(yield* count(split, 20), { short: 20 })
    }))

  it("refuses weights and arms that can not be", () => {
    assert.throws(() => Split.make({}, { empty }), "there must be at least one arm")
    assert.throws(
      () => Split.make({ a: { model: answering("a"), weight: -1 } }, { empty }),
      "the weight of a must be a finite number"
    )
    const split = Split.make({ a: { model: answering("a") } }, { empty })
    assert.throws(() => split.update({ b: 1 }), "there is no arm b, only a")
    assert.throws(() => split.update({ a: Infinity }), "the weight of a must be a finite number")
  })
})

describe("Choice.prefix", () => {
  const turn = (...messages: typeof request.messages) => ({ ...request, messages })
  const context = CallContext.Current.defaultValue()

  it("is the same for all turns of a conversation, and another for another one", () => {
    const first = turn({ role: "system", content: "Be brief." }, { role: "user", content: "Hello" })
    const second = turn(...first.messages, { role: "assistant", content: "Hi" }, { role: "user", content: "Why?" })
    const other = turn({ role: "system", content: "Be brief." }, { role: "user", content: "Hej" })
    assert.strictEqual(Choice.prefix(second, context), Choice.prefix(first, context))
    assert.notStrictEqual(Choice.prefix(other, context), Choice.prefix(first, context))
  })
})

describe("ByModel", () => {
  it.effect("chooses by name, else the other model", () =>
    Effect.gen(function*() {
      const model = ByModel.make({ models: { "deepseek-flash": answering("flash") }, otherwise: answering("other") })
      assert.deepStrictEqual(yield* bothWays(model), [Result.succeed("flash"), Result.succeed("flash")])
      const asked = { ...request, model: "toString" }
      assert.deepStrictEqual(yield* bothWays(model, asked), [Result.succeed("other"), Result.succeed("other")])
    }))

  it.effect("lists what there is to whoever asks for an unknown model", () =>
    Effect.gen(function*() {
      const model = ByModel.make({ models: { flash: answering("flash"), pro: answering("pro") } })
      const error = yield* Effect.flip(model.complete({ ...request, model: "gpt" }))
      assert.strictEqual(
        error.message,
        "The service does not know this model: There is no model \"gpt\" here. There are flash, pro."
      )
    }))
})
