import type { ChatRequest } from "@ballast/chat"
import { Pricing } from "@ballast/deepseek"
import { Budgets, ClientLimits, type Exchange, type Limits } from "@ballast/gateway"
import { CallInfo, RateLimiterStore } from "@ballast/resilience"
import { interruptEverywhere } from "@ballast/resilience/testing"
import { NodeRedis } from "@effect/platform-node"
import { assert, describe, it, layer } from "@effect/vitest"
import { BigDecimal, Context, Effect, Exit, Layer, Result, Scope } from "effect"
import * as RedisServer from "../../../test/support/RedisServer.ts"
import { hello, layer as gateway, post, Running, send } from "./harness.ts"

const chat = "/v1/chat/completions"
const simulator = { type: "simulator", accounts: { main: { keys: ["sk-test"] } } }
const client = (name: string, limits: object) => ({ keys: [`key-of-${name}`], limits })

const unknown = () => Result.fail(new Pricing.UnknownPrice({ provider: "p", model: "m" }))
const unpriced = { bound: unknown, run: unknown }

const narrow = { concurrency: 1 }

const asked: ChatRequest.ChatRequest = { model: "m", messages: [{ role: "user", content: "Hello!" }] }

const exchange: Exchange.Exchange = {
  id: "x",
  began: 0,
  traceId: "",
  method: "POST",
  path: "/",
  route: "/",
  params: {},
  upstream: () => "p",
  client: { name: "narrow", labels: {} },
  status: 499
}

const settings = {
  providers: { near: simulator, odd: { ...simulator, type: "openai", baseUrl: "http://odd.invalid" } },
  models: {
    "deepseek-flash": { targets: [{ provider: "near" }] },
    odd: { targets: [{ provider: "odd", model: "deepseek-flash" }] },
    degraded: { targets: [{ provider: "near", model: "deepseek-flash" }] },
    cached: { targets: [{ provider: "near", model: "deepseek-flash" }], cache: { maxTemperature: 1 } }
  },
  clients: {
    free: { keys: ["key-of-free"] },
    slow: client("slow", { requestsPerMinute: 2 }),
    wordy: client("wordy", { tokensPerMinute: 600 }),
    poor: client("poor", { budget: { day: 0.02, warnAt: 0.1 } }),
    told: client("told", { budget: { day: 0.005 } }),
    wide: client("wide", { budget: { day: 1 } }),
    tight: client("tight", { budget: { day: 0.000001 } }),
    broke: client("broke", { budget: { day: 0.02 } })
  },
  clientLimits: { requestsPerMinute: 1000 },
  admin: { keys: { root: ["admin-of-root"] } }
}

describe("limits of clients", () => {
  layer(gateway({ settings }), { excludeTestServices: true })("in the gateway", (it) => {
    const ask = (name: string, more: object = {}) =>
      Effect.gen(function*() {
        const { url } = yield* Running
        return yield* post(url + chat, { ...hello, max_tokens: 100, ...more }, {
          authorization: `Bearer key-of-${name}`
        })
      })

    it.effect("refuse more requests a minute, and say when to come back", () =>
      Effect.gen(function*() {
        const statuses = yield* Effect.forEach([1, 2, 3], () => Effect.map(ask("slow"), ({ status }) => status))
        assert.deepStrictEqual(statuses, [200, 200, 429])
        const { headers, json } = yield* ask("slow")
        assert.strictEqual(json.error.code, "client_rate_limit_exceeded")
        assert.match(
          json.error.message,
          /^The client slow has reached its limit of 2 requests per minute\. Try again in \d+s/
        )
        assert.isAbove(Number(headers.get("retry-after")), 0)
        assert.strictEqual((yield* ask("free")).status, 200)
      }))

    it.effect("take tokens by an estimate, and give back what was not used", () =>
      Effect.gen(function*() {
        // Each is estimated at more than 100, and uses less.
        const { json, status } = yield* ask("wordy", { max_tokens: 10 })
        assert.strictEqual(status, 200)
        assert.isBelow(json.usage.total_tokens, 100)
        const statuses = yield* Effect.forEach(Array.from({ length: 8 }), () =>
          Effect.map(ask("wordy", { max_tokens: 500 }), ({ status }) => status))
        assert.include(statuses, 429)
        assert.strictEqual(statuses[0], 200)
      }))

    it.effect("bound the money, warn before, and never let more be spent", () =>
      Effect.gen(function*() {
        const answers = yield* Effect.forEach(Array.from({ length: 60 }), () => ask("poor"), { concurrency: 20 })
        const costs = answers.flatMap(({ headers, status }) =>
          status === 200 ? [Number(headers.get("x-ballast-cost")!.split(" ")[0])] : []
        )
        assert.isBelow(costs.reduce((sum, cost) => sum + cost, 0), 0.02)
        assert.isAbove(costs.length, 5)
        assert.isTrue(answers.some(({ headers }) => /^day \d+%$/.test(headers.get("x-ballast-budget-warning") ?? "")))
        const refused = answers.find(({ status }) => status === 429)!
        assert.strictEqual(refused.json.error.code, "budget_exceeded")
        assert.match(
          refused.json.error.message,
          /^The budget of the client poor for this day does not suffice for this call: \d+ % of it are spent or reserved\. It renews at \d{4}-/
        )
        const { text } = yield* Effect.flatMap(Running, ({ url }) =>
          send(`${url}/metrics`, { headers: { authorization: "Bearer key-of-free" } }))
        assert.match(text, /^ballast_budget_used_ratio\{(?=[^}]*client="poor")[^}]*\} 0\.\d+$/m)
      }))

    it.effect("show what of the money is used when a call has ended, and when one is refused", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        assert.strictEqual((yield* ask("wide", { max_tokens: 50_000 })).status, 200)
        assert.strictEqual((yield* ask("tight")).status, 429)
        const used = (name: string) =>
          Effect.map(
            send(`${url}/metrics`, { headers: { authorization: "Bearer key-of-free" } }),
            ({ text }) =>
              new RegExp(`^ballast_budget_used_ratio\\{(?=[^}]*client="${name}")[^}]*\\} (.+)$`, "m").exec(text)?.[1]
          )
        // More than a tenth was reserved. An answer is there before its end is settled.
        const settled = yield* Effect.repeat(used("wide"), { until: (share) => Number(share) < 0.1, times: 500 })
        assert.isBelow(Number(settled), 0.1)
        assert.strictEqual(yield* used("tight"), "0")
      }))

    it.effect("refuse what must be paid for once the money is spent, and serve what a cache has", () =>
      Effect.gen(function*() {
        const asking = (content: string, more: object = {}) =>
          ask("broke", { model: "cached", messages: [{ role: "user", content }], ...more })
        const streaming = { stream: true, stream_options: { include_usage: true } }
        yield* asking("first")
        yield* asking("first", streaming)
        let n = 0
        while ((yield* asking(`another ${n}`)).status === 200) n++
        const told = ({ headers, status }: { status: number; headers: Headers }) =>
          [status, headers.get("x-ballast-cache"), headers.get("x-ballast-cost")] as const
        const again = [yield* asking("first"), yield* asking("first", streaming)]
        assert.deepStrictEqual(told(again[0]!), [200, "hit", "0 CNY"])
        assert.deepStrictEqual([again[1]!.status, again[1]!.headers.get("x-ballast-cache")], [200, "hit"])
        assert.include(again[1]!.text, "[DONE]")
        for (const more of [{}, streaming]) {
          const { json, status } = yield* asking("never asked", more)
          assert.deepStrictEqual([status, json.error.code], [429, "budget_exceeded"])
        }
      }))

    it.effect("count nothing for a text that an operator has set", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const order = { do: "degrade", model: "degraded", to: { text: "Back at noon." } }
        yield* post(`${url}/admin/v1/acts`, order, { authorization: "Bearer admin-of-root" })
        for (const more of [{}, { stream: true }]) {
          const answers = yield* Effect.forEach(Array.from({ length: 10 }), () =>
            ask("told", { model: "degraded", ...more }))
          assert.deepStrictEqual(
            new Set(answers.map(({ status }) =>
              status
            )),
            new Set([200])
          )
        }
      }))

    it.effect("do not fail by what stands in a request", () =>
      Effect.gen(function*() {
        for (
          const odd of [{ messages: [null] }, { messages: [{ role: "user", content: [null] }] }, { max_tokens: "x" }]
        ) {
          for (const name of ["wordy", "poor"]) {
            assert.include([400, 429], (yield* ask(name, odd)).status, JSON.stringify(odd))
          }
        }
      }))

    it.effect("refuse a client with a budget a model without a price", () =>
      Effect.gen(function*() {
        const { json, status } = yield* ask("poor", { model: "odd" })
        assert.deepStrictEqual([status, json.error.code], [403, "price_unknown"])
        assert.match(
          json.error.message,
          /The price of deepseek-flash at odd is not known\. The client poor has a budget/
        )
        assert.notStrictEqual((yield* ask("free", { model: "odd" })).status, 403)
      }))
  })

  it.effect("bound the requests that run at once, until each has ended", () =>
    Effect.gen(function*() {
      const limits = yield* ClientLimits.make({
        others: () => narrow,
        costs: unpriced,
        budgets: Budgets.memory(() => Effect.succeed(BigDecimal.make(0n, 0)))
      })
      const admit = limits.admit(exchange, asked)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* admit
        assert.strictEqual((yield* Effect.flip(admit)).case, "ClientLimited")
      }))
      yield* Effect.scoped(admit)
    }))

  it.effect("hold nothing of a request that is interrupted as it is admitted", () =>
    interruptEverywhere({
      setup: ClientLimits.make({
        others: () => narrow,
        costs: unpriced,
        budgets: Budgets.memory(() => Effect.succeed(BigDecimal.make(0n, 0)))
      }),
      run: (limits) => Effect.scoped(limits.admit(exchange, asked)),
      check: (limits) => Effect.scoped(limits.admit(exchange, asked)),
      budgets: [3, 4, 5, 7]
    }))

  it.effect("count the requests of before when they change, until those have ended", () =>
    Effect.gen(function*() {
      const limits = yield* ClientLimits.make({
        others: () => undefined,
        costs: unpriced,
        budgets: Budgets.memory(() => Effect.succeed(BigDecimal.make(0n, 0)))
      })
      const admit = (concurrency: number) =>
        limits.admit({ ...exchange, client: { name: "narrow", labels: {}, limits: { concurrency } } }, asked)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* admit(1)
        assert.strictEqual((yield* Effect.flip(admit(1))).case, "ClientLimited")
        yield* admit(2)
        assert.strictEqual((yield* Effect.flip(admit(2))).case, "ClientLimited")
      }))
      yield* Effect.scoped(admit(1))
    }))

  it.effect("count of an answer that broke off the prompt, and a token for each item that came", () =>
    Effect.gen(function*() {
      const amount = (units: bigint) => BigDecimal.make(units, 0)
      const bound = () => Result.succeed({ most: amount(1000n), prompt: amount(100n), token: amount(2n) })
      const settled: Array<string> = []
      const settle = (cost: BigDecimal.BigDecimal) => Effect.sync(() => void settled.push(BigDecimal.format(cost)))
      const limits = yield* ClientLimits.make({
        others: () => undefined,
        costs: { bound, run: bound },
        budgets: { reserve: () => Effect.succeed({ used: { period: "day", share: 0 }, settle }) }
      })
      const client = { name: "poor", labels: {}, limits: { budget: { day: 1 } } }
      const ended = (exit: Exit.Exit<void>, made: Partial<Exchange.Exchange>) =>
        Effect.scopedWith((scope) =>
          Effect.gen(function*() {
            const own = yield* Scope.fork(scope)
            yield* Scope.provide(own)(limits.spend({ ...exchange, client, ...made }, asked) ?? Effect.void)
            yield* Scope.close(own, exit)
            return settled.pop()
          })
        )
      const call = { ...CallInfo.make(), attempts: 1 }
      const left = Exit.interrupt()
      assert.strictEqual(yield* ended(Exit.void, { call }), "1000")
      assert.strictEqual(yield* ended(left, { call, firstAt: 1, items: 7 }), "114")
      assert.strictEqual(yield* ended(left, { call, firstAt: 1, items: 700 }), "1000")
      assert.strictEqual(yield* ended(left, { call }), "100")
      assert.strictEqual(yield* ended(Exit.void, { call, error: "deadline_exceeded" }), "100")
      // The service refused it, or was not asked.
      assert.strictEqual(
        yield* ended(Exit.void, { call: { ...call, failure: "Overloaded" }, error: "overloaded" }),
        "0"
      )
      assert.strictEqual(yield* ended(left, { call: CallInfo.make() }), "0")
    }))

  it.effect("go on when the same limits are read anew", () =>
    Effect.gen(function*() {
      const limits = yield* ClientLimits.make({
        others: () => undefined,
        costs: unpriced,
        budgets: Budgets.memory(() => Effect.succeed(BigDecimal.make(0n, 0)))
      })
      const admit = Effect.suspend(() =>
        Effect.scoped(
          limits.admit({ ...exchange, client: { name: "slow", labels: {}, limits: { requestsPerMinute: 1 } } }, asked)
        )
      )
      yield* admit
      assert.strictEqual((yield* Effect.flip(admit)).case, "ClientLimited")
    }))
})

const sharing = (store: RateLimiterStore.RateLimiterStore["Service"]) =>
  Effect.map(
    ClientLimits.make({
      others: () => undefined,
      costs: unpriced,
      budgets: Budgets.memory(() => Effect.succeed(BigDecimal.make(0n, 0))),
      store
    }),
    ({ admit }) => (limits: Limits.Limits) =>
      Effect.map(
        Effect.exit(Effect.scoped(admit({ ...exchange, client: { name: "slow", labels: {}, limits } }, asked))),
        Exit.isSuccess
      )
  )

RedisServer.describeRedis("limits of clients in Redis", () => {
  it.live("are one limit for all processes", () =>
    Effect.gen(function*() {
      const { url } = Context.get(yield* Layer.build(RedisServer.layer), RedisServer.RedisServer)
      const process = Effect.flatMap(
        Layer.build(Layer.provide(RateLimiterStore.layerStoreRedis(), NodeRedis.layer({ url }))),
        (context) => sharing(Context.get(context, RateLimiterStore.RateLimiterStore))
      )
      const [here, there] = yield* Effect.all([process, process])
      const admitted = (limits: Limits.Limits) =>
        Effect.forEach([here, there, here, there, here], (admit) => admit(limits))
      assert.deepStrictEqual(yield* admitted({ requestsPerMinute: 3 }), [true, true, true, false, false])
      // Calls that failed used no tokens, so that all are free again for the other.
      assert.deepStrictEqual(yield* admitted({ tokensPerMinute: 100 }), [true, true, true, true, true])
    }).pipe(Effect.scoped), 30_000)
})

it.live("limits of clients are those of each process while the store fails", () =>
  Effect.gen(function*() {
    const down = () => Effect.fail(new RateLimiterStore.RateLimiterStoreError({ operation: "take", cause: "down" }))
    const admit = yield* sharing({
      take: down,
      peek: down,
      charge: down,
      giveBack: down,
      reward: down,
      hold: down,
      release: down
    })
    const admitted = yield* Effect.forEach([1, 2, 3], () => admit({ requestsPerMinute: 2 }))
    assert.deepStrictEqual(admitted, [true, true, false])
  }).pipe(Effect.scoped))
