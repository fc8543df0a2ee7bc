import { Embeddings } from "@ballast/chat"
import { ChatEmbeddingModel, DeepSeek, Provider, Source } from "@ballast/deepseek"
import { Simulator } from "@ballast/simulator"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { apiKey, client, service } from "./support/simulated.ts"
import { recorded } from "./support/spans.ts"

const harbour = Provider.make({
  name: "harbour",
  baseUrl: "https://harbour.example",
  paths: { embeddings: "/embeddings" }
})
const source = Source.make({ provider: harbour, apiKey })

const similar = (a: ReadonlyArray<number>, b: ReadonlyArray<number>) =>
  a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0)

describe("embeddings", () => {
  it.effect("are vectors of the texts, alike where the texts are", () =>
    Effect.gen(function*() {
      const model = yield* ChatEmbeddingModel.make(yield* source, { model: "m", dimensions: 32 })
      const { embeddings, usage } = yield* model.embedMany([
        "a ship in a harbour",
        "the ship left the harbour",
        "three apples"
      ])
      const [ship, left, apples] = embeddings.map(({ vector }) => vector)
      assert.deepStrictEqual(embeddings.map(({ vector }) => vector.length), [32, 32, 32])
      assert.isAbove(similar(ship!, left!), similar(ship!, apples!))
      assert.isAbove(usage.inputTokens ?? 0, 0)
    }).pipe(Effect.provide(service())))

  it.effect("have spans and metrics of their own operation", () =>
    Effect.gen(function*() {
      const { metrics, spans } = yield* recorded(
        Embeddings.create(yield* DeepSeek.DeepSeek, { model: "m", input: "a ship" })
      )
      const call = spans.find(({ name }) => name === "embeddings m")
      assert.strictEqual(call?.attributes.get("gen_ai.operation.name"), "embeddings")
      const calls = metrics.filter(({ name }) => name === "ballast_calls_total")
      assert.deepStrictEqual(calls.map(({ attributes }) => attributes?.["operation"]), ["embeddings"])
    }).pipe(Effect.provide(client({}, { provider: harbour }))))

  it.effect("are asked for together, in requests of a bounded size", () =>
    Effect.gen(function*() {
      const model = yield* ChatEmbeddingModel.make(yield* source, { model: "m", batch: 3 })
      const texts = Array.from({ length: 7 }, (_, index) => `text ${index}`)
      const one = yield* Effect.forEach(texts, model.embed, { concurrency: "unbounded" })
      const { requests } = yield* (yield* Simulator.Simulator).inspect
      assert.strictEqual(requests, 3)
      const { embeddings } = yield* model.embedMany(texts)
      assert.deepStrictEqual(one.map(({ vector }) => vector), embeddings.map(({ vector }) => vector))
    }).pipe(Effect.provide(service())))

  it.effect("come as the service gives them, with every field", () =>
    Effect.gen(function*() {
      const answer = yield* Embeddings.create(yield* source, { model: "m", input: "Aye", encoding_format: "base64" })
      assert.deepInclude(answer, { object: "list", model: "m" })
      assert.isString(answer.data[0]?.embedding)
      assert.strictEqual(answer.usage?.total_tokens, answer.usage?.prompt_tokens)
    }).pipe(Effect.provide(service())))

  it.effect("fail in the terms of effect/ai", () =>
    Effect.gen(function*() {
      const model = yield* ChatEmbeddingModel.make(yield* source, { model: "m", dimensions: 5_000 })
      const error = yield* Effect.flip(model.embed("x"))
      assert.strictEqual(error.reason._tag, "InvalidRequestError")
      const short = yield* ChatEmbeddingModel.make({
        complete: () => Effect.succeed(Object(Embeddings.parse("{\"data\":[{\"index\":0,\"embedding\":[1]}]}"))),
        stream: () => {
          throw new Error("not asked")
        }
      }, { model: "m" })
      assert.strictEqual((yield* Effect.flip(short.embedMany(["a", "b"]))).reason._tag, "InvalidOutputError")
    }).pipe(Effect.provide(service())))

  it.effect("are nothing that DeepSeek has", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(
        Embeddings.create(yield* DeepSeek.DeepSeek, { model: "deepseek-flash", input: "x" })
      )
      assert.strictEqual(error._tag === "ClientError" && error.reason._tag, "NotFound")
      assert.strictEqual((yield* (yield* Simulator.Simulator).inspect).requests, 0)
    }).pipe(Effect.provide(client())))

  it("need a batch that is a count", () => {
    assert.throws(
      () =>
        Effect.runSync(
          Effect.flatMap(source, (model) => ChatEmbeddingModel.make(model, { model: "m", batch: 0 })).pipe(
            Effect.provide(service())
          )
        ),
      /batch must be a whole number/
    )
  })
})
