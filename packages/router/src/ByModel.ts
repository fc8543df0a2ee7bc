/**
 * Chooses a model by the name that a request asks for.
 *
 * @since 0.1.0
 */
import * as ChatError from "@ballast/chat/ChatError"
import type { ChatModel } from "@ballast/chat/ChatModel"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

/** Names that an error lists at most. */
const maxListed = 50

const unknown = (asked: string, models: ReadonlyMap<string, unknown>): ChatError.ClientError => {
  const supported = [...models.keys()]
  const listed = supported.slice(0, maxListed).join(", ")
  const more = supported.length > maxListed ? `, and ${supported.length - maxListed} more` : ""
  return new ChatError.ClientError({
    reason: new ChatError.UnknownModel({
      status: 404,
      detail: `There is no model ${JSON.stringify(String(asked).slice(0, 256))} here. There ${
        supported.length === 1 ? "is" : "are"
      } ${listed}${more}.`,
      stated: true,
      supported
    })
  })
}

/**
 * Sends a request to the model of its name, others to `otherwise`; without that, they fail with `UnknownModel`, which lists what there is.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E>(options: {
  readonly models: Readonly<Record<string, ChatModel<E>>>
  readonly otherwise?: ChatModel<E> | undefined
}): ChatModel<E | ChatError.ClientError> => {
  const models = new Map(Object.entries(options.models))
  return {
    complete: (request) => {
      const model = models.get(request.model) ?? options.otherwise
      return model === undefined ? Effect.fail(unknown(request.model, models)) : model.complete(request)
    },
    stream: (request) => {
      const model = models.get(request.model) ?? options.otherwise
      return model === undefined ? Stream.fail(unknown(request.model, models)) : model.stream(request)
    }
  }
}
