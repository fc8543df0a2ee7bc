/** The parts of `Policy` that the policies themselves need; `Policy.ts` adds the stack made of them. */
import type * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import type * as Stream from "effect/Stream"
import type * as Types from "effect/Types"

const TypeId = "~@ballast/resilience/Policy"

/**
 * A function on programs that adds the errors `E` to what can go wrong. Programs
 * may fail with `In` only: any error, unless the policy was made for some.
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
export interface Policy<out E, in In = unknown> {
  <A, E1 extends In, R>(self: Effect.Effect<A, E1, R>): Effect.Effect<A, E1 | E, R>
  readonly stream: <A, E1 extends In, R>(self: Stream.Stream<A, E1, R>) => Stream.Stream<A, E1 | E, R>
  readonly [TypeId]: { readonly _E: Types.Covariant<E>; readonly _In: Types.Contravariant<In> }
}

/**
 * Returns whether a value is a policy.
 *
 * @category guards
 * @since 0.1.0
 */
export const isPolicy = (u: unknown): u is Policy<unknown, never> => hasProperty(u, TypeId)

const variance = { _E: (_: never) => _, _In: (_: unknown) => {} }

/**
 * Creates a policy from what it does to an effect and to a stream.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E, In = unknown>(impl: {
  readonly effect: <A, E1 extends In, R>(self: Effect.Effect<A, E1, R>) => Effect.Effect<A, E1 | E, R>
  readonly stream: <A, E1 extends In, R>(self: Stream.Stream<A, E1, R>) => Stream.Stream<A, E1 | E, R>
}): Policy<E, In> =>
  Object.assign(
    <A, E1 extends In, R>(self: Effect.Effect<A, E1, R>): Effect.Effect<A, E1 | E, R> => impl.effect(self),
    { stream: impl.stream, [TypeId]: variance }
  )

/**
 * The policy that does nothing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const identity: Policy<never> = make<never>({ effect: (self) => self, stream: (self) => self })

type AnyPolicy = Policy<unknown, never>

type Added<P> = P extends Policy<infer E, never> ? E : never

/** What nested policies may add. */
type ErrorOf<Policies extends ReadonlyArray<AnyPolicy>> = Added<Policies[number]>

/** What programs inside nested policies may fail with: nothing, if one of them doesn't take what another inside it adds. */
type InOf<Policies extends ReadonlyArray<AnyPolicy>> = Policies extends
  readonly [Policy<unknown, infer In>, ...infer Rest extends ReadonlyArray<AnyPolicy>]
  ? ErrorOf<Rest> extends In ? In & InOf<Rest> : never
  : unknown

/**
 * Nests policies: the first is outermost, the last is next to the program.
 *
 * **Details**
 *
 * A policy that was made for some errors, such as a retry with a predicate over
 * them, must take what those inside it may add; if not, the whole takes no
 * program that fails.
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
export const compose = <const Policies extends ReadonlyArray<Policy<unknown, never>>>(
  ...policies: Policies
): Policy<ErrorOf<Policies>, InOf<Policies>> => {
  type E = ErrorOf<Policies>
  // Each takes what those inside it may give, or else `InOf` lets no program in that fails.
  const all = policies as ReadonlyArray<unknown> as ReadonlyArray<Policy<E>>
  return make<E>({
    effect: <A, E1, R>(self: Effect.Effect<A, E1, R>) =>
      all.reduceRight<Effect.Effect<A, E1 | E, R>>((inner, policy) => policy(inner), self),
    stream: <A, E1, R>(self: Stream.Stream<A, E1, R>) =>
      all.reduceRight<Stream.Stream<A, E1 | E, R>>((inner, policy) => policy.stream(inner), self)
  })
}
