/**
 * A `ChatModel` for each name of a model, so that one model's trouble is not another's.
 *
 * Names come from callers. So a name has a model of its own only when it was named before, or once a call of it succeeded, while there
 * is room; all further names share one, and can neither fill the memory nor crowd models out.
 *
 * @since 0.1.0
 */
import type { ChatModel } from "@ballast/chat/ChatModel"
import * as Layered from "@ballast/resilience/Layered"
import * as GenAi from "@ballast/telemetry/GenAi"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"

/**
 * Options of the models by name.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<E> {
  /** Names that have a model of their own from the beginning. */
  readonly names: Iterable<string>
  /** Makes the model of a name; it lives until the scope of `make` closes. */
  readonly make: (name: string) => Effect.Effect<ChatModel<E>, never, Scope.Scope>
  /** Serves all names that have no model of their own. */
  readonly others: ChatModel<E>
  /** Names that may have a model of their own, `names` included; more of those are made all the same. At least 0. Default 64. */
  readonly limit?: number | undefined
}

/**
 * A model that chooses by name.
 *
 * @category models
 * @since 0.1.0
 */
export interface PerModel<E> extends ChatModel<E> {
  /** Gives names models of their own from now on, those that have none yet. */
  readonly add: (names: Iterable<string>) => Effect.Effect<void>
}

const defaultLimit = 64

/**
 * Creates a model that chooses by the request's `model`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*<E>(
  options: Options<E>
): Effect.fn.Return<PerModel<E>, never, Scope.Scope> {
  const { limit = defaultLimit, others } = options
  // A name's model is made by a call and outlives it, so it has the context of the whole.
  const context = yield* Effect.context<Scope.Scope>()
  const models = new Map<string, ChatModel<E>>()
  const turn = Semaphore.makeUnsafe(1)
  /** One after the other, and to its end: a call that leaves meanwhile would leave the half of a model behind. */
  const open = (name: string, may: (name: string) => boolean): Effect.Effect<void> =>
    Effect.suspend(() => may(name) ? options.make(name) : Effect.undefined).pipe(
      Effect.map((model) => void (model !== undefined && models.set(name, model))),
      Effect.provideContext(context),
      turn.withPermit,
      Effect.uninterruptible
    )
  const fits = (name: string): boolean =>
    typeof name === "string" && !models.has(name) && models.size < limit && name.length <= GenAi.maxModelLength
  const answered = (name: string): Effect.Effect<void> =>
    Effect.suspend(() => fits(name) ? open(name, fits) : Effect.void)
  const add: PerModel<E>["add"] = (names) =>
    Effect.forEach(new Set(names), (name) => open(name, (name) => !models.has(name)), { discard: true })

  yield* add(options.names)
  return {
    add,
    complete: (request) =>
      Effect.suspend(() => {
        const model = models.get(request.model)
        return model === undefined
          ? Effect.tap(others.complete(request), () => answered(request.model))
          : model.complete(request)
      }),
    stream: (request) =>
      Layered.suspend(() => {
        const model = models.get(request.model)
        return model === undefined
          ? Stream.onEnd(others.stream(request), answered(request.model))
          : model.stream(request)
      })
  }
})
