/**
 * The `LanguageModel` of `effect/ai` over DeepSeek, or over any `ChatModel`: `generateText`, `generateObject`, `streamText`, toolkits and `Chat`.
 *
 * Thinking comes as reasoning parts and goes back with the history. `generateObject` asks as `ChatObject` does: by a strict tool or in JSON mode,
 * and again where the answer is no value. A tool that must be called (`toolChoice`) switches thinking off for that request, since the service
 * refuses both together; a configuration that asks for thinking wins. Arguments that are no JSON reach the toolkit as text, so that they fail
 * as the tool's `failureMode` says. Usage tells cached and reasoning tokens. Errors are `AiError`s; `metadata.ballast` keeps the reason,
 * status and trace id.
 *
 * @since 0.1.0
 */
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Model from "effect/ai/Model"
import type * as Response from "effect/ai/Response"
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as ChatObject from "./ChatObject.ts"
import { DeepSeek } from "./DeepSeek.ts"
import * as aiErrors from "./internal/aiErrors.ts"
import * as objectForm from "./internal/objectForm.ts"
import * as prompts from "./internal/prompt.ts"
import * as responseParts from "./internal/responseParts.ts"

/**
 * Fields of every request, beside those that a prompt and its options give.
 *
 * @category options
 * @since 0.1.0
 */
export type Config = Partial<
  Omit<ChatRequest, "model" | "messages" | "tools" | "tool_choice" | "response_format" | "stream" | "stream_options">
>

/**
 * Fields of the requests of this fiber, over those of the model. Default none.
 *
 * **Example** (One call without thinking)
 *
 * ```ts
 * import { DeepSeekLanguageModel } from "@ballast/deepseek"
 * import { Effect } from "effect"
 * import { LanguageModel } from "effect/ai"
 *
 * LanguageModel.generateText({ prompt: "Hello!" }).pipe(
 *   Effect.provideService(DeepSeekLanguageModel.CurrentConfig, { thinking: { type: "disabled" } })
 * )
 * ```
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentConfig: Context.Reference<Config> = Context.Reference(
  "@ballast/deepseek/DeepSeekLanguageModel/CurrentConfig",
  { defaultValue: () => ({}) }
)

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** The model that is asked for, such as `deepseek-flash`. */
  readonly model: string
  /** Default none. */
  readonly config?: Config | undefined
}

const fail = (method: string, reason: AiError.AiErrorReason): AiError.AiError =>
  AiError.make({ module: "DeepSeekLanguageModel", method, reason })

const isForced = (choice: LanguageModel.ToolChoice<string>): boolean =>
  typeof choice === "string" ? choice === "required" : "tool" in choice || choice.mode === "required"

/** The chat request of a prompt and its options. */
const requestOf = (
  { config, model }: Options,
  current: Config,
  { prompt, toolChoice, tools: given }: LanguageModel.ProviderOptions
): Result.Result<ChatRequest, AiError.AiErrorReason> =>
  Result.gen(function*() {
    const messages = yield* prompts.messages(prompt)
    if (!Arr.isReadonlyArrayNonEmpty(messages)) {
      return yield* Result.fail(new AiError.InvalidUserInputError({ description: "The prompt has no messages" }))
    }
    const fields: Config = { ...config, ...current }
    if (given.length === 0) return { ...fields, model, messages }
    const tools = []
    for (const tool of given) tools.push(yield* prompts.toolOf(tool))
    const silent = isForced(toolChoice) && fields.thinking === undefined && fields.reasoning_effort === undefined
    return {
      ...fields,
      ...(silent ? { thinking: { type: "disabled" } as const } : undefined),
      model,
      messages,
      tools,
      tool_choice: prompts.toolChoice(toolChoice)
    }
  })

/**
 * Creates a language model over a chat model.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E>(
  model: ChatModel<E>,
  options: Options
): Effect.Effect<LanguageModel.LanguageModel> => {
  const ask = (method: string, given: LanguageModel.ProviderOptions) =>
    Effect.flatMap(
      CurrentConfig,
      (current) =>
        Effect.mapError(Effect.fromResult(requestOf(options, current, given)), (reason) => fail(method, reason))
    )

  const failed = (method: string) => (error: unknown): AiError.AiError => fail(method, aiErrors.reasonOf(error))

  return LanguageModel.make({
    codecTransformer,
    // The chat takes system messages anywhere.
    supportsSystemMessagesInHistory: Effect.succeed(true),
    generateText: (given) =>
      given.responseFormat.type === "json"
        ? Effect.flatMap(ask("generateObject", given), (request) =>
          Effect.mapError(object(model, request, given.responseFormat), failed("generateObject")))
        : Effect.flatMap(ask("generateText", given), (request) =>
          Effect.mapBoth(model.complete(request), {
            onSuccess: (completion) =>
              responseParts.whole(completion),
            onFailure: failed("generateText")
          })),
    streamText: (given) =>
      Stream.unwrap(
        Effect.map(
          ask("streamText", given),
          (request) => Stream.mapError(streamed(model, request), failed("streamText"))
        )
      )
  })
}

/** Schemas are read and written as JSON has them. */
const codecTransformer: LanguageModel.CodecTransformer = (schema) => {
  const codec = Schema.toCodecJson(schema)
  return { codec, jsonSchema: Schema.toJsonSchemaDocument(codec).schema }
}

/** The parts of an answer whose text is the JSON of a value. Beside tools the model may call one first, so it is asked once. */
const object = <E>(
  model: ChatModel<E>,
  request: ChatRequest,
  format: LanguageModel.ProviderOptions["responseFormat"]
): Effect.Effect<Array<Response.PartEncoded>, E | ChatObject.ObjectError> => {
  if (format.type === "text" || request.tools != null) {
    const asked = format.type === "text"
      ? request
      : objectForm.ask(objectForm.make(format.schema, format.objectName), request)
    return Effect.map(model.complete(asked), (completion) => responseParts.whole(completion))
  }
  // `generateObject` asks its own caller for the services that the schema needs.
  const answer = ChatObject.complete(model, format.schema, request, { name: format.objectName }) as Effect.Effect<
    ChatObject.Answer<unknown>,
    E | ChatObject.ObjectError
  >
  return Effect.map(
    answer,
    ({ completion, json, usage }) => responseParts.whole({ ...completion, usage: usage ?? null }, JSON.stringify(json))
  )
}

const streamed = <E>(model: ChatModel<E>, request: ChatRequest): Stream.Stream<Response.StreamPartEncoded, E> =>
  Stream.mapAccumArray(
    model.stream(request),
    () => new responseParts.Arriving(),
    (arriving, chunks) => [arriving, chunks.flatMap((chunk) => arriving.add(chunk))] as const,
    { onHalt: (arriving) => arriving.end() }
  )

/**
 * Provides `LanguageModel` over a chat model of your own: routed, cached, or another host's.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerModel = <E>(model: ChatModel<E>, options: Options): Layer.Layer<LanguageModel.LanguageModel> =>
  Layer.effect(LanguageModel.LanguageModel, make(model, options))

/**
 * Provides `LanguageModel` over the `DeepSeek` service.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<LanguageModel.LanguageModel, never, DeepSeek> =>
  Layer.effect(LanguageModel.LanguageModel, Effect.flatMap(DeepSeek, (model) => make(model, options)))

/**
 * A model of DeepSeek for `Effect.provide`, and for an `ExecutionPlan` of `effect`.
 *
 * **Example** (A text)
 *
 * ```ts
 * import { DeepSeek, DeepSeekLanguageModel } from "@ballast/deepseek"
 * import { Simulator } from "@ballast/simulator"
 * import { Console, Effect, Layer, Redacted } from "effect"
 * import { LanguageModel } from "effect/ai"
 *
 * const program = Effect.gen(function*() {
 *   const { reasoningText, text, usage } = yield* LanguageModel.generateText({ prompt: "Why does a ship carry ballast?" })
 *   yield* Console.log(reasoningText, text, usage.outputTokens.reasoning)
 * }).pipe(Effect.provide(DeepSeekLanguageModel.model("deepseek-flash")))
 *
 * // DeepSeek.layerConfig() with Undici.layer() asks the service
 * await Effect.runPromise(Effect.provide(program, DeepSeek.layer({ apiKey: Redacted.make("sk-simulated") }).pipe(
 *   Layer.provide(Simulator.layerHttpClient())
 * )))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const model = (
  name: string,
  config?: Config
): Model.Model<"deepseek", LanguageModel.LanguageModel, DeepSeek> =>
  Model.make("deepseek", name, layer({ model: name, config }))
