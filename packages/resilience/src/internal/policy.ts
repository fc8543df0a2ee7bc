/** The parts of `Policy` that the policies themselves need; `Policy.ts` adds the stack made of them. */
import type * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import type * as Stream from "effect/Stream"
import type * as Types from "effect/Types"

const TypeId = "~@ballast/resilience/Policy"

/**
 * A function on programs that adds the errors `E` to what can go wrong.
 *
 * **Details**
 *
 * Called with an effect it gives the guarded effect; `stream` does the same for
 * a stream. A policy may be applied to any number of programs, and those share
 * its state.
 *
 * @category models
 * @since 0.1.0
 */
export interface Policy<out E> {
  <A, E1, R>(self: Effect.Effect<A, E1, R>): Effect.Effect<A, E1 | E, R>
  readonly stream: <A, E1, R>(self: Stream.Stream<A, E1, R>) => Stream.Stream<A, E1 | E, R>
  readonly [TypeId]: { readonly _E: Types.Covariant<E> }
}

/**
 * Returns whether a value is a policy.
 *
 * @category guards
 * @since 0.1.0
 */
export const isPolicy = (u: unknown): u is Policy<unknown> => hasProperty(u, TypeId)

const variance = { _E: (_: never) => _ }

/**
 * Creates a policy from what it does to an effect and to a stream.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E>(impl: {
  readonly effect: <A, E1, R>(self: Effect.Effect<A, E1, R>) => Effect.Effect<A, E1 | E, R>
  readonly stream: <A, E1, R>(self: Stream.Stream<A, E1, R>) => Stream.Stream<A, E1 | E, R>
}): Policy<E> =>
  Object.assign(
    <A, E1, R>(self: Effect.Effect<A, E1, R>): Effect.Effect<A, E1 | E, R> => impl.effect(self),
    { stream: impl.stream, [TypeId]: variance }
  )

/**
 * The policy that does nothing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const identity: Policy<never> = make<never>({ effect: (self) => self, stream: (self) => self })

/**
 * Nests policies: the first is outermost, the last is next to the program.
 *
 * **Example** (Retrying around a limit)
 *
 * ```ts
 * import { ConcurrencyLimit, Policy, Retry } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const limit = yield* ConcurrencyLimit.make({ limit: 10 })
 *   const policy = Policy.compose(Retry.make({ times: 2 }), limit)
 *   return yield* policy(Effect.succeed("answer"))
 * })
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const compose = <const Errors extends ReadonlyArray<unknown>>(
  ...policies: { readonly [I in keyof Errors]: Policy<Errors[I]> }
): Policy<Errors[number]> => {
  const all: ReadonlyArray<Policy<Errors[number]>> = policies
  return make<Errors[number]>({
    effect: <A, E1, R>(self: Effect.Effect<A, E1, R>) =>
      all.reduceRight<Effect.Effect<A, E1 | Errors[number], R>>((inner, policy) => policy(inner), self),
    stream: <A, E1, R>(self: Stream.Stream<A, E1, R>) =>
      all.reduceRight<Stream.Stream<A, E1 | Errors[number], R>>((inner, policy) => policy.stream(inner), self)
  })
}
