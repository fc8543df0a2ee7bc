import { PeakHours, Pricing } from "@ballast/deepseek"
import { Defer } from "@ballast/gateway"
import { assert, describe, it, layer } from "@effect/vitest"
import { BigDecimal, Clock, Effect, Fiber, Result } from "effect"
import { TestClock } from "effect/testing"
import { hello, layer as gateway, post, Running, send } from "./harness.ts"

const chat = "/v1/chat/completions"
const simulator = { type: "simulator", accounts: { main: { keys: ["sk-test"] } } }

const prices = {
  currency: "USD",
  list: [{ provider: "far", model: "deepseek-v4-pro", currency: "USD", hit: 0, miss: 1, output: 10 }]
}

describe("costs", () => {
  layer(
    gateway({
      settings: {
        providers: {
          near: simulator,
          far: simulator,
          odd: { ...simulator, type: "openai", baseUrl: "http://odd.invalid" }
        },
        models: {
          "deepseek-flash": { targets: [{ provider: "near" }], cache: { timeToLive: "1m" } },
          pro: { targets: [{ provider: "far", model: "deepseek-v4-pro" }] },
          odd: { targets: [{ provider: "odd", model: "deepseek-flash" }] }
        },
        prices
      }
    }),
    { excludeTestServices: true }
  )("of a call", (it) => {
    it.effect("stand in the header, the log and the metrics", () =>
      Effect.gen(function*() {
        const { log, url } = yield* Running
        const { headers, json } = yield* post(url + chat, { ...hello, model: "pro" })
        const { completion_tokens: output, prompt_tokens: prompt } = json.usage
        // Millionths: 1 for a token of the prompt, 10 for one of the answer.
        const cost = `${BigDecimal.format(BigDecimal.normalize(BigDecimal.make(BigInt(prompt + 10 * output), 6)))} USD`
        assert.strictEqual(headers.get("x-ballast-cost"), cost)
        assert.deepInclude(log.find(({ model }) => model === "pro"), { cost })
        const metrics = yield* send(`${url}/metrics`)
        const line = /^ballast_cost_total\{(?=[^}]*provider="far")(?=[^}]*currency="USD").*\} (\S+)$/m.exec(
          metrics.text
        )
        assert.strictEqual(`${line?.[1]} USD`, cost)
      }))

    it.effect("stand in the usage of a stream, for a client that asked for it", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const last = (more: object) =>
          Effect.map(post(url + chat, { ...hello, model: "pro", stream: true, ...more }), ({ text }) =>
            JSON.parse(text.trim().split("\n\n").at(-2)!.slice("data: ".length)).usage)
        const { cost, cost_currency, ...usage } = yield* last({ stream_options: { include_usage: true } })
        assert.strictEqual(cost_currency, "USD")
        assert.strictEqual(cost, (usage.prompt_tokens + 10 * usage.completion_tokens) / 1e6)
        assert.notProperty(yield* last({}), "cost")
      }))

    it.effect("are DeepSeek's at the simulator, nothing for an answer from the cache, and unknown elsewhere", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const cost = (model: string) =>
          Effect.map(post(url + chat, { ...hello, model }), ({ headers }) => headers.get("x-ballast-cost"))
        assert.match((yield* cost("deepseek-flash"))!, /^0\.000\d+ USD$/)
        assert.strictEqual(yield* cost("deepseek-flash"), "0 USD")
        assert.isNull(yield* cost("odd"))
        const { text } = yield* send(`${url}/metrics`)
        assert.match(text, /^ballast_unknown_prices_total\{provider="odd"\} 1$/m)
      }))

    it.effect("are bounded before a call, at each target", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const content = "A mixed question. 这个问题有一部分是中文,另一部分是英文。 ".repeat(40)
        const body = { ...hello, model: "pro", messages: [{ role: "user", content }], max_tokens: 500 }
        const { json } = yield* post(`${url}/v1/estimate`, body)
        assert.strictEqual(json.max_output_tokens, 500)
        const [{ cost, target }] = json.targets
        assert.strictEqual(target, "far/deepseek-v4-pro")
        const { headers, json: { usage } } = yield* post(url + chat, body)
        assert.approximately(json.prompt_tokens, usage.prompt_tokens, usage.prompt_tokens / 10)
        assert.isAbove(Number(cost.at_most), Number(headers.get("x-ballast-cost")!.split(" ")[0]))
        const unknown = yield* post(`${url}/v1/estimate`, { ...body, model: "odd" })
        assert.deepInclude(unknown.json.targets[0], {
          cost: null,
          reason: "The price of deepseek-flash at odd is not known."
        })
        assert.strictEqual((yield* post(`${url}/v1/estimate`, {})).status, 400)
      }))

    it.effect("wait for cheaper hours, when they are asked to and within bounds", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const ask = (until: string) => post(url + chat, { ...hello, model: "pro" }, { [Defer.header]: until })
        // This price is the same at all hours.
        assert.strictEqual((yield* ask("8h")).status, 200)
        for (const wrong of ["soon", "25h", "2026-11-30", "2999-01-01T00:00:00Z"]) {
          const { json, status } = yield* ask(wrong)
          assert.deepStrictEqual([status, json.error.param], [400, Defer.header], wrong)
        }
      }))
  })

  it.effect("a deferred call waits for the end of peak hours, at most until its time", () =>
    Effect.gen(function*() {
      const place = { provider: "deepseek", model: "deepseek-flash" }
      const began = Date.parse("2026-11-30T02:00:00Z")
      yield* TestClock.setTime(began)
      assert.isTrue(PeakHours.at(PeakHours.deepSeek, began).isPeak)
      const waits = (until: string) =>
        Effect.gen(function*() {
          const before = yield* Clock.currentTimeMillis
          const moment = Result.getOrThrow(Defer.read({ [Defer.header]: until }, before))
          const fiber = yield* Effect.forkChild(
            Effect.andThen(Defer.wait(Pricing.make(), place, moment!), Clock.currentTimeMillis)
          )
          yield* TestClock.adjust("5 hours")
          return ((yield* Fiber.join(fiber)) - before) / 60_000
        })
      assert.strictEqual(yield* waits("30m"), 30)
      yield* TestClock.setTime(began)
      assert.strictEqual(yield* waits("2026-11-30T14:00:00+08:00"), 120)
    }))
})
