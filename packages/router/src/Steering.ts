/**
 * What an operator changes by hand while calls run: weights of targets, and what answers in place of a model.
 *
 * It outlives the revisions of the settings: what is set for a model, or a target, holds as long as the settings have it, and again when it
 * comes back. It belongs to one process and is gone with it.
 *
 * @since 0.1.0
 */
import type { ChatModel } from "@ballast/chat/ChatModel"
import * as Layered from "@ballast/resilience/Layered"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as FixedAnswer from "./FixedAnswer.ts"
import * as noted from "./internal/noted.ts"

/**
 * There is no model, arm or provider of this name, or a weight is out of its bounds.
 *
 * @category errors
 * @since 0.1.0
 */
export class CannotSteer extends Schema.TaggedError<CannotSteer>()("CannotSteer", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

/**
 * What answers in place of a model's route: the route of another model, or a fixed text.
 *
 * @category models
 * @since 0.1.0
 */
export type Degradation = { readonly model: string } | { readonly text: string }

/**
 * Weights by arm; undefined gives back the weight of the settings.
 *
 * @category models
 * @since 0.1.0
 */
export type WeightsByHand = Readonly<Record<string, number | undefined>>

type Weights = Readonly<Record<string, number>>

/**
 * A route as far as it can be steered.
 *
 * @category models
 * @since 0.1.0
 */
export interface Route<E> {
  /** Its targets, whatever answers in their place. */
  readonly undegraded: ChatModel<E>
  /** By arm, as the settings have them. */
  readonly weights: Weights
  /** Sets the weights in force. Throws a `RangeError` for one out of its bounds. */
  readonly setWeights: (weights: Weights) => Effect.Effect<void>
}

/**
 * The routes of one revision of the settings, by model.
 *
 * @category models
 * @since 0.1.0
 */
export type Routes<E> = ReadonlyMap<string, Route<E>>

/**
 * @category models
 * @since 0.1.0
 */
export interface Steering<E> {
  /** Sets weights of a route's targets by arm. */
  readonly weigh: (routes: Routes<E>, model: string, weights: WeightsByHand) => Effect.Effect<void, CannotSteer>
  /** Lets something else answer a model's calls that begin from now on; undefined ends it. */
  readonly degrade: (
    routes: Routes<E>,
    model: string,
    to: Degradation | undefined
  ) => Effect.Effect<void, CannotSteer>
  /** The weights in force: those set by hand over those of the settings. */
  readonly weightsOf: (model: string, weights: Weights) => Weights
  /** What answers in a model's place. */
  readonly degradationOf: (model: string) => Degradation | undefined
  /** A route that what is set by hand answers in place of. Another model is looked up among `routes`, degraded itself or not. */
  readonly degradable: (model: string, undegraded: ChatModel<E>, routes: Routes<E>) => ChatModel<E>
}

/** The name of the route of all models that have none; it has no name of its own to answer under. */
const others = "*"

const standIn = <E>(to: Degradation, routes: Routes<E>): ChatModel<E> | undefined => {
  if ("text" in to) {
    return noted.calls(
      FixedAnswer.make(to.text),
      (info) => Object.assign(info, { provider: "ballast", account: undefined, model: undefined, arm: "degraded" })
    )
  }
  const model = routes.get(to.model)?.undegraded
  return model && {
    complete: (request) => model.complete({ ...request, model: to.model }),
    stream: (request) => model.stream({ ...request, model: to.model })
  }
}

/**
 * Creates the steering of a router, with nothing set.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E>(): Steering<E> => {
  const degradations = new Map<string, Degradation>()
  const weightsByHand = new Map<string, Weights>()

  return {
    weigh: (routes, model, weights) =>
      Effect.suspend(() => {
        const route = routes.get(model)
        if (route === undefined) return Effect.fail(unknownName("model", model, routes.keys()))
        const unknown = Object.keys(weights).find((arm) => !Object.hasOwn(route.weights, arm))
        if (unknown !== undefined) {
          return Effect.fail(unknownName("target", `${unknown} of ${model}`, Object.keys(route.weights)))
        }
        const inForce = Object.fromEntries(
          Object.entries(weights).map(([arm, weight]) => [arm, weight ?? route.weights[arm] ?? 0])
        )
        const keep = Effect.sync(() => {
          const kept = Object.entries({ ...weightsByHand.get(model), ...weights })
          weightsByHand.set(
            model,
            Object.fromEntries(kept.flatMap(([arm, weight]) => weight === undefined ? [] : [[arm, weight]]))
          )
        })
        return Effect.try({ try: () => route.setWeights(inForce), catch: cannotSteer }).pipe(
          Effect.flatten,
          Effect.andThen(keep)
        )
      }),
    degrade: (routes, model, to) =>
      Effect.suspend(() => {
        if (!routes.has(model)) return Effect.fail(unknownName("model", model, routes.keys()))
        if (to !== undefined && "model" in to) {
          if (!routes.has(to.model) || to.model === others) {
            const names = [...routes.keys()].filter((name) => name !== others)
            return Effect.fail(unknownName("model", to.model, names))
          }
          if (to.model === model) {
            return Effect.fail(new CannotSteer({ detail: `${model} can not stand in for itself.` }))
          }
        }
        return Effect.sync(() => {
          if (to === undefined) degradations.delete(model)
          else degradations.set(model, to)
        })
      }),
    weightsOf: (model, weights) => {
      const byHand = Object.entries(weightsByHand.get(model) ?? {}).filter(([arm]) => Object.hasOwn(weights, arm))
      return { ...weights, ...Object.fromEntries(byHand) }
    },
    degradationOf: (model) => degradations.get(model),
    degradable: (model, undegraded, routes) => {
      const answering = () => {
        const to = degradations.get(model)
        return to === undefined ? undegraded : standIn(to, routes) ?? undegraded
      }
      return {
        complete: (request) => Effect.suspend(() => answering().complete(request)),
        stream: (request) => Layered.suspend(() => answering().stream(request))
      }
    }
  }
}

/**
 * The error of a name that is not there, with those that are.
 *
 * @category errors
 * @since 0.1.0
 */
export const unknownName = (kind: string, name: string, known: Iterable<string>): CannotSteer => {
  const names = [...known].join(", ")
  return new CannotSteer({
    detail: `There is no ${kind} ${name}, ${names === "" ? "nor any other" : `only ${names}`}.`
  })
}

const cannotSteer = (error: unknown): CannotSteer =>
  new CannotSteer({ detail: error instanceof Error ? error.message : String(error) })
