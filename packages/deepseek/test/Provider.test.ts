/** A second provider, made with public functions only: a host in memory that speaks the API in its own way. */
import { Lane, PerModel, Provider, Source } from "@ballast/deepseek"
import { RateLimiterStore, Registry, Share } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted, Stream } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"

interface Seen {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Readonly<Record<string, unknown>> | undefined
}

const wharf = Provider.make({
  name: "wharf",
  baseUrl: "https://wharf.example/api/v3",
  paths: { chat: "/chat", models: "/catalogue" },
  authorize: (key) => ({ "api-key": key }),
  models: { "qwen-quay": { concurrency: 3 } },
  omit: ["thinking", "stream_options"],
  defaults: { max_tokens: 4096 }
})

const answer = (text: string) => ({
  id: "w-1",
  object: "chat.completion",
  created: 1,
  model: "qwen-quay",
  choices: [{ index: 0, finish_reason: "stop", message: { role: "assistant", content: text } }],
  usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 }
})

/** The host: answers with its own name, and fails the model `broken`. */
const host = () => {
  const seen: Array<Seen> = []
  const client = HttpClient.make((request, url) => {
    const body = request.body._tag === "Uint8Array"
      ? JSON.parse(new TextDecoder().decode(request.body.body))
      : undefined
    seen.push({ url: url.href, headers: { ...request.headers }, body })
    const [status, json] = url.pathname.endsWith("/catalogue")
      ? [200, { object: "list", data: [{ id: "qwen-quay", object: "model", owned_by: "wharf" }] }]
      : body.model === "broken"
      ? [500, { error: { message: "down" } }]
      : [200, answer("Moored")]
    const headers = { "content-type": "application/json" }
    return Effect.succeed(HttpClientResponse.fromWeb(request, new Response(JSON.stringify(json), { status, headers })))
  })
  return { seen, layer: Layer.succeed(HttpClient.HttpClient, client) }
}

const apiKey = Redacted.make("wharf-key-0123")
const request = { model: "qwen-quay", messages: [{ role: "user", content: "Where?" }] } as const
const sourceOn = (layer: Layer.Layer<HttpClient.HttpClient>) =>
  Effect.provide(Source.make({ provider: wharf, apiKey }), layer)

describe("a second provider", () => {
  it.effect("is called as it wants to be", () =>
    Effect.gen(function*() {
      const { layer, seen } = host()
      const source = yield* sourceOn(layer)
      const asked = { ...request, thinking: { type: "enabled" } } as const
      assert.strictEqual((yield* source.complete(asked)).choices[0]?.message.content, "Moored")
      assert.deepInclude(seen[0], {
        url: "https://wharf.example/api/v3/chat",
        body: { ...request, max_tokens: 4096 }
      })
      assert.strictEqual(seen[0]?.headers["api-key"], "wharf-key-0123")
      assert.notProperty(seen[0]?.headers, "authorization")
      assert.lengthOf(yield* Stream.runCollect(source.stream({ ...request, max_tokens: 1 })), 1)
      assert.deepStrictEqual(seen[1]?.body, { ...request, max_tokens: 1, stream: true })
      assert.deepStrictEqual((yield* source.models).data.map(({ id }) => id), ["qwen-quay"])
      assert.strictEqual(seen[2]?.url, "https://wharf.example/api/v3/catalogue")
    }))

  it.effect("says what it has no endpoint for, and is not asked", () =>
    Effect.gen(function*() {
      const { layer, seen } = host()
      const error = yield* Effect.flip((yield* sourceOn(layer)).balance)
      assert(error._tag === "ClientError" && error.reason._tag === "NotFound")
      assert.include(error.message, "wharf")
      assert.lengthOf(seen, 0)
    }))

  it.effect("has breakers, limits and deadlines of its own, by account and model", () =>
    Effect.gen(function*() {
      const registry = yield* Registry.Current
      const source = yield* sourceOn(host().layer)
      const target = (name: string) => Lane.make(source, { name, model: "qwen-quay", retry: false })
      const [first, second] = [yield* target("wharf-a"), yield* target("wharf-b")]
      const breaker = yield* registry.find("circuitBreaker", "wharf-a/qwen-quay")
      const limit = yield* registry.find("adaptiveLimit", "wharf-b/qwen-quay")
      assert.strictEqual((yield* limit!.inspect).limit, 3)
      yield* breaker!.isolate
      assert.strictEqual((yield* Effect.flip(first.complete(request)))._tag, "CircuitOpen")
      yield* second.complete(request)
    }))

  it.effect("keeps its part of limits that several processes share", () =>
    Effect.gen(function*() {
      const registry = yield* Registry.Current
      const source = yield* sourceOn(host().layer)
      yield* Lane.make(source, { name: "part", model: "qwen-quay", rateLimit: { limit: 5, window: "1 second" } })
      const limit = yield* registry.find("adaptiveLimit", "part/qwen-quay")
      const rate = yield* registry.find("rateLimiter", "part/qwen-quay")
      assert.strictEqual((yield* limit!.inspect).limit, 2)
      assert.strictEqual((yield* rate!.inspect).available, 3)
    }).pipe(Effect.provideService(Share.Current, { index: 0, of: 2 })))

  it.effect("keeps one rate for all processes where there is a store that they share", () =>
    Effect.gen(function*() {
      const source = yield* sourceOn(host().layer)
      const options = { model: "qwen-quay", retry: false, rateLimit: { limit: 3, window: "1 hour" } } as const
      const process = (index: number) =>
        Effect.provideService(Lane.make(source, options), Share.Current, { index, of: 2 })
      const [first, second] = [yield* process(0), yield* process(1)]
      const tags: Array<string> = []
      for (const lane of [first, first, first, second]) {
        tags.push((yield* Effect.result(lane.complete(request)))._tag)
      }
      assert.deepStrictEqual(tags, ["Success", "Success", "Success", "Failure"])
    }).pipe(Effect.provide(RateLimiterStore.layerStoreMemory)))

  it.effect("is chosen by model beside others", () =>
    Effect.gen(function*() {
      const source = yield* sourceOn(host().layer)
      const made: Array<string> = []
      const lane = (model: string) =>
        Effect.suspend(() => {
          made.push(model)
          return Lane.make(source, { model, retry: false })
        })
      const chat = yield* PerModel.make({
        names: Object.keys(wharf.models),
        make: lane,
        others: yield* Lane.make(source, { model: "other", retry: false, circuitBreaker: false }),
        limit: 2
      })
      const ask = (model: string) => Effect.exit(chat.complete({ ...request, model }))
      for (const model of ["qwen-quay", "broken", "new", "new", "one too many"]) yield* ask(model)
      assert.deepStrictEqual(made, ["qwen-quay", "new"])
    }))
})
