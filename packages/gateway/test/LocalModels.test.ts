import { LocalModels } from "@ballast/gateway"
import { InferenceError, type Models, Tensor } from "@ballast/inference"
import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { layer as gateway, post, Running } from "./harness.ts"
import * as StandIn from "./support/standIn.ts"

/** The vector of a text: its length, and its first character. */
const { models } = StandIn.make({
  infer: (
    model,
    version = "1",
    { inputs: { text } }
  ): Effect.Effect<Models.InferResponse, InferenceError.InferenceError> => {
    if (model !== "minilm") {
      return Effect.fail(
        new InferenceError.InferenceError({ reason: "UnknownModel", model, detail: "there is no such model" })
      )
    }
    const first = String(text?.data[0])
    const vector = new Float32Array([first.length, first.codePointAt(0) ?? 0])
    return Effect.succeed({
      model,
      version,
      outputs: {
        embedding: Tensor.makeUnsafe("FP32", [1, 2], vector),
        tokens: Tensor.makeUnsafe("INT32", [1], new Int32Array([first.length]))
      }
    })
  }
})

const accounts = { main: { keys: ["sk-a"] } }

const settings = {
  // Lets a test choose what the remote service answers.
  simulator: { forward: true },
  providers: {
    deepseek: { type: "deepseek", accounts },
    remote: { type: "openai", baseUrl: "http://127.0.0.1:9/v1", accounts },
    own: { type: "local" }
  },
  models: {
    minilm: { targets: [{ provider: "own" }] },
    missing: { targets: [{ provider: "own" }] },
    "embed-anywhere": {
      targets: [{ provider: "remote", model: "e5" }],
      failover: [{ provider: "own", model: "minilm" }]
    },
    "*": { targets: [{ provider: "deepseek" }] }
  }
}

/** The remote service is down. */
const answers = { down: () => new Response("", { status: 503 }) }

describe("a provider of the type local", () => {
  layer(gateway({ settings, answers, local: LocalModels.client(models) }), { excludeTestServices: true })((it) => {
    const embed = (body: object) =>
      Effect.flatMap(Running, ({ url }) => post(`${url}/v1/embeddings`, body, { "x-simulate": "down" }))

    it.effect("gives vectors of texts, with their tokens", () =>
      Effect.gen(function*() {
        const { headers, json } = yield* embed({ model: "minilm", input: ["ab", "发票单"] })
        assert.deepStrictEqual(json, {
          object: "list",
          model: "minilm",
          data: [
            { object: "embedding", index: 0, embedding: [2, 97] },
            { object: "embedding", index: 1, embedding: [3, 0x53d1] }
          ],
          usage: { prompt_tokens: 5, total_tokens: 5 }
        })
        assert.strictEqual(headers.get("x-ballast-provider"), "own")
        assert.strictEqual(headers.get("x-ballast-cost"), "0 CNY")
        const base64 = yield* embed({ model: "minilm", input: "ab", encoding_format: "base64" })
        const bytes = Uint8Array.from(Buffer.from(base64.json.data[0].embedding, "base64"))
        assert.deepStrictEqual(Array.from(new Float32Array(bytes.buffer)), [2, 97])
      }))

    it.effect("answers where a remote model can not", () =>
      Effect.gen(function*() {
        const { headers, json, status } = yield* embed({ model: "embed-anywhere", input: "ab" })
        assert.strictEqual(status, 200, JSON.stringify(json))
        assert.strictEqual(headers.get("x-ballast-provider"), "own")
        assert.deepStrictEqual(json.data[0].embedding, [2, 97])
      }))

    it.effect("says what it can not do", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const message = (answer: Effect.Effect<{ readonly status: number; readonly text: string }, never, Running>) =>
          Effect.map(answer, ({ status, text }) => `${status} ${text}`)
        assert.match(yield* message(embed({ model: "missing", input: "a" })), /^404 .*there is no such model/)
        assert.match(yield* message(embed({ model: "minilm", input: [1, 2] })), /^400 .*not tokens/)
        assert.match(yield* message(embed({ model: "minilm", input: "a", dimensions: 3 })), /^400 .*can not be chosen/)
        assert.match(yield* message(embed({ model: "minilm", input: " " })), /^400 .*text 1 is empty/)
        const chat = post(`${url}/v1/chat/completions`, {
          model: "minilm",
          messages: [{ role: "user", content: "Hi" }]
        })
        assert.match(yield* message(chat), /^404 .*no endpoint but embeddings/)
      }))
  })

  layer(
    gateway({
      settings: {
        providers: { near: { type: "simulator", accounts }, own: { type: "local" } },
        models: {
          minilm: { targets: [{ provider: "own" }] },
          "deepseek-flash": {
            targets: [{ provider: "near" }],
            cache: { semantic: { model: "minilm", threshold: 0.9 } }
          }
        }
      },
      local: LocalModels.client(models)
    }),
    { excludeTestServices: true }
  )((it) => {
    it.effect("gives the semantic cache its embeddings", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const ask = (content: string) =>
          post(`${url}/v1/chat/completions`, { model: "deepseek-flash", messages: [{ role: "user", content }] })
        const first = yield* ask("What is the capital of France?")
        const second = yield* ask("Tell me: what is the capital of France?")
        const state = ({ headers }: typeof first) => headers.get("x-ballast-cache")
        assert.deepStrictEqual([first, second].map(state), ["miss", "hit"])
        assert.strictEqual(second.text, first.text)
        assert.isAbove(Number(second.headers.get("x-ballast-cache-similarity")), 0.9)
      }))
  })
})
