/**
 * `GET /v1/models` and `GET /v1/models/{id}`.
 *
 * @since 0.1.0
 */
import type { ModelList } from "@ballast/chat/ModelList"
import * as WireText from "@ballast/chat/WireText"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Client from "./Client.ts"
import { Rejection } from "./Rejection.ts"

const json = (text: string) => HttpServerResponse.text(text, { contentType: "application/json" })

/** What a client may use. Untouched, the list goes on as it came. */
const allowed = (list: ModelList, client: Client.Client): ModelList =>
  client.models === undefined ? list : { ...list, data: list.data.filter(({ id }) => Client.mayUse(client, id)) }

/**
 * The list, as the service gave it, of what the client may use.
 *
 * @category handlers
 * @since 0.1.0
 */
export const all = <E>(
  models: Effect.Effect<ModelList, E>,
  client: Client.Client = Client.anonymous
): Effect.Effect<HttpServerResponse.HttpServerResponse, E> =>
  Effect.map(models, (list) => json(WireText.stringify(allowed(list, client))))

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
  id: string,
  client: Client.Client = Client.anonymous
): Effect.Effect<HttpServerResponse.HttpServerResponse, E | Rejection> =>
  Effect.flatMap(models, (all) => {
    const list = allowed(all, client)
    const model = list.data.find((model) => model.id === id)
    return model === undefined ? Effect.fail(unknown(id, list)) : Effect.succeed(json(JSON.stringify(model)))
  })
