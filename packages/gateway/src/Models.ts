/**
 * `GET /v1/models` and `GET /v1/models/{id}`.
 *
 * @since 0.1.0
 */
import type { ModelList } from "@ballast/chat/ModelList"
import * as WireText from "@ballast/chat/WireText"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { Rejection } from "./Rejection.ts"

const json = (text: string) => HttpServerResponse.text(text, { contentType: "application/json" })

/**
 * The list, as the service gave it.
 *
 * @category handlers
 * @since 0.1.0
 */
export const all = <E>(models: Effect.Effect<ModelList, E>): Effect.Effect<HttpServerResponse.HttpServerResponse, E> =>
  Effect.map(models, (list) => json(WireText.stringify(list)))

/** So many names stand in an error. */
const named = 20

const unknown = (id: string, list: ModelList): Rejection => {
  const names = list.data.slice(0, named).map((model) => model.id)
  const more = list.data.length > named ? ` and ${list.data.length - named} more` : ""
  return new Rejection({
    case: "ModelNotFound",
    param: "model",
    detail: `There is no model ${JSON.stringify(id.slice(0, 256))} here. There are: ${names.join(", ")}${more}.`
  })
}

/**
 * One entry of the list.
 *
 * @category handlers
 * @since 0.1.0
 */
export const one = <E>(
  models: Effect.Effect<ModelList, E>,
  id: string
): Effect.Effect<HttpServerResponse.HttpServerResponse, E | Rejection> =>
  Effect.flatMap(models, (list) => {
    const model = list.data.find((model) => model.id === id)
    return model === undefined ? Effect.fail(unknown(id, list)) : Effect.succeed(json(JSON.stringify(model)))
  })
