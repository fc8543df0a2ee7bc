/**
 * Counts what happens again and again, in place of telling each time.
 *
 * Of each key the first few are told at once. What comes after them is counted, and told once an interval as the last of them with their number,
 * until an interval passes without any. A limited number of keys is told apart; those beyond it share one. What is counted when the scope
 * closes is told then.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"

/**
 * @category options
 * @since 0.1.0
 */
export interface Options<in A> {
  /** Told at once, of each key: at least 1. Default 3. */
  readonly first?: number | undefined
  /** Between two tellings of a key: above zero. Default 30 seconds. */
  readonly interval?: Duration.Input | undefined
  /** Keys that are told apart: at least 1. Default 256. */
  readonly keys?: number | undefined
  /** `times` is 1 for what is told at once. */
  readonly tell: (last: A, times: number) => Effect.Effect<void>
}

/**
 * What is used where `Options` say nothing.
 *
 * @category options
 * @since 0.1.0
 */
export const defaults = { first: 3, interval: "30 seconds", keys: 256 } as const

interface Entry<A> {
  told: number
  counted: number
  last: A
}

/** Beyond the limit of keys. No key has a line feed in it. */
const others = "\n"

/**
 * Creates a counter. The effect that it gives tells one, or counts it.
 *
 * **Details**
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A>(
  options: Options<A>
): Effect.Effect<(key: string, value: A) => Effect.Effect<void>, never, Scope.Scope> => {
  const { first = defaults.first, keys = defaults.keys, tell } = options
  const interval = Duration.fromInputUnsafe(options.interval ?? defaults.interval)
  if (!(first >= 1 && keys >= 1 && Duration.toMillis(interval) > 0)) {
    throw new RangeError("Flood.make: first and keys must be at least 1, interval above zero")
  }
  return Effect.gen(function*() {
    const scope = yield* Effect.scope
    const context = yield* Effect.context<never>()
    const entries = new Map<string, Entry<A>>()
    let ticking = false

    const flush = Effect.suspend(() => {
      const due: Array<readonly [A, number]> = []
      for (const [key, entry] of entries) {
        if (entry.counted === 0) entries.delete(key)
        else due.push([entry.last, entry.counted])
        entry.counted = 0
      }
      return Effect.forEach(due, ([last, times]) => tell(last, times), { discard: true })
    })

    const ticks: Effect.Effect<void> = Effect.suspend(() => {
      ticking = entries.size > 0
      return ticking ? Effect.sleep(interval).pipe(Effect.andThen(flush), Effect.andThen(ticks)) : Effect.void
    })

    // Not in the context of the caller that happens to start it: its trace is not that of the others.
    const detached = Effect.updateContext(ticks, (_: Context.Context<never>) => context)

    yield* Scope.addFinalizer(scope, Effect.updateContext(flush, (_: Context.Context<never>) => context))

    return (key, value) =>
      Effect.suspend(() => {
        const own = entries.has(key) || entries.size < keys ? key : others
        let entry = entries.get(own)
        if (entry === undefined) entries.set(own, entry = { told: 0, counted: 0, last: value })
        const start = ticking ? Effect.void : Effect.forkIn(detached, scope)
        ticking = true
        if (entry.told < first) {
          entry.told++
          return Effect.andThen(start, tell(value, 1))
        }
        entry.counted++
        entry.last = value
        return start
      })
  })
}
