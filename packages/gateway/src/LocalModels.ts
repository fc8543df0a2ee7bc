/**
 * Local models, as the gateway serves them: by the Open Inference Protocol (`InferenceRoutes`), and as a provider of the type `local`, whose one
 * endpoint is embeddings. So a route may fall back from a remote model to a local one and back, with the policies, metrics and ledger of all
 * providers.
 *
 * @since 0.1.0
 */
import * as Embeddings from "@ballast/chat/Embeddings"
import type { InferenceError, Reason } from "@ballast/inference/InferenceError"
import * as Models from "@ballast/inference/Models"
import * as Tasks from "@ballast/inference/Tasks"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"

/**
 * @category models
 * @since 0.1.0
 */
export type Service = Models.Service

/**
 * The local models in a folder, which is watched until the scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: { readonly folder: string; readonly maxBytes: number }
): Effect.Effect<Service, never, Scope.Scope> => Effect.provide(Models.make(options), NodeFileSystem.layer)

/** As the services say it that speak this API. */
const statuses: Record<Reason, number> = {
  UnknownModel: 404,
  NotReady: 503,
  Refused: 503,
  InvalidInput: 400,
  Overloaded: 503,
  DeadlineExceeded: 504,
  ModelFailed: 500
}

const refusal = (status: number, code: string, message: string) =>
  Response.json({ error: { message, type: "local_model_error", param: null, code } }, { status })

const refused = ({ message, reason }: InferenceError) =>
  refusal(statuses[reason], reason === "UnknownModel" ? "model_not_found" : reason, message)

const decode = Schema.decodeEffect(Schema.fromJsonString(Embeddings.Request))

const isTexts = (input: Embeddings.Request["input"]): input is string | ReadonlyArray<string> =>
  typeof input === "string" || input.every((text) => typeof text === "string")

/** Texts of one request, as OpenAI bounds them. */
const mostTexts = 2_048

const encoded = (vector: ReadonlyArray<number>, format: Embeddings.Request["encoding_format"]) =>
  format === "base64" ? Buffer.from(new Float32Array(vector).buffer).toString("base64") : vector

const embeddings = Effect.fnUntraced(function*(models: Service, text: string) {
  const { dimensions, encoding_format, input, model } = yield* decode(text)
  if (!isTexts(input) || input.length > mostTexts && typeof input !== "string") {
    return refusal(400, "invalid_request", `Local models take 1 to ${mostTexts} texts, not tokens.`)
  }
  if (dimensions != null) return refusal(400, "invalid_request", "The dimensions of a local model can not be chosen.")
  const embedded = yield* Tasks.embed(model, typeof input === "string" ? [input] : input).pipe(
    Effect.provideService(Models.Models, models)
  )
  const tokens = embedded.reduce((sum, { tokens = 0 }) => sum + tokens, 0)
  return Response.json({
    object: "list",
    model,
    data: embedded.map(({ vector }, index) => ({
      object: "embedding",
      index,
      embedding: encoded(vector, encoding_format)
    })),
    usage: { prompt_tokens: tokens, total_tokens: tokens }
  })
})

const answer = Effect.fnUntraced(function*(models: Service, request: HttpClientRequest.HttpClientRequest) {
  if (!request.url.endsWith("/embeddings")) {
    return refusal(404, "not_found", "Local models have no endpoint but embeddings.")
  }
  const web = yield* HttpClientRequest.toWeb(request)
  const text = yield* Effect.promise(() => web.text())
  return yield* embeddings(models, text)
})

/**
 * What providers of the type `local` are called by.
 *
 * @category constructors
 * @since 0.1.0
 */
export const client = (models: Service): HttpClient.HttpClient =>
  HttpClient.make((request) =>
    answer(models, request).pipe(
      Effect.catch((error) =>
        Effect.succeed(
          error._tag === "InferenceError"
            ? refused(error)
            : refusal(400, "invalid_request", "The body is no request for embeddings.")
        )
      ),
      Effect.map((response) => HttpClientResponse.fromWeb(request, response))
    )
  )
