/**
 * Divides calls among named arms by weight, for an A/B test, a canary, or several accounts.
 *
 * Weights may change while calls run; those under way keep their arm. An arm of weight 0 is drained: it gets no new calls.
 *
 * @since 0.1.0
 */
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Layered from "@ballast/resilience/Layered"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Choice from "./Choice.ts"
import * as Load from "./Load.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Arm<E> {
  readonly model: ChatModel<E>
  /** Its share of the calls beside the other weights: a finite number, zero or more. Default 1. */
  readonly weight?: number | undefined
  /** Whether a call may go to this arm. Default: every call. */
  readonly when?: ((request: ChatRequest) => Effect.Effect<boolean>) | undefined
}

/**
 * The state of an arm.
 *
 * @category models
 * @since 0.1.0
 */
export interface ArmState {
  readonly name: string
  readonly weight: number
  /** Calls in flight. */
  readonly inFlight: number
  /** Mean time until an answer or a first chunk, in milliseconds; 0 before the first. */
  readonly latency: number
}

/**
 * A model of several arms, whose weights can be changed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Split<E> extends ChatModel<E> {
  readonly inspect: Effect.Effect<ReadonlyArray<ArmState>>
  /** Sets weights by the arms' names; arms that are not named keep theirs. Throws a `RangeError` for an unknown arm or a wrong weight. */
  readonly update: (weights: Readonly<Record<string, number>>) => Effect.Effect<void>
  /** The arms that may take a call, the chosen one first. */
  readonly order: (
    request: ChatRequest
  ) => Effect.Effect<ReadonlyArray<{ readonly name: string; readonly model: ChatModel<E> }>>
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Default `Choice.weighted`. */
  readonly choice?: Choice.Choice | undefined
}

interface Place<E> extends Choice.Candidate {
  weight: number
  readonly load: Load.Load
  readonly model: ChatModel<E>
  readonly when: Arm<E>["when"]
}

const checkWeight = (where: string, name: string, weight: number): number => {
  if (Number.isFinite(weight) && weight >= 0) return weight
  throw new RangeError(`${where}: the weight of ${name} must be a finite number of zero or more, got ${weight}`)
}

/**
 * Makes one model of several arms.
 *
 * **Details**
 *
 * A call that no arm may take fails as `empty` says: each has weight 0, or its `when` refuses. Throws a `RangeError` when there is no arm,
 * or a weight is out of its bounds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E, E2>(
  arms: Readonly<Record<string, Arm<E>>>,
  options: Options & { readonly empty: (request: ChatRequest) => E2 }
): Split<E | E2> => {
  const { choice = Choice.weighted, empty } = options
  const places = new Map<string, Place<E>>()
  for (const [name, { model, weight = 1, when }] of Object.entries(arms)) {
    const load = Load.make()
    places.set(name, { name, weight: checkWeight("Split.make", name, weight), load, when, model: load.watch(model) })
  }
  if (places.size === 0) throw new RangeError("Split.make: there must be at least one arm")

  const permitted = (request: ChatRequest): Effect.Effect<ReadonlyArray<Place<E>>> => {
    const all = [...places.values()]
    return all.every(({ when }) => when === undefined)
      ? Effect.succeed(all)
      : Effect.filter(all, ({ when }) => when === undefined ? Effect.succeed(true) : when(request))
  }

  const [only] = places.size === 1 && Object.values(arms)[0]?.when === undefined ? places.values() : []

  /** The one arm that every call goes to, where there is no choice. */
  const sole = (): Place<E> | undefined => only !== undefined && only.weight > 0 ? only : undefined

  const order: Split<E>["order"] = (request) =>
    Effect.suspend(() => {
      const arm = sole()
      return arm === undefined
        ? Effect.flatMap(permitted(request), (places) => choice(places, request))
        : Effect.succeed([arm])
    })

  return {
    complete: (request) =>
      Effect.suspend(() =>
        sole()?.model.complete(request) ?? Effect.flatMap(
          order(request),
          ([first]): Effect.Effect<Effect.Success<ReturnType<ChatModel["complete"]>>, E | E2> =>
            first === undefined ? Effect.fail(empty(request)) : first.model.complete(request)
        )
      ),
    stream: (request) =>
      Layered.suspend(() =>
        sole()?.model.stream(request) ?? Layered.unwrap(
          Effect.map(
            order(request),
            ([first]): ReturnType<ChatModel<E | E2>["stream"]> =>
              first === undefined ? Stream.fail(empty(request)) : first.model.stream(request)
          )
        )
      ),
    inspect: Effect.sync(() =>
      Array.from(
        places.values(),
        ({ load, name, weight }) => ({ name, weight, inFlight: load.inFlight(), latency: load.latency() })
      )
    ),
    update: (weights) => {
      const changes = Object.entries(weights).map(([name, weight]) => {
        const place = places.get(name)
        if (place === undefined) {
          throw new RangeError(`Split.update: there is no arm ${name}, only ${[...places.keys()].join(", ")}`)
        }
        return [place, checkWeight("Split.update", name, weight)] as const
      })
      return Effect.sync(() => {
        for (const [place, weight] of changes) place.weight = weight
      })
    },
    order
  }
}
