/**
 * A fallback: answers in place of a call that failed. It serves a value, an
 * effect, a chain of these, or the last good answer.
 *
 * Which failures it answers is a `Class`: all typed failures, tags, a
 * refinement, a predicate, or a kind of `Outcome`. What can no longer fail
 * leaves the error channel. A defect is answered only by a class that asks for
 * outcomes, an interruption never.
 *
 * On a stream it answers only while nothing was emitted: a consumer that saw the first
 * items of one stream can't go on with the items of another. So the errors of a
 * stream stay in its channel.
 *
 * It runs on the caller's fiber and holds nothing that an interruption could
 * leave behind. A chain of fallbacks with classes of their own is a `pipe`.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { hasProperty } from "effect/Predicate"
import * as Stream from "effect/Stream"
import type * as Types from "effect/Types"
import * as check from "./internal/check.ts"
import * as events from "./internal/events.ts"
import * as telemetry from "./internal/telemetry.ts"
import * as time from "./internal/time.ts"
import * as Outcome from "./Outcome.ts"

/**
 * The failures that a fallback answers: those of type `Selected`, which leave
 * the error channel. What serves in their place is given a `Given`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Class<out Selected, out Given> {
  readonly match: (cause: Cause.Cause<unknown>) => { readonly error: Given } | undefined
  readonly _Selected: Types.Covariant<Selected>
}

const class_ = <Selected, Given>(match: Class<Selected, Given>["match"]): Class<Selected, Given> => ({
  match,
  _Selected: (_: never) => _
})

/** A defect, alone or beside an error, is no failure of the program's own. */
const failureOf = (cause: Cause.Cause<unknown>): { readonly error: unknown } | undefined =>
  Cause.hasDies(cause) ? undefined : cause.reasons.find((reason) => reason._tag === "Fail")

/**
 * All typed failures.
 *
 * @category classes
 * @since 0.1.0
 */
export const any: Class<unknown, unknown> = class_(failureOf)

/**
 * The failures with one of these tags.
 *
 * @category classes
 * @since 0.1.0
 */
export const tag = <const Tags extends readonly [string, ...Array<string>]>(
  ...tags: Tags
): Class<{ readonly _tag: Tags[number] }, { readonly _tag: Tags[number] }> => {
  const isTag = (value: unknown): value is Tags[number] => tags.some((tag) => tag === value)
  const isTagged = (error: unknown): error is { readonly _tag: Tags[number] } =>
    hasProperty(error, "_tag") && isTag(error._tag)
  return refine(isTagged)
}

/**
 * The failures that a refinement accepts.
 *
 * @category classes
 * @since 0.1.0
 */
export const refine = <Selected>(is: (error: unknown) => error is Selected): Class<Selected, Selected> =>
  class_((cause) => {
    const found = failureOf(cause)
    return found !== undefined && is(found.error) ? { error: found.error } : undefined
  })

/**
 * The failures that a predicate accepts. The error channel keeps them all.
 *
 * @category classes
 * @since 0.1.0
 */
export const when = (predicate: (error: unknown) => boolean): Class<never, unknown> =>
  class_((cause) => {
    const found = failureOf(cause)
    return found !== undefined && predicate(found.error) ? found : undefined
  })

/**
 * The failures and defects whose outcome a predicate accepts. The error channel
 * keeps them all.
 *
 * **Details**
 *
 * What serves is given the error, or the defect when there is one.
 *
 * **Example** (Answering what is the dependency's fault)
 *
 * ```ts
 * import { Fallback } from "@ballast/resilience"
 *
 * const fault = Fallback.outcome((outcome) => outcome._tag === "Failure")
 * ```
 *
 * @category classes
 * @since 0.1.0
 */
export const outcome = (
  predicate: (outcome: Outcome.Outcome) => boolean,
  classify: Outcome.Classifier = Outcome.classify
): Class<never, unknown> =>
  class_((cause) => {
    if (Cause.hasInterruptsOnly(cause)) return undefined
    return predicate(classify(Exit.failCause(cause))) ? { error: Cause.squash(cause) } : undefined
  })

/**
 * One place to take an answer from.
 *
 * @category models
 * @since 0.1.0
 */
export interface Step<in Given, out B, out E, out R> {
  readonly name: string
  readonly effect: (error: Given) => Effect.Effect<B, E, R>
  readonly stream: (error: Given) => Stream.Stream<B, E, R>
}

/**
 * Options of a step.
 *
 * @category options
 * @since 0.1.0
 */
export interface StepOptions {
  /** Name in metrics, events and span events; keep it of low cardinality. Default `"value"` or `"effect"`. */
  readonly name?: string | undefined
}

/**
 * Serves a value; to a stream, as its one item.
 *
 * @category steps
 * @since 0.1.0
 */
export const value = <B>(value: B, options?: StepOptions): Step<unknown, B, never, never> => ({
  name: options?.name ?? "value",
  effect: () => Effect.succeed(value),
  stream: () => Stream.succeed(value)
})

/**
 * Serves what an effect gives, which may depend on the error.
 *
 * **Details**
 *
 * A stream is served `stream`, or else the effect's result as its one item.
 *
 * @category steps
 * @since 0.1.0
 */
export const effect = <B, E, R, Given = unknown>(
  serve: Effect.Effect<B, E, R> | ((error: Given) => Effect.Effect<B, E, R>),
  options?: StepOptions & {
    /** What to serve to a stream in place of the effect. */
    readonly stream?: ((error: Given) => Stream.Stream<B, E, R>) | undefined
  }
): Step<Given, B, E, R> => {
  const effect = (error: Given) => Effect.isEffect(serve) ? serve : serve(error)
  return {
    name: options?.name ?? "effect",
    effect,
    stream: options?.stream ?? ((error) => Stream.fromEffect(effect(error)))
  }
}

/**
 * A fallback that answers failures of type `Selected` with a `B`, and may itself
 * fail with an `E2`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Fallback<Selected, B, E2, R2> {
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A | B, Exclude<E, Selected> | E2, R | R2>
  /** Answers only while nothing was emitted, so all errors stay in the channel. */
  readonly stream: <A, E, R>(self: Stream.Stream<A, E, R>) => Stream.Stream<A | B, E | E2, R | R2>
  /** Reads the state; changes nothing. */
  readonly inspect: Effect.Effect<State>
  /** What happens from the subscription on. */
  readonly events: Stream.Stream<Event>
}

/**
 * The state of a fallback.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  /** Answers given since it was made. */
  readonly served: number
  /** Steps that failed, or had nothing to serve, since it was made. */
  readonly failed: number
}

/**
 * What a fallback did: a step served in place of `error`, or failed with an
 * error of its own.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  | { readonly _tag: "Served"; readonly fallback: string; readonly error: unknown }
  | { readonly _tag: "Failed"; readonly fallback: string; readonly error: unknown }

/**
 * Options of a fallback.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<Selected, Given> {
  /** Name in metrics and span events; keep it of low cardinality. Default `"default"`. */
  readonly name?: string | undefined
  /** The failures that are answered. Default `any`. */
  readonly on?: Class<Selected, Given> | undefined
}

const defaults = { name: "default", lastGood: "last-good" } as const

type AnyStep<Given> = Step<Given, unknown, unknown, unknown>
type BOf<S> = S extends Step<never, infer B, unknown, unknown> ? B : never
type EOf<S> = S extends Step<never, unknown, infer E, unknown> ? E : never
type ROf<S> = S extends Step<never, unknown, unknown, infer R> ? R : never
type Last<Steps> = Steps extends readonly [...ReadonlyArray<unknown>, infer S] ? S : never

/**
 * Creates a fallback that tries its steps in turn.
 *
 * **Details**
 *
 * A step that fails hands over to the next one; each is given the error of the
 * call. The error of the last step is returned when all fail. A defect in a
 * step ends the chain.
 *
 * **Example** (Serving a mirror, and else nothing)
 *
 * ```ts
 * import { Fallback } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const fallback = yield* Fallback.make(
 *     { name: "catalogue", on: Fallback.tag("CircuitOpen", "DeadlineExceeded") },
 *     Fallback.effect(Effect.fail("mirror is down"), { name: "mirror" }),
 *     Fallback.value([], { name: "nothing" })
 *   )
 *   return yield* fallback(Effect.succeed(["book"]))
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <
  Selected = unknown,
  Given = unknown,
  const Steps extends readonly [AnyStep<Given>, ...ReadonlyArray<AnyStep<Given>>] = readonly [AnyStep<Given>]
>(
  options: Options<Selected, Given>,
  ...steps: Steps
): Effect.Effect<Fallback<Selected, BOf<Steps[number]>, EOf<Last<Steps>>, ROf<Steps[number]>>> => {
  type B = BOf<Steps[number]>
  type E2 = EOf<Last<Steps>>
  type R2 = ROf<Steps[number]>
  const name = options.name ?? defaults.name
  // Without the option, its type parameters stand for all failures.
  const on = options.on ?? any as Class<Selected, Given>
  // The types of a step of the middle are read off the tuple; only the last one's errors come through.
  const chain = (steps as ReadonlyArray<unknown> as ReadonlyArray<Step<Given, B, E2, R2>>).map((step) => ({
    step,
    count: telemetry.makeServed(name, step.name),
    countFailure: telemetry.makeNotServed(name, step.name)
  }))

  return Effect.sync(() => {
    let served = 0
    let failed = 0
    const listeners = events.make<Event>()
    type Link = typeof chain[number]

    const succeeded = (link: Link, error: unknown, fiber: Fiber.Fiber<unknown, unknown>) => {
      served++
      link.count(fiber)
      if (listeners.active) listeners.publish({ _tag: "Served", fallback: link.step.name, error })
    }

    /** Whether there is to be another step. */
    const gaveUp = (link: Link, cause: Cause.Cause<unknown>, fiber: Fiber.Fiber<unknown, unknown>): boolean => {
      if (Cause.hasInterruptsOnly(cause)) return false
      failed++
      link.countFailure(fiber)
      if (listeners.active) {
        listeners.publish({ _tag: "Failed", fallback: link.step.name, error: Cause.squash(cause) })
      }
      return failureOf(cause) !== undefined
    }

    const serve = (index: number, error: Given): Effect.Effect<B, E2, R2> | undefined => {
      const link = chain[index]
      if (link === undefined) return undefined
      return Effect.withFiber((fiber) =>
        Effect.matchCauseEffect(Effect.suspend(() => link.step.effect(error)), {
          onSuccess: (answer) => {
            succeeded(link, error, fiber)
            return Effect.succeed(answer)
          },
          onFailure: (cause) =>
            (gaveUp(link, cause, fiber) ? serve(index + 1, error) : undefined) ?? Effect.failCause(cause)
        })
      )
    }

    const serveStream = (index: number, error: Given): Stream.Stream<B, E2, R2> | undefined => {
      const link = chain[index]
      if (link === undefined) return undefined
      return Stream.unwrap(Effect.withFiber((fiber) =>
        Effect.succeed(whileEmpty(
          Stream.suspend(() => link.step.stream(error)),
          () => succeeded(link, error, fiber),
          (cause) => gaveUp(link, cause, fiber) ? serveStream(index + 1, error) : undefined
        ))
      ))
    }

    const guard = <A, E, R>(
      self: Effect.Effect<A, E, R>
    ): Effect.Effect<A | B, Exclude<E, Selected> | E2, R | R2> =>
      Effect.catchCause(self, (cause): Effect.Effect<B, Exclude<E, Selected> | E2, R2> => {
        const found = on.match(cause)
        const answer = found === undefined ? undefined : serve(0, found.error)
        // What the class does not match is not of the type that it selects.
        return answer ?? Effect.failCause(cause as Cause.Cause<Exclude<E, Selected>>)
      })

    const stream = <A, E, R>(self: Stream.Stream<A, E, R>): Stream.Stream<A | B, E | E2, R | R2> =>
      whileEmpty(self, () => {}, (cause) => {
        const found = on.match(cause)
        return found === undefined ? undefined : serveStream(0, found.error)
      })

    return Object.assign(
      <A, E, R>(self: Effect.Effect<A, E, R>) => guard(self),
      {
        stream,
        inspect: Effect.sync((): State => ({ served, failed })),
        events: listeners.stream
      }
    )
  })
}

/** Gives another stream in place of one that failed before its first item, if there is one. */
const whileEmpty = <A, E, R, B, E2, R2>(
  self: Stream.Stream<A, E, R>,
  /** Called with the first item, or at the end of an empty stream. */
  onAnswer: () => void,
  orElse: (cause: Cause.Cause<E>) => Stream.Stream<B, E2, R2> | undefined
): Stream.Stream<A | B, E | E2, R | R2> =>
  Stream.suspend(() => {
    let answered = false
    const answer = () => {
      if (answered) return
      answered = true
      onAnswer()
    }
    return self.pipe(
      Stream.mapArray((items) => {
        answer()
        return items
      }),
      Stream.onEnd(Effect.sync(answer)),
      Stream.catchCause((cause): Stream.Stream<B, E | E2, R2> =>
        (answered ? undefined : orElse(cause)) ?? Stream.failCause(cause)
      )
    )
  })

/**
 * The fallback that does nothing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noop: Fallback<never, never, never, never> = Object.assign(
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => self,
  {
    stream: <A, E, R>(self: Stream.Stream<A, E, R>): Stream.Stream<A, E, R> => self,
    inspect: Effect.succeed<State>({ served: 0, failed: 0 }),
    events: Stream.empty
  }
)

/**
 * Keeps the last good answer for each key, and serves it in place of a failure
 * while it is not too old (*stale-if-error*, RFC 5861).
 *
 * **Details**
 *
 * The error channel stays as it is, since there may be nothing to serve.
 *
 * @category models
 * @since 0.1.0
 */
export interface LastGood<in K, in out A> {
  (key: K): KeptAnswer<A>
  /** Drops what is kept for a key. */
  readonly forget: (key: K) => Effect.Effect<void>
  /** Reads the state; changes nothing. */
  readonly inspect: Effect.Effect<LastGoodState>
  /** What happens from the subscription on. */
  readonly events: Stream.Stream<LastGoodEvent>
  /** Changes settings while calls run; what is left out stays. Throws a `RangeError` as `lastGood` does. */
  readonly update: (settings: LastGoodSettings) => Effect.Effect<void>
}

/**
 * The last good answer of one key, as a function on programs.
 *
 * @category models
 * @since 0.1.0
 */
export interface KeptAnswer<in out A> {
  <E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R>
  /** Keeps all items of a stream that ended well, and serves them to one that failed before its first item. */
  readonly stream: <E, R>(self: Stream.Stream<A, E, R>) => Stream.Stream<A, E, R>
}

/**
 * The state of the last good answers.
 *
 * @category models
 * @since 0.1.0
 */
export interface LastGoodState extends State {
  /** Answers kept, too old ones included. */
  readonly kept: number
}

/**
 * What became of a failure: an answer of this age was served, or there was none
 * that is young enough.
 *
 * @category models
 * @since 0.1.0
 */
export type LastGoodEvent =
  | { readonly _tag: "Served"; readonly key: string; readonly age: Duration.Duration; readonly error: unknown }
  | { readonly _tag: "Missed"; readonly key: string; readonly error: unknown }

/**
 * Settings of the last good answers that can change while calls run.
 *
 * @category options
 * @since 0.1.0
 */
export interface LastGoodSettings {
  /** How old an answer may be to be served, above zero; infinity for no bound. Default 1 hour. */
  readonly maxAge?: Duration.Input | undefined
  /** Keys whose answers are kept, at least 1; beyond it the oldest answer goes. Default 1,000. */
  readonly size?: number | undefined
  /** Items of a stream that are kept, at least 1; a longer stream is not kept. Default 10,000. */
  readonly items?: number | undefined
}

/**
 * Options of the last good answers.
 *
 * @category options
 * @since 0.1.0
 */
export interface LastGoodOptions extends Options<unknown, unknown>, LastGoodSettings {
  /** Judges a result, which is `undefined` for a stream that ended well; only a success is kept. Default `Outcome.classify`. */
  readonly classify?: Outcome.Classifier | undefined
}

const lastGoodDefaults = { maxAge: "1 hour", size: 1_000, items: 10_000, classify: Outcome.classify } as const

interface CheckedLastGood {
  readonly maxAge: number
  readonly size: number
  readonly items: number
}

const checkedLastGood = (
  where: string,
  settings: LastGoodSettings,
  otherwise: Omit<CheckedLastGood, "maxAge"> & { readonly maxAge: Duration.Input }
): CheckedLastGood => {
  const maxAge = check.notNegative(where, "maxAge", settings.maxAge ?? otherwise.maxAge)
  if (maxAge === 0) check.refuse(where, "maxAge", "a duration above zero", "0")
  return {
    maxAge,
    size: check.positiveInteger(where, "size", settings.size ?? otherwise.size),
    items: check.positiveInteger(where, "items", settings.items ?? otherwise.items)
  }
}

/** What is kept, the oldest first. */
type Store<V> = Map<string, { readonly value: V; readonly at: number }>

const keep = <V>(store: Store<V>, key: string, value: V, at: number, size: number) => {
  store.delete(key)
  store.set(key, { value, at })
  trim(store, size)
}

const trim = <V>(store: Store<V>, size: number) => {
  for (const key of store.keys()) {
    if (store.size <= size) return
    store.delete(key)
  }
}

/**
 * Creates a memory of last good answers of type `A`.
 *
 * **Details**
 *
 * `key` names the answer that a `K` stands for; without it keys are strings.
 * Effects and streams have answers of their own. Throws a `RangeError` when an
 * option is out of its bounds.
 *
 * **Example** (Serving what was right an hour ago)
 *
 * ```ts
 * import { Fallback } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const lastGood = yield* Fallback.lastGood<number>({ name: "prices", maxAge: "1 hour" })
 *   yield* lastGood("book")(Effect.succeed(12))
 *   return yield* lastGood("book")(Effect.fail("shop is closed")) // => 12
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export function lastGood<A>(options?: LastGoodOptions): Effect.Effect<LastGood<string, A>>
export function lastGood<A, K>(
  options: LastGoodOptions & { readonly key: (key: K) => string }
): Effect.Effect<LastGood<K, A>>
export function lastGood<A>(
  options: LastGoodOptions & { readonly key?: (key: never) => string } = {}
): Effect.Effect<LastGood<never, A>> {
  const initial = checkedLastGood("Fallback.lastGood", options, lastGoodDefaults)
  const name = options.name ?? defaults.name
  const on = options.on ?? any
  const classify = options.classify ?? lastGoodDefaults.classify
  const nameOf: (key: never) => string = options.key ?? ((key: string) => key)
  const count = telemetry.makeServed(name, defaults.lastGood)
  const countMissed = telemetry.makeNotServed(name, defaults.lastGood)

  return Effect.sync(() => {
    let settings = initial
    let served = 0
    let failed = 0
    const answers: Store<A> = new Map()
    const streams: Store<ReadonlyArray<A>> = new Map()
    const listeners = events.make<LastGoodEvent>()

    const find = <V>(
      store: Store<V>,
      key: string,
      cause: Cause.Cause<unknown>,
      fiber: Fiber.Fiber<unknown, unknown>
    ): { readonly value: V } | undefined => {
      const found = on.match(cause)
      if (found === undefined) return undefined
      const entry = store.get(key)
      const age = entry === undefined ? Infinity : time.now(fiber) - entry.at
      if (entry === undefined || age > settings.maxAge) {
        failed++
        countMissed(fiber)
        if (listeners.active) listeners.publish({ _tag: "Missed", key, error: found.error })
        return undefined
      }
      served++
      count(fiber)
      if (listeners.active) {
        listeners.publish({ _tag: "Served", key, age: Duration.millis(age), error: found.error })
      }
      return entry
    }

    const effect = (key: string) => <E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      Effect.withFiber((fiber) =>
        Effect.matchCauseEffect(self, {
          onSuccess: (value) => {
            const exit = Exit.succeed(value)
            if (classify(exit)._tag === "Success") keep(answers, key, value, time.now(fiber), settings.size)
            return exit
          },
          onFailure: (cause) => {
            const found = find(answers, key, cause, fiber)
            return found === undefined ? Effect.failCause(cause) : Effect.succeed(found.value)
          }
        })
      )

    const stream = (key: string) => <E, R>(self: Stream.Stream<A, E, R>): Stream.Stream<A, E, R> =>
      Stream.unwrap(Effect.withFiber((fiber) => {
        let items: Array<A> | undefined = []
        const watched = self.pipe(
          Stream.mapArray((chunk) => {
            if (items !== undefined && items.length + chunk.length > settings.items) items = undefined
            if (items !== undefined) { for (const item of chunk) items.push(item) }
            return chunk
          }),
          // The fiber that opened the stream may have ended by then.
          Stream.onEnd(Effect.withFiber((fiber) => {
            if (items !== undefined && classify(Exit.void)._tag === "Success") {
              keep(streams, key, items, time.now(fiber), settings.size)
            }
            return Effect.void
          }))
        )
        return Effect.succeed(whileEmpty(watched, () => {}, (cause) => {
          const found = find(streams, key, cause, fiber)
          return found === undefined ? undefined : Stream.fromIterable(found.value)
        }))
      }))

    const update = (changes: LastGoodSettings): Effect.Effect<void> => {
      checkedLastGood("Fallback.update", changes, lastGoodDefaults)
      return Effect.sync(() => {
        settings = checkedLastGood("Fallback.update", changes, settings)
        trim(answers, settings.size)
        trim(streams, settings.size)
      })
    }

    return Object.assign(
      (key: never): KeptAnswer<A> => Object.assign(effect(nameOf(key)), { stream: stream(nameOf(key)) }),
      {
        forget: (key: never) =>
          Effect.sync(() => {
            answers.delete(nameOf(key))
            streams.delete(nameOf(key))
          }),
        inspect: Effect.sync((): LastGoodState => ({
          served,
          failed,
          kept: answers.size + streams.size
        })),
        events: listeners.stream,
        update
      }
    )
  })
}

/**
 * Creates a memory of last good answers that keeps and serves nothing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const lastGoodNoop = <A, K = string>(): LastGood<K, A> => {
  const through: KeptAnswer<A> = Object.assign(
    <E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => self,
    { stream: <E, R>(self: Stream.Stream<A, E, R>): Stream.Stream<A, E, R> => self }
  )
  return Object.assign(() => through, {
    forget: () => Effect.void,
    inspect: Effect.succeed<LastGoodState>({ served: 0, failed: 0, kept: 0 }),
    events: Stream.empty,
    update: () => Effect.void
  })
}
