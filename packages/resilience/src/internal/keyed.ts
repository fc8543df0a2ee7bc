/** The policies of all keys behind `Keyed`, and those whose settings can change for all keys at once. */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Stream from "effect/Stream"
import * as bracket from "./bracket.ts"
import * as check from "./check.ts"
import type { Bounds, Keyed, Options, Updatable } from "./keyedModel.ts"
import * as Policy from "./policy.ts"
import * as time from "./time.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

type MakeOptions<E, P> = Options<P> & { readonly make: (key: string) => Effect.Effect<Policy.Policy<E>> }

const defaults = { idleTimeToLive: "10 minutes", maxKeys: 10_000 } satisfies Bounds

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

/** Keys that are looked at for one to drop when a new one comes. */
const looks = 64

const checked = ({ idleTimeToLive = defaults.idleTimeToLive, maxKeys = defaults.maxKeys }: Bounds) => ({
  idle: check.positive("Keyed.make", "idleTimeToLive", idleTimeToLive),
  maxKeys: check.positiveInteger("Keyed.make", "maxKeys", maxKeys)
})

/** Keyed policies and a look at all that there are; `adopt` hears of a new one in the step that makes it known. */
const build = <E, P extends Policy.Policy<E>>(
  options: MakeOptions<E, P>,
  adopt: (key: string, policy: P, fiber: AnyFiber) => void
): Effect.Effect<{ readonly keyed: Keyed<E, P>; readonly policies: () => Iterable<P> }> => {
  const { idle, maxKeys } = checked(options)
  const atRest = options.atRest ?? (() => true)

  return Effect.sync(() => {
    // A map keeps the order of insertion, so the entries that were moved longest ago come first.
    const entries = new Map<string, Entry<P>>()
    let sweptAt = -Infinity

    const sweep = (fiber: AnyFiber, now: number) => {
      if (now - sweptAt < idle / 2) return
      sweptAt = now
      for (const [key, entry] of entries) {
        if (now - entry.movedAt < idle) return
        if (entry.users === 0 && now - entry.usedAt >= idle && atRest(entry.policy, fiber)) entries.delete(key)
      }
    }

    const move = (key: string, entry: Entry<P>, now: number) => {
      entry.movedAt = now
      entries.delete(key)
      entries.set(key, entry)
    }

    /**
     * Drops keys until there is room for one more. Those in use, those used since they were moved and those not at rest
     * go to the end, so each look is either the last one at a key or makes up for a use.
     */
    const makeRoom = (fiber: AnyFiber, now: number) => {
      let spare: string | undefined
      let looked = 0
      for (const [key, entry] of entries) {
        if (entries.size < maxKeys) return
        if (looked++ >= Math.min(looks, maxKeys)) break
        const isUnused = entry.users === 0 && entry.usedAt <= entry.movedAt
        if (isUnused && atRest(entry.policy, fiber)) entries.delete(key)
        else {
          if (entry.users === 0) spare ??= key
          move(key, entry, now)
        }
      }
      if (spare !== undefined && entries.size >= maxKeys) entries.delete(spare)
    }

    /** Notes that the key was used until now. */
    const touch = (key: string, entry: Entry<P>, fiber: AnyFiber) => {
      const now = time.now(fiber)
      entry.usedAt = now
      if (now - entry.movedAt >= idle / moves) move(key, entry, now)
      sweep(fiber, now)
    }

    /** Uses the key's entry in the same step in which it is found or made. */
    const use = <A, E2, R>(
      key: string,
      fiber: AnyFiber,
      f: (entry: Entry<P>) => Effect.Effect<A, E2, R>
    ): Effect.Effect<A, E2, R> => {
      const found = entries.get(key)
      if (found !== undefined) return f(found)
      return Effect.flatMap(options.make(key), (policy) => {
        const raced = entries.get(key)
        if (raced !== undefined) return f(raced)
        adopt(key, policy, fiber)
        const now = time.now(fiber)
        makeRoom(fiber, now)
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
        release: (fiber: AnyFiber) => {
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

    return {
      keyed: Object.assign(policy, { get, keys }),
      policies: () => Array.from(entries.values(), ({ policy }) => policy)
    }
  })
}

export const make = <E, P extends Policy.Policy<E>>(options: MakeOptions<E, P>): Effect.Effect<Keyed<E, P>> =>
  Effect.map(build<E, P>(options, () => {}), ({ keyed }) => keyed)

/** A policy whose `update` checks at once and then is one synchronous step. */
interface Changeable<in Settings> {
  readonly update: (settings: Settings) => Effect.Effect<void>
}

/** What both say together, the later one before the earlier one; what it leaves out stays. */
const merge = <Settings extends object>(settings: Settings, changes: Settings): Settings => ({
  ...settings,
  ...Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined))
})

/** Keeps what a policy that guards nothing would tell out of the metrics. */
const unmetered = <A>(self: Effect.Effect<A>): Effect.Effect<A> =>
  Effect.provideService(self, Metric.MetricRegistry, new Map())

interface UpdatableOptions<P, Settings> extends Omit<Options<P>, "make"> {
  /** Makes the policy of any key; it must not suspend. */
  readonly make: () => Effect.Effect<P>
  /** What two settings say together. Default: the later one goes before the earlier one. */
  readonly merged?: (settings: Settings, changes: Settings) => Settings
}

/** The settings that keys have of their own, the last `most` of them. */
const makeOwn = <Settings>(most: number, merged: (settings: Settings, changes: Settings) => Settings) => {
  const own = new Map<string, Settings>()
  return {
    get: (key: string) => own.get(key),
    forget: (key: string) => own.delete(key),
    set: (key: string, changes: Settings) => {
      const before = own.get(key)
      own.delete(key)
      own.set(key, before === undefined ? changes : merged(before, changes))
      if (own.size > most) { for (const oldest of own.keys()) return own.delete(oldest) }
    },
    /** What is said of all keys goes before what was said of one earlier. */
    setAll: (changes: Settings) => {
      for (const [key, settings] of own) own.set(key, merged(settings, changes))
    }
  }
}

/**
 * Keyed policies whose settings change for all keys at once, future keys
 * included, or for one key, which keeps them when its policy is dropped and made
 * again.
 */
export const updatable = <E, Settings extends object, P extends Policy.Policy<E> & Changeable<Settings>>(
  options: UpdatableOptions<P, Settings>
): Effect.Effect<Updatable<E, P, Settings>> => {
  // Refused at once, like all other options.
  const { maxKeys } = checked(options)
  const { merged = merge } = options
  // The first one guards nothing: it has the settings of a policy that is made now, and so knows which changes fit.
  return Effect.flatMap(unmetered(options.make()), (pattern) => {
    let changed: Settings | undefined
    const own = makeOwn(maxKeys, merged)
    /** What changes each policy without a note that its key has settings of its own. */
    const unnoted = new WeakMap<P, P["update"]>()

    const adopt = (key: string, policy: P, fiber: AnyFiber) => {
      const { update } = policy
      unnoted.set(policy, update)
      Object.assign(policy, {
        update: (changes: Settings) => Effect.map(update(changes), () => own.set(key, changes))
      })
      const run = Effect.runSyncWith(fiber.context)
      if (changed !== undefined) run(update(changed))
      const settings = own.get(key)
      if (settings === undefined) return
      try {
        run(update(settings))
      } catch {
        // They fit no more beside what was said of all keys since.
        own.forget(key)
      }
    }

    return Effect.map(build<E, P>(options, adopt), ({ keyed, policies }) => {
      const update = (settings: Settings): Effect.Effect<void> => {
        const change = pattern.update(settings)
        return Effect.withFiber((fiber) => {
          const run = Effect.runSyncWith(fiber.context)
          // All are checked before any is changed.
          const changes = Array.from(policies(), (policy) => (unnoted.get(policy) ?? policy.update)(settings))
          run(unmetered(change))
          changed = changed === undefined ? settings : merged(changed, settings)
          own.setAll(settings)
          for (const change of changes) run(change)
          return Effect.void
        })
      }
      return Object.assign(keyed, { update })
    })
  })
}
