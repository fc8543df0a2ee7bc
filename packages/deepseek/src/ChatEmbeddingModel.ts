/**
 * The `EmbeddingModel` of `effect/ai` over any `ChatModel` whose service has embeddings: a host of its own by `Provider`, or the gateway. DeepSeek
 * itself has none.
 *
 * Concurrent calls of `embed` share one request, and large ones are divided; both as `effect/ai` and `batch` say.
 *
 * @since 0.1.0
 */
import type { ChatModel } from "@ballast/chat/ChatModel"
import * as Embeddings from "@ballast/chat/Embeddings"
import type { Usage } from "@ballast/chat/Usage"
import * as AiError from "effect/ai/AiError"
import * as EmbeddingModel from "effect/ai/EmbeddingModel"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as aiErrors from "./internal/aiErrors.ts"

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** The model of the embeddings, as the service names it. */
  readonly model: string
  /** Length of the vectors, where the model has a choice. Default: the model's. */
  readonly dimensions?: number | undefined
  /** Texts in one request at most, at least 1; more are asked for one request after the other. Default 100. */
  readonly batch?: number | undefined
}

/**
 * What is used where `Options` say nothing.
 *
 * @category options
 * @since 0.1.0
 */
export const defaults = { batch: 100 } as const

const fail = (reason: AiError.AiErrorReason): AiError.AiError =>
  AiError.make({ module: "ChatEmbeddingModel", method: "embedMany", reason })

/** The vectors in the order of their texts; undefined where one is missing. */
const vectorsOf = ({ data }: Embeddings.Response, count: number): Array<Array<number>> | undefined => {
  const vectors: Array<Array<number> | undefined> = Array.from({ length: count }, () => undefined)
  for (const [position, { embedding, index }] of data.entries()) {
    if (Array.isArray(embedding)) vectors[index ?? position] = embedding
  }
  const found = vectors.filter((vector) => vector !== undefined)
  return found.length === count ? found : undefined
}

const tokensOf = (answers: ReadonlyArray<{ readonly usage: Usage | undefined }>): number | undefined =>
  answers.some(({ usage }) => usage === undefined)
    ? undefined
    : answers.reduce((sum, { usage }) => sum + (usage?.prompt_tokens ?? 0), 0)

/**
 * Creates an embedding model over a chat model. Throws a `RangeError` when `batch` is out of its bounds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E>(
  model: ChatModel<E>,
  { batch = defaults.batch, dimensions, model: name }: Options
): Effect.Effect<EmbeddingModel.EmbeddingModel> => {
  if (!(Number.isInteger(batch) && batch >= 1)) {
    throw new RangeError(`ChatEmbeddingModel.make: batch must be a whole number of at least 1, got ${batch}`)
  }

  const embed = (inputs: ReadonlyArray<string>) =>
    Embeddings.create(model, {
      model: name,
      input: inputs,
      encoding_format: "float",
      ...(dimensions === undefined ? undefined : { dimensions })
    }).pipe(
      Effect.mapError((error) => fail(aiErrors.reasonOf(error))),
      Effect.flatMap((response) => {
        const vectors = vectorsOf(response, inputs.length)
        const description = `The service did not give a vector for each of ${inputs.length} texts`
        return vectors === undefined
          ? Effect.fail(fail(new AiError.InvalidOutputError({ description })))
          : Effect.succeed({ vectors, usage: response.usage ?? undefined })
      })
    )

  return EmbeddingModel.make({
    embedMany: ({ inputs }) => {
      const batches = Array.from(
        { length: Math.ceil(inputs.length / batch) },
        (_, index) => inputs.slice(index * batch, (index + 1) * batch)
      )
      return Effect.map(Effect.forEach(batches, embed), (answers) => ({
        results: answers.flatMap(({ vectors }) => vectors),
        usage: { inputTokens: tokensOf(answers) }
      }))
    }
  })
}

/**
 * Provides `EmbeddingModel` over a chat model.
 *
 * **Example** (Vectors from a host of one's own)
 *
 * ```ts
 * import { ChatEmbeddingModel, Provider, Source, Undici } from "@ballast/deepseek"
 * import { Effect, Layer, Redacted } from "effect"
 * import { EmbeddingModel } from "effect/ai"
 *
 * const Vectors = Layer.unwrap(Effect.gen(function*() {
 *   const source = yield* Source.make({
 *     provider: Provider.make({ name: "local", baseUrl: "http://127.0.0.1:8000/v1", paths: { embeddings: "/embeddings" } }),
 *     apiKey: Redacted.make("none")
 *   })
 *   return ChatEmbeddingModel.layerModel(source, { model: "bge-m3" })
 * })).pipe(Layer.provide(Undici.layer()))
 *
 * const program = Effect.gen(function*() {
 *   const model = yield* EmbeddingModel.EmbeddingModel
 *   return (yield* model.embed("Ballast keeps a ship upright")).vector
 * }).pipe(Effect.provide(Vectors))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerModel = <E>(
  model: ChatModel<E>,
  options: Options
): Layer.Layer<EmbeddingModel.EmbeddingModel> =>
  Layer.effect(EmbeddingModel.EmbeddingModel, Effect.suspend(() => make(model, options)))
