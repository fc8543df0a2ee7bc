import { Budgets } from "@ballast/gateway"
import { NodeRedis } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { BigDecimal, Context, Deferred, Effect, Exit, Layer, type Scope } from "effect"
import { Redis } from "effect/persistence"
import { TestClock } from "effect/testing"
import * as RedisServer from "../../../test/support/RedisServer.ts"

const money = (text: string) => BigDecimal.fromStringUnsafe(text)
const nothing: Budgets.Spent = () => Effect.succeed(money("0"))

const noon = Date.parse("2026-11-29T12:00:00Z")

const of = (day: string, month?: string, at = noon) =>
  Budgets.periods({ day: money(day), month: month === undefined ? undefined : money(month) }, at)

type Make = (spent?: Budgets.Spent) => Effect.Effect<ReadonlyArray<Budgets.Budgets>, unknown, Scope.Scope>

const suite = (name: string, make: Make) => {
  it.live(
    `${name}: a thousand calls at once never reserve more than the budget, in all processes together`,
    () =>
      Effect.gen(function*() {
        const processes = yield* make()
        const exits = yield* Effect.forEach(
          Array.from({ length: 1000 }, (_, n) => processes[n % processes.length]!),
          (budgets) => Effect.exit(budgets.reserve("alice", of("1"), money("0.01"))),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(exits.filter(Exit.isSuccess).length, 100)
        // Each cost a half of what it had reserved: there is room for as many again.
        yield* Effect.forEach(exits, (exit) => Exit.isSuccess(exit) ? exit.value.settle(money("0.005")) : Effect.void, {
          concurrency: 50
        })
        const more = yield* Effect.forEach(
          Array.from({ length: 100 }),
          () => Effect.exit(processes[0]!.reserve("alice", of("1"), money("0.01")))
        )
        assert.strictEqual(more.filter(Exit.isSuccess).length, 50)
        assert.isTrue(Exit.isSuccess(yield* Effect.exit(processes[0]!.reserve("bob", of("1"), money("1")))))
      }),
    30_000
  )

  it.live(`${name}: reserves in all periods or in none, and settles once`, () =>
    Effect.gen(function*() {
      const [budgets] = yield* make()
      const refused = yield* Effect.flip(budgets!.reserve("carol", of("10", "1"), money("2")))
      assert.deepInclude(refused, { period: "month", ends: Date.parse("2026-12-01T00:00:00Z"), used: 0 })
      const whole = yield* budgets!.reserve("carol", of("10", "10"), money("10"))
      assert.deepStrictEqual(whole.used, { period: "month", share: 1 })
      yield* budgets!.reserve("carol", of("100", "100"), money("1"))
      assert.deepStrictEqual(yield* whole.settle(money("3")), { period: "month", share: 0.4 })
      assert.isUndefined(yield* whole.settle(money("3")))
      const rest = yield* budgets!.reserve("carol", of("10", "10"), money("6"))
      assert.strictEqual(rest.used.share, 1)
      // Another day has a budget of its own, the month does not.
      const tomorrow = of("10", "10", noon + 86_400_000)
      assert.deepInclude(yield* Effect.flip(budgets!.reserve("carol", tomorrow, money("1"))), { period: "month" })
    }).pipe(Effect.scoped), 30_000)

  it.live(`${name}: begins with what the ledger says`, () =>
    Effect.gen(function*() {
      const [budgets] = yield* make(() => Effect.succeed(money("7.5")))
      const refused = yield* Effect.flip(budgets!.reserve("dave", of("10"), money("2.6")))
      assert.deepInclude(refused, { period: "day", used: 0.75 })
      yield* budgets!.reserve("dave", of("10"), money("2.5"))
    }).pipe(Effect.scoped), 30_000)
}

describe("Budgets", () => {
  suite("memory", (spent = nothing) => Effect.succeed([Budgets.memory(spent)]))

  it.effect("gives back what a killed process had reserved, after an hour", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(noon)
      const budgets = Budgets.memory(nothing)
      yield* budgets.reserve("alice", of("1"), money("1"))
      assert.isTrue(Exit.isFailure(yield* Effect.exit(budgets.reserve("alice", of("1"), money("1")))))
      yield* TestClock.adjust("61 minutes")
      assert.isTrue(Exit.isSuccess(yield* Effect.exit(budgets.reserve("alice", of("1"), money("1")))))
    }))

  it.effect("counts what a call cost that took longer than its reservation", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(noon)
      const budgets = Budgets.memory(nothing)
      const long = yield* budgets.reserve("alice", of("1"), money("1"))
      yield* TestClock.adjust("2 hours")
      yield* long.settle(money("0.75"))
      const refused = yield* Effect.flip(budgets.reserve("alice", of("1"), money("0.5")))
      assert.deepInclude(refused, { period: "day", used: 0.75 })
    }))
})

RedisServer.describeRedis("Budgets in Redis", () => {
  const connect = (url: string) => Effect.map(Layer.build(NodeRedis.layer({ url })), Context.get(Redis.Redis))
  suite("redis", (spent = nothing) =>
    Effect.gen(function*() {
      const { url } = Context.get(yield* Layer.build(RedisServer.layer), RedisServer.RedisServer)
      const clients = yield* Effect.all([connect(url), connect(url)])
      return yield* Effect.forEach(clients, (client) => Budgets.redis(client, spent))
    }))

  it.live("begin again with what the ledger says when Redis has lost its data", () =>
    Effect.gen(function*() {
      const { url } = Context.get(yield* Layer.build(RedisServer.layer), RedisServer.RedisServer)
      const client = yield* connect(url)
      let spent = "1"
      const budgets = yield* Budgets.redis(client, () => Effect.sync(() => money(spent)))
      const call = yield* budgets.reserve("alice", of("10", "100"), money("2"))
      yield* call.settle(money("2"))
      spent = "3"
      yield* client.send("FLUSHALL")
      const refused = yield* Effect.flip(budgets.reserve("alice", of("10", "100"), money("8")))
      assert.deepInclude(refused, { period: "day", used: 0.3 })
      assert.deepStrictEqual(
        yield* Effect.map(budgets.reserve("alice", of("10", "100"), money("7")), ({ used }) => used),
        {
          period: "day",
          share: 1
        }
      )
    }).pipe(Effect.scoped), 30_000)

  for (const when of ["before", "after"] as const) {
    it.effect(
      `count a call once whose end Redis did not answer, ${when} it was carried out`,
      () =>
        Effect.gen(function*() {
          yield* TestClock.setTime(noon)
          const { url } = Context.get(yield* Layer.build(RedisServer.layer), RedisServer.RedisServer)
          const client = yield* connect(url)
          const answered = yield* Deferred.make<void>()
          let state: "up" | "silent" | "back" = "up"
          const silent: Redis.Redis["Service"]["eval"] = (script) => {
            const run = client.eval(script)
            const down = new Redis.RedisError({ cause: new Error("down") })
            return (...params) =>
              Effect.suspend(() => {
                if (state === "silent") {
                  return Effect.andThen(when === "after" ? run(...params) : Effect.void, Effect.fail(down))
                }
                return state === "up"
                  ? run(...params)
                  : Effect.ensuring(run(...params), Deferred.succeed(answered, undefined))
              })
          }
          const budgets = yield* Budgets.redis({ ...client, eval: silent }, nothing)
          const call = yield* budgets.reserve("alice", of("10"), money("4"))
          state = "silent"
          yield* call.settle(money("2"))
          state = "back"
          yield* TestClock.adjust("2 seconds")
          yield* Deferred.await(answered)
          assert.deepEqual(yield* client.send("HGETALL", "ballast:budget:{alice}:2026-11-29"), { s: "2000000000" })
        }).pipe(Effect.scoped),
      30_000
    )
  }
})
