/** Streams of a route that break after text has arrived. */
import { ChatAccumulator, type ChatRequest } from "@ballast/chat"
import { RouteInfo, Router, RouterSettings } from "@ballast/router"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"
import { chunk, request } from "./support.ts"

interface Asked {
  readonly host: string
  readonly path: string
  readonly key: string
  readonly model: string
  readonly last: ChatRequest.Message | undefined
}

const event = (data: unknown) => `data: ${JSON.stringify(data)}\n\n`

/** Hosts that break their first stream, and then answer with `busy`'s status to these keys, and with the rest to others. */
const internet = (busy: Readonly<Record<string, number>> = {}) => {
  const asked: Array<Asked> = []
  const client = HttpClient.make((request, url) =>
    Effect.sync(() => {
      const key = request.headers["authorization"]?.replace("Bearer ", "") ?? ""
      const text = request.body._tag === "Uint8Array" ? new TextDecoder().decode(request.body.body) : "{}"
      const { messages, model } = JSON.parse(text) as ChatRequest.ChatRequest
      asked.push({ host: url.hostname, path: url.pathname, key, model, last: messages.at(-1) })
      const headers = { "content-type": "text/event-stream" }
      const status = asked.length > 1 ? busy[key] : undefined
      return HttpClientResponse.fromWeb(
        request,
        status !== undefined
          ? Response.json({ error: { message: "busy" } }, { status })
          : asked.length === 1
          ? new Response(event(chunk("Hel")), { headers })
          : new Response(event(chunk("lo")) + event(chunk("", "stop")) + "data: [DONE]\n\n", { headers })
      )
    })
  )
  return { asked, client: () => Effect.succeed(client) }
}

const decode = Schema.decodeUnknownSync(RouterSettings.RouterSettings)
const accounts = { main: { keys: ["sk-main"] }, second: { keys: ["sk-second"], weight: 0.000001 } }
const targets = [{ provider: "deepseek" }]

const settings = (provider: object = {}, route: object = {}) =>
  decode({
    providers: {
      deepseek: { type: "deepseek", accounts, choice: "weighted", ...provider },
      other: { type: "openai", baseUrl: "https://other.example", accounts: { main: { keys: ["other"] } } }
    },
    models: { "deepseek-flash": { targets, ...route } }
  })

const text = (router: Router.Router, asked = request) =>
  Effect.map(
    Effect.result(ChatAccumulator.collect(router.stream(asked))),
    (result) =>
      result._tag === "Success"
        ? result.success?.choices[0].message.content
        : "reason" in result.failure
        ? result.failure.reason._tag
        : result.failure._tag
  )

describe("a stream of a route that breaks", () => {
  it.effect("goes on at the same provider and model", () =>
    Effect.gen(function*() {
      const net = internet()
      const targets = [{ provider: "deepseek", model: "deepseek-v4-pro" }]
      const router = yield* Router.make({ settings: settings({}, { targets }), ...net })
      assert.strictEqual(yield* text(router), "Hello")
      assert.deepStrictEqual(net.asked.map(({ host, model, path }) => [host, path, model]), [
        ["api.deepseek.com", "/chat/completions", "deepseek-v4-pro"],
        ["api.deepseek.com", "/beta/chat/completions", "deepseek-v4-pro"]
      ])
      assert.deepStrictEqual(net.asked[1]?.last, { role: "assistant", content: "Hel", prefix: true })
    }))

  it.effect("goes on at another account, when its own can't", () =>
    Effect.gen(function*() {
      const net = internet({ "sk-main": 402 })
      const router = yield* Router.make({ settings: settings(), ...net })
      const place = RouteInfo.make()
      assert.strictEqual(yield* Effect.provideService(text(router), RouteInfo.Current, place), "Hello")
      assert.deepStrictEqual(net.asked.map(({ key }) => key), ["sk-main", "sk-main", "sk-second"])
      assert.strictEqual(place.account, "second")
    }))

  it.effect("is asked for again by the route's retries, and fails as it did when they are spent", () =>
    Effect.gen(function*() {
      const net = internet({ "sk-main": 503, "sk-second": 503 })
      const policies = { retry: { times: 2, base: "1 second" } } as const
      const router = yield* Router.make({ settings: settings(), policies, ...net })
      const fiber = yield* Effect.forkChild(text(router), { startImmediately: true })
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(
        yield* Effect.flatMap(Effect.sync(() => fiber.pollUnsafe()), (exit) => exit!),
        "StreamTruncated"
      )
      assert.isAbove(net.asked.length, 3)
    }))

  it.effect("ends where a provider, a model or the policies say so, and at providers without prefix completion", () =>
    Effect.gen(function*() {
      const off = { resume: false } as const
      const cases = [
        [settings({ resume: false }), {}],
        [settings(), off],
        [settings(), { models: { "deepseek-flash": off } }],
        [settings({}, { targets: [{ provider: "other" }] }), {}],
        [settings({ baseUrl: "https://proxy.example/deepseek" }), {}]
      ] as const
      for (const [settings, policies] of cases) {
        const net = internet()
        const router = yield* Router.make({ settings, policies, ...net })
        assert.strictEqual(yield* text(router), "StreamTruncated")
        assert.lengthOf(net.asked, 1)
      }
    }))

  it.effect("follows a change of the settings, and keeps the breakers", () =>
    Effect.gen(function*() {
      const net = internet()
      const router = yield* Router.make({ settings: settings({ resume: false }), ...net })
      yield* router.update(settings())
      assert.strictEqual(yield* text(router), "Hello")
    }))
})
