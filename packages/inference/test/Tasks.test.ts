import { Models, Tasks, Tensor } from "@ballast/inference"
import { assert, describe } from "@effect/vitest"
import { Effect, Result } from "effect"
import { EmbeddingModel } from "effect/ai"
import { folder, half, row, scale, serve, texts, tokenizer, vectors, write } from "./fixtures.ts"
import { quiet } from "./quiet.ts"

const near = (found: ReadonlyArray<number>, expected: ReadonlyArray<number>) => {
  assert.strictEqual(found.length, expected.length)
  for (const [at, value] of expected.entries()) assert.closeTo(found[at] ?? NaN, value, 1e-6)
}

describe("Tasks", () => {
  quiet("give vectors of texts, as a model of effect/ai too", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const yaml = "task: embedding\npooling: mean\nnormalize: true\ninstances: 1\nbatching: { maxSize: 8 }"
      write(path, "words", "1", { model: vectors(), yaml, more: { "tokenizer.json": tokenizer } })
      write(path, "first", "1", {
        model: vectors(),
        yaml: "task: embedding\npooling: first\nmaxTokens: 2\ninstances: 1",
        more: { "tokenizer.json": tokenizer }
      })
      write(path, "unread", "1", { model: scale(1), yaml: "task: embedding", more: { "tokenizer.json": tokenizer } })
      const models = yield* serve({ folder: path })
      const use = Effect.provideService(Models.Models, models)
      assert.deepStrictEqual((yield* models.metadata("words")).inputs, [{
        name: "text",
        datatype: "BYTES",
        shape: [-1]
      }])

      // The mean leaves out the padding of the batch.
      const [both, one] = yield* use(Tasks.embed("words", ["Sun RAIN", "sun"]))
      near(both?.vector ?? [], [1.5 / Math.hypot(1.5, 3), 3 / Math.hypot(1.5, 3)])
      near(one?.vector ?? [], [0.6, 0.8])
      assert.deepStrictEqual([both?.tokens, one?.tokens], [2, 1])
      const batch = yield* models.infer("words", undefined, {
        inputs: { text: Tensor.makeUnsafe("BYTES", [2], ["sun", "sun rain"]) }
      })
      near(Array.from<unknown, number>(batch.outputs["embedding"]?.data ?? [], Number).slice(0, 2), [0.6, 0.8])

      assert.deepStrictEqual(yield* use(Tasks.embed("first", ["rain sun sun sun"])), [{ vector: [0, 2], tokens: 2 }])

      const model = yield* use(Tasks.embeddingModel("words"))
      const { embeddings, usage } = yield* model.embedMany(["sun", "sun rain"])
      near(embeddings[0]?.vector ?? [], [0.6, 0.8])
      assert.strictEqual(usage.inputTokens, 3)

      const empty = yield* Effect.result(use(Tasks.embed("words", ["sun", " "])))
      assert.strictEqual(
        Result.isFailure(empty) && empty.failure.message,
        "words: text: text 2 is empty; an empty text has no vector"
      )
      const failed = yield* Effect.result(model.embed("sun").pipe(Effect.andThen(use(Tasks.embed("unread", ["sun"])))))
      assert.match(String(Result.isFailure(failed) && failed.failure.message), /input x, which tokens .* can't fill/)
      assert.isTrue(EmbeddingModel.TypeId in model)
    }))

  quiet("classify", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const yaml = "task: classify\nlabels: [calm, busy, jammed, closed]\nsoftmax: true\ninstances: 1"
      write(path, "traffic", "1", { model: scale(1), yaml })
      write(path, "short", "1", { model: scale(1), yaml: "task: classify\nlabels: [calm, busy]\ninstances: 1" })
      const models = yield* serve({ folder: path })
      const use = Effect.provideService(Models.Models, models)
      const x = Tensor.concat([row(0, Math.log(3), 0, -Infinity), row(9, 1, 1, 1)])
      const [first, second] = yield* use(Tasks.classify("traffic", { x }))
      assert.deepStrictEqual([first?.label, second?.label], ["busy", "calm"])
      near(first?.scores ?? [], [0.2, 0.6, 0.2, 0])
      const wrong = yield* Effect.result(use(Tasks.classify("short", { x })))
      assert.strictEqual(
        Result.isFailure(wrong) && wrong.failure.message,
        "short: no version of it takes calls; 1: model.yaml has 2 labels, but the output 4 classes"
      )
      const other = yield* Effect.result(
        use(Tasks.readText("traffic", { width: 1, height: 1, data: new Uint8Array(3) }))
      )
      assert.strictEqual(Result.isFailure(other) && other.failure.reason, "InvalidInput")
      assert.strictEqual(
        Result.isFailure(other) && other.failure.message,
        "traffic 1: it is no model of the task ocr (task in its model.yaml): it takes x, not image"
      )
    }))

  quiet("take text and half-precision numbers", () =>
    Effect.gen(function*() {
      const path = yield* folder
      write(path, "half", "1", { model: half(), yaml: "instances: 1" })
      write(path, "texts", "1", { model: texts(), yaml: "instances: 1" })
      const models = yield* serve({ folder: path })
      const bits = Tensor.makeUnsafe("FP16", [2], new Uint16Array([0x3c00, 0xc000]))
      const { outputs } = yield* models.infer("half", undefined, { inputs: { x: bits } })
      assert.deepStrictEqual(outputs["y"], Tensor.makeUnsafe("FP16", [2], new Uint16Array([0xbc00, 0x4000])))
      const x = Tensor.makeUnsafe("BYTES", [3], ["", "é🙂", new TextEncoder().encode("b")])
      const answer = yield* models.infer("texts", undefined, { inputs: { x } })
      assert.deepStrictEqual(answer.outputs["y"], Tensor.makeUnsafe("BYTES", [3], ["", "é🙂", "b"]))
      const broken = Tensor.makeUnsafe("BYTES", [1], [new Uint8Array([0xff])])
      const refused = yield* Effect.result(models.infer("texts", undefined, { inputs: { x: broken } }))
      assert.match(String(Result.isFailure(refused) && refused.failure.message), /x: an element is no UTF-8/)
    }))
})
