/**
 * One policy for each key: a breaker for each host, a limit for each tenant.
 *
 * A key's policy is made when the key is first used and looked up anew whenever
 * a guarded program runs. One that nothing has used for `idleTimeToLive` and
 * that is at rest (it remembers nothing that matters) is dropped, so keys may
 * come from outside. One that guards a running or a waiting program is never
 * dropped, so there are never two policies at work for one key.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as bracket from "./internal/bracket.ts"
import * as check from "./internal/check.ts"
import * as Policy from "./internal/policy.ts"
import * as time from "./internal/time.ts"

/**
 * The policies of all keys.
 *
 * @category models
 * @since 0.1.0
 */
export interface Keyed<out E, out P extends Policy.Policy<E>> {
  /** The policy of a key, looked up at each run of what it guards. */
  (key: string): Policy.Policy<E>
  /**
   * The key's own policy, to read or to steer by hand; it is made when there is
   * none. Ask again for each use: it may be dropped once it is idle.
   */
  readonly get: (key: string) => Effect.Effect<P>
  /** The keys that have a policy now, the longest unused first. */
  readonly keys: Effect.Effect<ReadonlyArray<string>>
}

/**
 * Options of a keyed policy.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<P> {
  /** Makes the policy of a key; it must not suspend. */
  readonly make: (key: string) => Effect.Effect<P>
  /** Whether an unused policy may be dropped without anybody noticing; must not throw. Default: always. */
  readonly atRest?: ((policy: NoInfer<P>, fiber: Fiber.Fiber<unknown, unknown>) => boolean) | undefined
  /** How long a key may stay unused before it may be dropped, above zero. Default 10 minutes. */
  readonly idleTimeToLive?: Duration.Input | undefined
}

const defaults = { idleTimeToLive: "10 minutes" } as const

interface Entry<P> {
  readonly policy: P
  /** Programs that it guards now. */
  users: number
  usedAt: number
  /** When the entry was put at the end of the map. */
  movedAt: number
}

/** An entry is put at the end of the map at most so many times while it would have become idle. */
const moves = 8

/**
 * Creates a keyed policy.
 *
 * **Details**
 *
 * Idle keys are looked for at most twice per `idleTimeToLive`, when some key is
 * used; so memory holds the keys of one and a half times that long. Throws a
 * `RangeError` when an option is out of its bounds.
 *
 * **Example** (Limiting the calls of each tenant)
 *
 * ```ts
 * import { ConcurrencyLimit, Keyed } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const limits = yield* Keyed.make({ make: () => ConcurrencyLimit.make({ name: "tenants", limit: 5 }) })
 *   return yield* limits("tenant 1")(Effect.succeed("answer"))
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E, P extends Policy.Policy<E>>(
  options: Options<P> & { readonly make: (key: string) => Effect.Effect<Policy.Policy<E>> }
): Effect.Effect<Keyed<E, P>> => {
  const idle = check.positive("Keyed.make", "idleTimeToLive", options.idleTimeToLive ?? defaults.idleTimeToLive)
  const atRest = options.atRest ?? (() => true)

  return Effect.sync(() => {
    // A map keeps the order of insertion, so the entries that were moved longest ago come first.
    const entries = new Map<string, Entry<P>>()
    let sweptAt = -Infinity

    const sweep = (fiber: Fiber.Fiber<unknown, unknown>, now: number) => {
      if (now - sweptAt < idle / 2) return
      sweptAt = now
      for (const [key, entry] of entries) {
        if (now - entry.movedAt < idle) return
        if (entry.users === 0 && now - entry.usedAt >= idle && atRest(entry.policy, fiber)) entries.delete(key)
      }
    }

    /** Notes that the key was used until now. */
    const touch = (key: string, entry: Entry<P>, fiber: Fiber.Fiber<unknown, unknown>) => {
      const now = time.now(fiber)
      entry.usedAt = now
      if (now - entry.movedAt >= idle / moves) {
        entry.movedAt = now
        entries.delete(key)
        entries.set(key, entry)
      }
      sweep(fiber, now)
    }

    /** Uses the key's entry in the same step in which it is found or made. */
    const use = <A, E2, R>(
      key: string,
      fiber: Fiber.Fiber<unknown, unknown>,
      f: (entry: Entry<P>) => Effect.Effect<A, E2, R>
    ): Effect.Effect<A, E2, R> => {
      const found = entries.get(key)
      if (found !== undefined) return f(found)
      return Effect.flatMap(options.make(key), (policy) => {
        const raced = entries.get(key)
        if (raced !== undefined) return f(raced)
        const now = time.now(fiber)
        const entry = { policy, users: 0, usedAt: now, movedAt: now }
        entries.set(key, entry)
        return f(entry)
      })
    }

    /** What one run holds of its key's entry. What is held is not dropped, so the clock is read only at the end. */
    const hold = (key: string) => {
      let held: Entry<P> | undefined
      return {
        take: (entry: Entry<P>): P => {
          entry.users++
          held = entry
          return entry.policy
        },
        release: (fiber: Fiber.Fiber<unknown, unknown>) => {
          if (held === undefined) return
          held.users--
          touch(key, held, fiber)
          held = undefined
        }
      }
    }

    const guardEffect = <A, E1, R>(key: string, self: Effect.Effect<A, E1, R>): Effect.Effect<A, E1 | E, R> =>
      Effect.withFiber((fiber) => {
        const { release, take } = hold(key)
        return Effect.onExitPrimitive(
          Effect.suspend(() => use(key, fiber, (entry): Effect.Effect<A, E1 | E, R> => take(entry)(self))),
          () => {
            release(fiber)
            return undefined
          }
        )
      })

    const guardStream = <A, E1, R>(key: string, self: Stream.Stream<A, E1, R>): Stream.Stream<A, E1 | E, R> =>
      Stream.suspend(() => {
        const { release, take } = hold(key)
        return bracket.stream(
          Effect.withFiber((fiber) =>
            use(key, fiber, (entry) => Effect.succeed<Stream.Stream<A, E1 | E, R>>(take(entry).stream(self)))
          ),
          () => Effect.withFiber((fiber) => Effect.sync(() => release(fiber)))
        )
      })

    const policy = (key: string) =>
      Policy.make<E>({
        effect: (self) => guardEffect(key, self),
        stream: (self) => guardStream(key, self)
      })

    const get = (key: string): Effect.Effect<P> =>
      Effect.withFiber((fiber) =>
        use(key, fiber, (entry) => {
          touch(key, entry, fiber)
          return Effect.succeed(entry.policy)
        })
      )

    const keys = Effect.sync(() => {
      const lastUse = ({ usedAt, users }: Entry<P>) => users > 0 ? Infinity : usedAt
      return Array.from(entries, ([key, entry]) => ({ key, at: lastUse(entry) }))
        .sort((a, b) => a.at === b.at ? 0 : a.at - b.at)
        .map(({ key }) => key)
    })

    return Object.assign(policy, { get, keys })
  })
}

/**
 * The keyed policy that does nothing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noop: Keyed<never, Policy.Policy<never>> = Object.assign(() => Policy.identity, {
  get: () => Effect.succeed(Policy.identity),
  keys: Effect.succeed([])
})
