/**
 * What the controller asks of a gateway's pod: the admin API's part for models, each request with an admin key.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { Target } from "./BallastModel.ts"
import { send } from "./internal/http.ts"
import type { Loaded } from "./Rollout.ts"

/**
 * A pod that refused or did not answer.
 *
 * @category errors
 * @since 0.1.0
 */
export class GatewayError extends Schema.TaggedError<GatewayError>()("GatewayError", {
  request: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `${this.request}: ${this.detail}`
  }
}

/**
 * The models of one pod, by its address.
 *
 * @category models
 * @since 0.1.0
 */
export interface GatewayPods {
  readonly read: (address: string, model: string) => Effect.Effect<ReadonlyArray<Loaded>, GatewayError>
  readonly load: (address: string, model: string, target: Target) => Effect.Effect<void, GatewayError>
  readonly weigh: (
    address: string,
    model: string,
    weights: Readonly<Record<string, number>>
  ) => Effect.Effect<void, GatewayError>
  readonly unload: (address: string, model: string, version: string) => Effect.Effect<void, GatewayError>
}

const optional = <A, I>(schema: Schema.Codec<A, I>) => Schema.optional(Schema.NullOr(schema))

const Answer = Schema.Struct({
  versions: Schema.Array(Schema.Struct({
    version: Schema.String,
    state: Schema.Literals(["loading", "ready", "failed", "draining", "unloaded"]),
    reason: optional(Schema.String),
    weight: optional(Schema.Finite),
    calls: optional(Schema.Finite),
    errors: optional(Schema.Finite),
    latencySeconds: optional(Schema.Struct({ p95: optional(Schema.Finite) }))
  }))
})
const decodeAnswer = Schema.decodeUnknownEffect(Schema.fromJsonString(Answer))

const Refusal = Schema.fromJsonString(
  Schema.Struct({ error: Schema.Struct({ message: Schema.String }) })
)
const decodeRefusal = Schema.decodeUnknownOption(Refusal)

/** Of an answer, in characters. */
const maximumSize = 1_048_576

/**
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(adminKey: Effect.Effect<Redacted.Redacted<string>>) {
  const client = yield* HttpClient.HttpClient

  const ask = Effect.fnUntraced(function*(
    method: "GET" | "PUT" | "DELETE",
    address: string,
    path: string,
    body?: unknown
  ) {
    const name = `${method} ${path}`
    const fail = (detail: string) => new GatewayError({ request: name, detail })
    const request = HttpClientRequest.make(method)(`${address}/admin/v1/inference/models/${path}`).pipe(
      HttpClientRequest.bearerToken(yield* adminKey),
      body === undefined
        ? (request) => request
        : HttpClientRequest.bodyText(JSON.stringify(body), "application/json")
    )
    const answer = yield* send(client, request, { time: "5 seconds", size: maximumSize, fail })
    if ((answer.status >= 200 && answer.status < 300) || answer.status === 404) return answer
    if (answer.status === 401 || answer.status === 403) {
      return yield* fail(`the admin key is refused (${answer.status})`)
    }
    const told = decodeRefusal(answer.text)
    const words = told._tag === "Some" ? `: ${told.value.error.message.slice(0, 300)}` : ""
    return yield* fail(`status ${answer.status}${words}`)
  })

  /** A 404 says that the model is unknown, which only a reading or an unloading may be told. */
  const must = (method: "PUT", address: string, path: string, body: unknown) =>
    Effect.flatMap(ask(method, address, path, body), ({ status }) =>
      status === 404
        ? Effect.fail(
          new GatewayError({ request: `${method} ${path}`, detail: "this gateway serves no such models (404)" })
        )
        : Effect.void)

  const segment = encodeURIComponent

  const made: GatewayPods = {
    read: Effect.fnUntraced(function*(address, model) {
      const { status, text } = yield* ask("GET", address, segment(model))
      if (status === 404) return []
      const { versions } = yield* Effect.mapError(
        decodeAnswer(text),
        () => new GatewayError({ request: `GET ${model}`, detail: "an answer of another version of the gateway" })
      )
      const sum = versions.reduce((sum, { weight }) => sum + (weight ?? 0), 0)
      return versions.map(({ calls, errors, latencySeconds, reason, state, version, weight }) => ({
        version,
        state,
        reason: reason ?? undefined,
        // A share of the calls, whatever the sum of the weights.
        weight: sum === 0 ? 0 : Math.round(100 * (weight ?? 0) / sum),
        calls: calls ?? 0,
        errors: errors ?? 0,
        p95: latencySeconds?.p95 ?? undefined
      }))
    }),
    load: (address, model, { version, ...body }) =>
      must("PUT", address, `${segment(model)}/versions/${segment(version)}`, body),
    weigh: (address, model, weights) => must("PUT", address, `${segment(model)}/traffic`, { weights }),
    unload: (address, model, version) =>
      Effect.asVoid(ask("DELETE", address, `${segment(model)}/versions/${segment(version)}`))
  }
  return made
})
