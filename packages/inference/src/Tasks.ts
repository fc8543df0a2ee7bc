/**
 * Models of a task, for programs: vectors of texts, classes of inputs, texts in images. What a task does before and after a run is done where the
 * model runs (`task` in `model.yaml`), so that clients of the Open Inference Protocol get the same.
 *
 * @since 0.1.0
 */
import * as AiError from "effect/ai/AiError"
import * as EmbeddingModel from "effect/ai/EmbeddingModel"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { InferenceError } from "./InferenceError.ts"
import { Models } from "./Models.ts"
import * as Tensor from "./Tensor.ts"

type Tensors = Readonly<Record<string, Tensor.Tensor>>

/** Texts that are embedded at once: calls of one text each, which the model's queue makes to batches. */
const concurrency = 64

const wrongTask = (model: string, version: string, task: string, more = "") =>
  new InferenceError({
    reason: "InvalidInput",
    model,
    version,
    detail: `it is no model of the task ${task} (task in its model.yaml)${more}`
  })

/** Calls a model with what its task takes. */
const call = Effect.fnUntraced(function*(task: string, model: string, name: "text" | "image", tensor: Tensor.Tensor) {
  const models = yield* Models
  return yield* Effect.catch(
    models.infer(model, undefined, { inputs: { [name]: tensor } }),
    (error) =>
      error.reason !== "InvalidInput" ? Effect.fail(error) : Effect.flatMap(
        Effect.mapError(models.metadata(model), () => error),
        ({ inputs, version }) =>
          Effect.fail(
            inputs.some((input) => input.name === name)
              ? error
              : wrongTask(model, version, task, `: it takes ${inputs.map(({ name }) => name).join(", ")}, not ${name}`)
          )
      )
  )
})

/** An output that the task promises. */
const output = (name: string, task: string, { model, outputs, version }: {
  readonly model: string
  readonly version: string
  readonly outputs: Tensors
}): Effect.Effect<Tensor.Tensor, InferenceError> => {
  const tensor = outputs[name]
  return tensor === undefined ? Effect.fail(wrongTask(model, version, task)) : Effect.succeed(tensor)
}

const numbers = ({ data }: Tensor.Tensor): Array<number> => Array.from<unknown, number>(data, Number)

const textTensor = (texts: ReadonlyArray<string>): Tensor.Tensor => ({
  datatype: "BYTES",
  shape: [texts.length],
  data: texts
})

/**
 * The vector of a text, and how many tokens were read; undefined where the model has no tokenizer.
 *
 * @category models
 * @since 0.1.0
 */
export interface Embedded {
  readonly vector: Array<number>
  readonly tokens: number | undefined
}

/**
 * Gives the vectors of texts, by a model of the task `embedding` that reads text. An empty text has no vector: it fails with `InvalidInput`.
 *
 * @category tasks
 * @since 0.1.0
 */
export const embed = Effect.fnUntraced(function*(
  name: string,
  texts: ReadonlyArray<string>
): Effect.fn.Return<ReadonlyArray<Embedded>, InferenceError, Models> {
  const empty = texts.findIndex((text) => text.trim() === "")
  if (empty !== -1) {
    const detail = `text ${empty + 1} is empty; an empty text has no vector`
    return yield* new InferenceError({ reason: "InvalidInput", model: name, where: "text", detail })
  }
  return yield* Effect.forEach(texts, (text) =>
    Effect.gen(function*() {
      const answer = yield* call("embedding", name, "text", textTensor([text]))
      const { tokens } = answer.outputs
      return {
        vector: numbers(yield* output("embedding", "embedding", answer)),
        tokens: tokens === undefined ? undefined : numbers(tokens)[0]
      }
    }), { concurrency })
})

const aiError = ({ message, reason, retryAfter }: InferenceError): AiError.AiError =>
  AiError.make({
    module: "Tasks",
    method: "embed",
    reason: reason === "InvalidInput" || reason === "UnknownModel"
      ? new AiError.InvalidRequestError({ description: message })
      : reason === "Overloaded"
      ? new AiError.RateLimitError({ retryAfter })
      : new AiError.InternalProviderError({ description: message })
  })

/**
 * Creates the `EmbeddingModel` of `effect/ai` over a local model.
 *
 * @category constructors
 * @since 0.1.0
 */
export const embeddingModel = Effect.fnUntraced(
  function*(name: string): Effect.fn.Return<EmbeddingModel.EmbeddingModel, never, Models> {
    const models = yield* Models
    return yield* EmbeddingModel.make({
      embedMany: ({ inputs }) =>
        embed(name, inputs).pipe(
          Effect.provideService(Models, models),
          Effect.mapError(aiError),
          Effect.map((embedded) => {
            const known = embedded.every(({ tokens }) => tokens !== undefined)
            const inputTokens = known ? embedded.reduce((sum, { tokens = 0 }) => sum + tokens, 0) : undefined
            return { results: embedded.map(({ vector }) => vector), usage: { inputTokens } }
          })
        )
    })
  }
)

/**
 * Provides the `EmbeddingModel` of `effect/ai` over a local model.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerEmbedding = (name: string): Layer.Layer<EmbeddingModel.EmbeddingModel, never, Models> =>
  Layer.effect(EmbeddingModel.EmbeddingModel, embeddingModel(name))

/**
 * The class of one row.
 *
 * @category models
 * @since 0.1.0
 */
export interface Classified {
  /** The label with the greatest score; undefined for a model without labels. */
  readonly label: string | undefined
  /** By the position of the class. */
  readonly scores: ReadonlyArray<number>
}

/**
 * Classifies texts, or rows of tensors, by a model of the task `classify`.
 *
 * @category tasks
 * @since 0.1.0
 */
export const classify = Effect.fnUntraced(function*(
  name: string,
  inputs: ReadonlyArray<string> | Tensors
): Effect.fn.Return<ReadonlyArray<Classified>, InferenceError, Models> {
  const answer = yield* isTexts(inputs)
    ? call("classify", name, "text", textTensor(inputs))
    : (yield* Models).infer(name, undefined, { inputs })
  const scores = yield* output("scores", "classify", answer)
  const { label } = answer.outputs
  const [rows = 0, classes = 0] = scores.shape
  const values = numbers(scores)
  return Array.from({ length: rows }, (_, row) => ({
    label: label === undefined ? undefined : String(label.data[row]),
    scores: values.slice(row * classes, (row + 1) * classes)
  }))
})

const isTexts = (inputs: ReadonlyArray<string> | Tensors): inputs is ReadonlyArray<string> => Array.isArray(inputs)

/**
 * Pixels, row by row, with 1 (grey), 3 (RGB) or 4 (RGBA) bytes each.
 *
 * @category models
 * @since 0.1.0
 */
export interface Image {
  readonly width: number
  readonly height: number
  readonly data: Uint8Array
}

/**
 * A text in an image, with its place in pixels.
 *
 * @category models
 * @since 0.1.0
 */
export interface Text {
  readonly text: string
  /** From 0 to 1. */
  readonly confidence: number
  readonly box: { readonly x: number; readonly y: number; readonly width: number; readonly height: number }
}

/**
 * Reads the texts of an image, from top to bottom, by a model of the task `ocr`.
 *
 * @category tasks
 * @since 0.1.0
 */
export const readText = Effect.fnUntraced(function*(
  name: string,
  { data, height, width }: Image
): Effect.fn.Return<ReadonlyArray<Text>, InferenceError, Models> {
  const invalid = (detail: string) =>
    new InferenceError({ reason: "InvalidInput", model: name, where: "image", detail })
  const image = yield* Effect.mapError(
    Effect.fromResult(Tensor.make("UINT8", [height, width, data.length / (height * width)], data)),
    ({ detail }) => invalid(detail)
  )
  const answer = yield* call("ocr", name, "image", image)
  const text = yield* output("text", "ocr", answer)
  const confidence = numbers(yield* output("confidence", "ocr", answer))
  const boxes = numbers(yield* output("box", "ocr", answer))
  return Array.from<unknown, Text>(text.data, (text, at) => {
    const [x = 0, y = 0, width = 0, height = 0] = boxes.slice(at * 4, at * 4 + 4)
    return { text: String(text), confidence: confidence[at] ?? 0, box: { x, y, width, height } }
  })
})
