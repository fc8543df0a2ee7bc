import { PeakHours, Pricing } from "@ballast/deepseek"
import {
  ChatRoute,
  Client,
  ClientLimits,
  Costs,
  Defer,
  EventStream,
  Exchange,
  OpenAiChat,
  Settings
} from "@ballast/gateway"
import { RouteInfo } from "@ballast/router"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it, layer } from "@effect/vitest"
import { BigDecimal, Clock, Effect, Fiber, Result, Stream } from "effect"
import { HttpServerRequest } from "effect/http"
import { TestClock } from "effect/testing"
import { hello, layer as gateway, noAnswers, post, Running, send } from "./harness.ts"

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

  layer(gateway({ settings: { prices: { tokenizer: true } } }), { excludeTestServices: true })(
    "before a call",
    (it) => {
      it.effect("count the prompt with DeepSeek's tokenizer, or by ratios what is too long for it", () =>
        Effect.gen(function*() {
          const { log, url } = yield* Running
          const ask = (content: string) =>
            post(`${url}/v1/estimate`, { ...hello, messages: [{ role: "user", content }] })
          // One token by the vocabulary, five by the ratios.
          const [short, none] = [yield* ask("understanding"), yield* ask("")]
          assert.strictEqual(short.json.counted_by, "tokenizer")
          assert.strictEqual(short.json.prompt_tokens - none.json.prompt_tokens, 1)
          const long = yield* ask("x".repeat(1_000_001))
          assert.strictEqual(long.json.counted_by, "ratios")
          assert.approximately(long.json.prompt_tokens, 300_000, 100)
          assert.isTrue(log.some(({ message }) => message === "prompts are estimated by ratios"))
        }))
    }
  )

  layer(
    gateway({
      settings: {
        providers: { near: simulator },
        models: { "*": { targets: [{ provider: "near" }] } },
        prices: {
          list: [{ provider: "near", model: "*", currency: "CNY", hit: 0, miss: 1, output: 2, peakHours: "always" }],
          peakHours: {
            always: {
              timeZone: "Asia/Shanghai",
              days: ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"],
              windows: [{ from: "00:00", to: "24:00" }],
              holidays: { "2000": { holidays: [] } }
            }
          }
        }
      }
    }),
    { excludeTestServices: true }
  )("without the holidays of the year", (it) => {
    it.effect("are told in the log once", () =>
      Effect.gen(function*() {
        const { log, url } = yield* Running
        yield* Effect.all([post(url + chat, hello), post(url + chat, hello)])
        const warnings = log.filter(({ level, message }) => level === "warn" && /public holidays/.test(String(message)))
        assert.strictEqual(warnings.length, 1)
        assert.strictEqual(warnings[0]?.["provider"], "near")
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

  /** A route whose calls begin in the peak hours. `asked` says what became of one. */
  const deferring = Effect.fnUntraced(function*(
    { cached = noAnswers, limits = ClientLimits.none }: Partial<Pick<ChatRoute.Options, "cached" | "limits">> = {}
  ) {
    const began = Date.parse("2026-11-30T02:00:00Z")
    yield* TestClock.setTime(began)
    const usage = { prompt_tokens: 1_000_000, completion_tokens: 0, total_tokens: 1_000_000 }
    const settings = yield* Settings.makeValues({
      providers: { deepseek: simulator },
      models: { "*": { targets: [{ provider: "deepseek" }] } }
    })
    const route = ChatRoute.make({
      model: {
        complete: () =>
          Effect.map(RouteInfo.Current, (place) => {
            Object.assign(place!, { provider: "deepseek", model: "deepseek-flash" })
            return { id: "1", choices: [{ message: { role: "assistant", content: "Aye." } }], usage }
          }),
        stream: () => Stream.empty
      },
      cached,
      dialect: OpenAiChat.dialect,
      bodies: {
        use: (_, answer) => answer({ json: hello, text: JSON.stringify(hello), begun: () => {} }),
        read: () => Effect.die("a chat is answered"),
        bytes: () => Effect.die("a chat is JSON")
      },
      costs: yield* Costs.make(settings),
      limits,
      streams: yield* EventStream.make(),
      // Its client has gone: what counts is what the call cost.
      out: () => ({
        destroyed: true,
        isEventStream: false,
        writableNeedDrain: false,
        writeHead: () => {},
        write: () => true,
        end: () => {},
        once: () => {},
        off: () => {}
      })
    })
    return (headers: Record<string, string>) =>
      Effect.gen(function*() {
        const exchange = Exchange.ofCall({
          id: "x",
          route: chat,
          client: Client.anonymous,
          model: "deepseek-flash",
          began,
          upstream: () => "deepseek"
        })
        const request = HttpServerRequest.fromWeb(new Request("http://127.0.0.1/", { headers }))
        const answering = yield* Effect.forkChild(
          Effect.andThen(Effect.scoped(route(exchange, request)), Clock.currentTimeMillis)
        )
        yield* TestClock.adjust("5 hours")
        const waited = (yield* Fiber.join(answering)) - began
        return {
          waited,
          isPeak: exchange.cost?.isPeak,
          total: exchange.cost && BigDecimal.toNumberUnsafe(exchange.cost.total)
        }
      })
  })

  it.effect("a deferred call is priced when it is made, not when its request came", () =>
    Effect.gen(function*() {
      const asked = yield* deferring()
      const now = yield* asked({})
      yield* TestClock.setTime(Date.parse("2026-11-30T02:00:00Z"))
      const later = yield* asked({ [Defer.header]: "8h" })
      assert.deepStrictEqual([now.isPeak, later.isPeak], [true, false])
      assert.strictEqual(later.total, now.total! / 2)
      assert.strictEqual(later.waited, 2 * 3_600_000)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("a deferred call is answered at once where a cache has its answer", () =>
    Effect.gen(function*() {
      const completion = { id: "1", choices: [{ message: { role: "assistant", content: "Aye." } }] as const }
      const asked = yield* deferring({ cached: { ...noAnswers, complete: () => Effect.succeed(completion) } })
      assert.strictEqual((yield* asked({ [Defer.header]: "8h" })).waited, 0)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("of a deferred call are reserved when it is made", () =>
    Effect.gen(function*() {
      const reserved: Array<string> = []
      const asked = yield* deferring({
        limits: {
          ...ClientLimits.none,
          spend: () => Effect.map(Clock.currentTimeMillis, (now) => void reserved.push(new Date(now).toISOString()))
        }
      })
      yield* asked({ [Defer.header]: "8h" })
      assert.deepStrictEqual(reserved, ["2026-11-30T04:00:00.000Z"])
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("have to be in the currency of budgets", () =>
    Effect.gen(function*() {
      const settings = yield* Settings.makeValues({
        providers: { ark: { ...simulator, type: "openai", baseUrl: "http://ark.invalid" } },
        models: { "*": { targets: [{ provider: "ark" }] } },
        prices: {
          currency: "USD",
          list: [{ provider: "ark", model: "m", currency: "CNY", hit: 0, miss: 1, output: 2 }]
        }
      })
      const { bound } = yield* Costs.make(settings)
      const messageOf = (model: string) =>
        Result.getOrThrow(Result.flip(bound({ model, messages: [{ role: "user", content: "Hello!" }] }, 0))).message
      assert.strictEqual(messageOf("m"), "The price of m at ark is not known in USD.")
      assert.strictEqual(messageOf("n"), "The price of n at ark is not known.")
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("are reserved by the most that a call can cost, thoughts included where they are dearer", () =>
    Effect.gen(function*() {
      const price = { provider: "deepseek", model: "*", currency: "CNY", hit: 0, miss: 1 }
      const settings = yield* Settings.makeValues({
        providers: { deepseek: simulator },
        models: { "*": { targets: [{ provider: "deepseek" }] } },
        prices: { list: [{ ...price, output: 10, reasoning: 20 }] }
      })
      const costs = yield* Costs.make(settings)
      const content = "港务长: const 船 = 7 // 🚢"
      const bound = costs.bound({ model: "m", messages: [{ role: "user", content }], max_tokens: 1 }, 0)
      const { most, prompt } = Result.getOrThrow(bound)
      const hidden = 33
      assert.strictEqual(BigDecimal.format(most), `0.0000${Buffer.byteLength(content) + hidden + 20}`)
      assert.isTrue(BigDecimal.isLessThan(prompt, most))
    }).pipe(Effect.provide(NodeServices.layer)))
})
