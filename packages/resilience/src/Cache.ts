/**
 * A cache around a program: an answer is kept for a while under a key, and
 * callers that miss it at the same time share one execution (`SingleFlight`).
 *
 * An entry is *fresh* for its `timeToLive`. After that it is served for
 * `staleWhileRevalidate` more while it is refreshed in the background, and for
 * `staleIfError` more when a new execution fails. Failures are not kept unless
 * `failureTimeToLive` says so; interruptions never are. When the cache is full,
 * it drops an entry that was not used since it came (SIEVE).
 *
 * **When to use**
 *
 * Use `effect/Cache` for a lookup that is known when the cache is made, and this
 * one where what to run is known at the call, or where an old answer is better
 * than none: `effect/Cache` has no stale answers, keeps failures, and tells
 * neither hits nor evictions.
 *
 * **Gotchas**
 *
 * An execution runs under the context of the caller that started it, and a
 * refresh goes on after that caller has its answer: it must not need a `Scope`
 * of the caller's. A refresh counts as a caller of its execution for as long as
 * the old answer is served. After that the execution goes on only for others who
 * wait for it: a stale window shorter than an execution refreshes nothing.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import type * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as bracket from "./internal/bracket.ts"
import * as check from "./internal/check.ts"
import * as Events from "./internal/events.ts"
import * as Sieve from "./internal/sieve.ts"
import * as telemetry from "./internal/telemetry.ts"
import * as time from "./internal/time.ts"
import * as Layered from "./Layered.ts"
import * as SingleFlight from "./SingleFlight.ts"

/**
 * What both caches have in common.
 *
 * @category models
 * @since 0.1.0
 */
export interface Controls<out A, out E> {
  /** The fresh answer of a key, which counts as a hit, if there is one. Runs nothing. */
  readonly get: (key: string) => Effect.Effect<Option.Option<A>>
  /** Drops a key's entry and stops its refresh; who waits for an execution gets its answer, which is not kept. */
  readonly invalidate: (key: string) => Effect.Effect<void>
  /**
   * Drops the entries that are meant by key, by when they were stored, in milliseconds since 1970, and by their answer, which a failure has
   * none of; gives how many there were. It looks at every entry. An execution under way counts as stored now, and has no answer yet.
   */
  readonly invalidateWhere: (
    isMeant: (key: string, storedAt: number, answer: A | undefined) => boolean
  ) => Effect.Effect<number>
  /** Drops all entries, likewise. */
  readonly clear: Effect.Effect<void>
  /** Changes options; times hold for entries that are stored from now on, `capacity` at once. */
  readonly update: (options: Partial<Settings<A, E>>) => Effect.Effect<void>
  /** Reads the state; changes nothing. */
  readonly inspect: Effect.Effect<State>
  /** What happens from the first pull on; a listener that lags 1,024 events behind loses the oldest. */
  readonly events: Stream.Stream<Event>
}

/**
 * A cache of effects that give an `A` or fail with an `E`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Cache<in out A, in out E = never> extends Controls<A, E> {
  /** Answers from the cache, or else runs the effect. */
  readonly through: {
    (key: string): <R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
    <R>(self: Effect.Effect<A, E, R>, key: string): Effect.Effect<A, E, R>
  }
}

/**
 * A cache of streams that emit `A`s and fail with an `E`.
 *
 * @category models
 * @since 0.1.0
 */
export interface StreamCache<in out A, in out E = never> extends Controls<ReadonlyArray<A>, E> {
  /** Replays the items from the cache, or else runs the stream. */
  readonly through: {
    (key: string): <R>(self: Stream.Stream<A, E, R>) => Stream.Stream<A, E, R>
    <R>(self: Stream.Stream<A, E, R>, key: string): Stream.Stream<A, E, R>
  }
}

/**
 * The state of a cache. The counts are those since it was made.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  /** Entries that are held, those that have expired but were not dropped yet among them. */
  readonly size: number
  /** Calls that a fresh entry answered. */
  readonly hits: number
  /** Calls that an entry past its time answered. */
  readonly stale: number
  /** Calls that had to wait for an execution; one that then got a stale answer counts twice. */
  readonly misses: number
  /** Entries that were dropped because the cache was full. */
  readonly evictions: number
}

/**
 * What happens in a cache.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  /** A fresh entry answered a call. */
  | { readonly _tag: "Hit"; readonly key: string }
  /** An entry past its time answered a call, because it is being refreshed or because that failed. */
  | { readonly _tag: "Stale"; readonly key: string; readonly because: "refresh" | "error" }
  /** A call has to wait for an execution. */
  | { readonly _tag: "Miss"; readonly key: string }
  /** An entry was stored, or replaced. */
  | { readonly _tag: "Stored"; readonly key: string; readonly success: boolean }
  /**
   * A refresh in the background did not succeed; the old entry stays. The cause is an interruption when the cache has
   * stopped it, because the old answer's time was over or the stream too long to be kept.
   */
  | { readonly _tag: "RefreshFailed"; readonly key: string; readonly cause: Cause.Cause<unknown> }
  /** An entry was dropped because the cache was full. */
  | { readonly _tag: "Evicted"; readonly key: string }
  /** An entry was dropped by hand, or all of them when `key` is undefined. */
  | { readonly _tag: "Invalidated"; readonly key: string | undefined }

/**
 * Options of a cache that may change while calls run.
 *
 * @category options
 * @since 0.1.0
 */
export interface Settings<in A, in E> {
  /**
   * How long an answer is fresh, zero or more, also by answer and key; zero: it is not kept; infinity for no bound.
   * Default 1 minute.
   */
  readonly timeToLive?: Duration.Input | ((value: A, key: string) => Duration.Input) | undefined
  /**
   * How long a failure or a defect is fresh, likewise; it is never served stale and never replaces an answer that may
   * still be served. Default zero: it is not kept.
   */
  readonly failureTimeToLive?: Duration.Input | ((cause: Cause.Cause<E>, key: string) => Duration.Input) | undefined
  /**
   * How long after its `timeToLive` an answer is served while it is refreshed, zero or more; a refresh that is not done
   * by then is stopped. Default zero.
   */
  readonly staleWhileRevalidate?: Duration.Input | undefined
  /** How long after its `timeToLive` an answer is served when a new execution fails, zero or more. Default zero. */
  readonly staleIfError?: Duration.Input | undefined
  /** Whether an error may be answered by `staleIfError`; a defect or an interruption never is. Default: every one. */
  readonly staleWhen?: ((error: E) => boolean) | undefined
  /** Entries, at least 1. Default 1,000. */
  readonly capacity?: number | undefined
}

/**
 * Options of a cache.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<in A, in E> extends Settings<A, E> {
  /** Name in metrics and span events; keep it of low cardinality. Default `"default"`. */
  readonly name?: string | undefined
}

/**
 * Options of a cache of streams.
 *
 * @category options
 * @since 0.1.0
 */
export interface StreamOptions<in A, in E> extends Options<ReadonlyArray<A>, E> {
  /** Items up to which a stream is kept, and can be joined while it runs; at least 1. Default 1,000. */
  readonly maxItems?: number | undefined
}

const defaults = {
  name: "default",
  timeToLive: "1 minute",
  failureTimeToLive: 0,
  staleWhileRevalidate: 0,
  staleIfError: 0,
  staleWhen: () => true,
  capacity: 1_000,
  maxItems: 1_000
} satisfies StreamOptions<never, never>

/** The settings as the cache reads them; times in milliseconds. */
interface Rules<in A, in E> {
  readonly timeToLive: (value: A, key: string) => number
  readonly failureTimeToLive: (cause: Cause.Cause<E>, key: string) => number
  readonly staleWhileRevalidate: number
  readonly staleIfError: number
  readonly staleWhen: (error: E) => boolean
  readonly capacity: number
}

/** Checks what is given; what is not stays as it was. */
const rulesOf = <A, E>(where: string, options: Partial<Settings<A, E>>, before: Rules<A, E>): Rules<A, E> => {
  const span = (field: "staleWhileRevalidate" | "staleIfError") =>
    options[field] === undefined ? before[field] : check.notNegative(where, field, options[field])
  return {
    timeToLive: lifetime(where, "timeToLive", options.timeToLive) ?? before.timeToLive,
    failureTimeToLive: lifetime(where, "failureTimeToLive", options.failureTimeToLive) ?? before.failureTimeToLive,
    staleWhileRevalidate: span("staleWhileRevalidate"),
    staleIfError: span("staleIfError"),
    staleWhen: options.staleWhen ?? before.staleWhen,
    capacity: check.positiveInteger(where, "capacity", options.capacity ?? before.capacity)
  }
}

const lifetime = <X>(
  where: string,
  field: string,
  input: Duration.Input | ((x: X, key: string) => Duration.Input) | undefined
): ((x: X, key: string) => number) | undefined => {
  if (input === undefined) return undefined
  if (typeof input === "function") return (x, key) => check.notNegative(where, field, input(x, key))
  const millis = check.notNegative(where, field, input)
  return () => millis
}

const defaultRules: Rules<unknown, unknown> = {
  timeToLive: () => Duration.toMillis(defaults.timeToLive),
  failureTimeToLive: () => defaults.failureTimeToLive,
  staleWhileRevalidate: defaults.staleWhileRevalidate,
  staleIfError: defaults.staleIfError,
  staleWhen: defaults.staleWhen,
  capacity: defaults.capacity
}

type AnyFiber = Fiber.Fiber<unknown, unknown>

interface Entry<A, E> extends Sieve.Entry {
  readonly exit: Exit.Exit<A, E>
  /** In monotonic milliseconds, as the times below. */
  readonly storedAt: number
  readonly freshUntil: number
  readonly revalidateUntil: number
  readonly errorUntil: number
}

/** One execution; its result is kept only while it is the key's own. */
interface Load {
  readonly key: string
}

/** An entry's answer. */
interface Found<A, E> {
  readonly exit: Exit.Exit<A, E>
  /** Until when it may be refreshed; undefined while it is fresh. */
  readonly staleUntil: number | undefined
}

/** A refresh in the background, and when its time is over. */
interface Refresh {
  readonly fiber: AnyFiber
  readonly until: number
}

/**
 * Creates a cache of effects.
 *
 * **Details**
 *
 * An answer that comes after its key was invalidated is not kept, and a caller
 * that comes after it does not join that execution. A refresh that fails leaves
 * the old entry, and the next call tries again: put retries and a circuit
 * breaker into the program.
 *
 * Throws a `RangeError` when an option is out of its bounds. A `timeToLive` that
 * throws is a defect of the call.
 *
 * **Example** (Keeping prices for a minute, old ones for an hour)
 *
 * ```ts
 * import { Cache } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const cache = yield* Cache.make<number, "unavailable">({ timeToLive: "1 minute", staleIfError: "1 hour" })
 *   const price = (article: string) => Effect.succeed(article.length).pipe(cache.through(article))
 *   return [yield* price("tea"), yield* price("tea")]
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A, E = never>(options?: Options<A, E>): Effect.Effect<Cache<A, E>> => {
  const build = makeStore("Cache.make", options)
  return Effect.map(SingleFlight.make<A, E>({ name: options?.name }), (flight) => {
    const store = build(flight.forget)

    const execute = <R>(self: Effect.Effect<A, E, R>, key: string): Effect.Effect<A, E, R> =>
      flight.share(
        Effect.withFiber((fiber) => {
          let load: Load | undefined
          return Effect.onExitPrimitive(
            Effect.suspend(() => {
              load = store.begin(key)
              return self
            }),
            (exit) => {
              if (load !== undefined) store.end(fiber, load, exit)
              return undefined
            }
          )
        }),
        key
      )

    const through = <R>(self: Effect.Effect<A, E, R>, key: string): Effect.Effect<A, E, R> =>
      Effect.withFiber((fiber) => {
        const found = store.find(fiber, key)
        if (found === undefined) {
          const executed = execute(self, key)
          if (!store.has(key)) return executed
          return Effect.catchCause(executed, (cause) => store.instead(fiber, key, cause) ?? Effect.failCause(cause))
        }
        const { exit, staleUntil } = found
        if (staleUntil === undefined || store.isLoading(key)) return exit
        return Effect.contextWith((context: Context.Context<R>) => {
          store.refresh(key, staleUntil, execute(self, key), context)
          return exit
        })
      })

    return { through: dual(2, through), ...store.controls }
  })
}

/**
 * Creates a cache of streams.
 *
 * **Details**
 *
 * The items are kept when the stream ended well and within `maxItems`; a longer
 * one passes through and is not kept, and a refresh stops there. A caller that comes while the stream runs
 * joins it and gets its items from the first on. `staleIfError` answers only as
 * long as no item has been emitted, and a failure is kept only if it came before
 * the first item. Otherwise as `make`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeStream = <A, E = never>(options?: StreamOptions<A, E>): Effect.Effect<StreamCache<A, E>> => {
  const where = "Cache.makeStream"
  const build = makeStore(where, options)
  const maxItems = check.positiveInteger(where, "maxItems", options?.maxItems ?? defaults.maxItems)
  return Effect.map(SingleFlight.make<A, E>({ name: options?.name, replay: maxItems }), (flight) => {
    const store = build(flight.forget)

    const execute = <R>(self: Stream.Stream<A, E, R>, key: string): Stream.Stream<A, E, R> =>
      flight.shareStream(
        Stream.suspend(() => {
          let load: Load | undefined
          const items = Array<A>()
          return bracket.stream(
            Effect.sync(() => {
              load = store.begin(key)
              return Stream.map(self, (item) => {
                if (items.length <= maxItems) items.push(item)
                return item
              })
            }),
            (exit) =>
              Effect.withFiber((fiber) => {
                if (load !== undefined) store.end(fiber, load, kept(exit, items, maxItems))
                return Effect.void
              })
          )
        }),
        key
      )

    const through = <R>(self: Stream.Stream<A, E, R>, key: string): Stream.Stream<A, E, R> =>
      Layered.unwrap(Effect.withFiber((fiber) => {
        const found = store.find(fiber, key)
        if (found === undefined) {
          const executed = execute(self, key)
          if (!store.has(key)) return Effect.succeed(executed)
          return Effect.succeed(orElseStream(executed, (cause) => store.instead(fiber, key, cause)))
        }
        const { exit, staleUntil } = found
        if (staleUntil === undefined || store.isLoading(key)) return Effect.succeed(replay(exit))
        return Effect.contextWith((context: Context.Context<R>) => {
          store.refresh(key, staleUntil, drain(execute(self, key), maxItems), context)
          return Effect.succeed(replay(exit))
        })
      }))

    return { through: dual(2, through), ...store.controls }
  })
}

const kept = <A, E>(
  exit: Exit.Exit<unknown, E>,
  items: ReadonlyArray<A>,
  maxItems: number
): Exit.Exit<ReadonlyArray<A>, E> | undefined => {
  if (exit._tag === "Success") return items.length <= maxItems ? Exit.succeed(items) : undefined
  return items.length === 0 ? Exit.failCause(exit.cause) : undefined
}

/** Runs a stream to its end, or until it is too long to be kept. */
const drain = <A, E, R>(self: Stream.Stream<A, E, R>, maxItems: number): Effect.Effect<void, E, R> =>
  Effect.flatMap(
    Stream.runCount(Stream.take(self, maxItems + 1)),
    (count) => count > maxItems ? Effect.interrupt : Effect.void
  )

const replay = <A, E>(exit: Exit.Exit<ReadonlyArray<A>, E>): Stream.Stream<A, E> =>
  exit._tag === "Success" ? Stream.fromIterable(exit.value) : Stream.failCause(exit.cause)

/** Something else instead of a failure, as long as nothing has been emitted. */
const orElseStream = <A, E, R>(
  self: Stream.Stream<A, E, R>,
  instead: (cause: Cause.Cause<E>) => Exit.Exit<ReadonlyArray<A>, E> | undefined
): Stream.Stream<A, E, R> => {
  let emitted = false
  return self.pipe(
    Stream.map((item) => {
      emitted = true
      return item
    }),
    Stream.catchCause((cause) => {
      const answer = emitted ? undefined : instead(cause)
      return answer === undefined ? Stream.failCause(cause) : replay(answer)
    })
  )
}

/** What both caches do: entries and their times, counts and events. */
const makeStore = <A, E>(where: string, options: Options<A, E> | undefined) => {
  const initial = rulesOf(where, options ?? {}, defaultRules)
  const name = options?.name ?? defaults.name
  const count = telemetry.makeCached(name)
  const evicted = telemetry.makeCacheEvicted(name)
  const refreshFailed = telemetry.makeCacheRefreshFailed(name)

  return (forget: (key: string) => Effect.Effect<void>) => {
    const sieve = Sieve.make<Entry<A, E>>()
    const loads = new Map<string, Load>()
    const refreshes = new Map<string, Refresh>()
    const events = Events.make<Event>()
    let rules = initial
    let hits = 0
    let stale = 0
    let misses = 0
    let evictions = 0

    const hit = (fiber: AnyFiber, key: string) => {
      hits++
      count(fiber, "hit")
      if (events.active) events.publish({ _tag: "Hit", key })
    }

    const servedStale = (fiber: AnyFiber, key: string, because: "refresh" | "error") => {
      stale++
      count(fiber, "stale")
      if (events.active) events.publish({ _tag: "Stale", key, because })
    }

    /** What answers a call at once; otherwise it is a miss. */
    const find = (fiber: AnyFiber, key: string): Found<A, E> | undefined => {
      const entry = sieve.entries.get(key)
      const now = time.now(fiber)
      if (entry !== undefined) {
        if (now < entry.revalidateUntil) {
          entry.used = true
          const isStale = now >= entry.freshUntil
          if (isStale) servedStale(fiber, key, "refresh")
          else hit(fiber, key)
          return { exit: entry.exit, staleUntil: isStale ? entry.revalidateUntil : undefined }
        }
        if (now >= entry.errorUntil) sieve.entries.delete(key)
      }
      const refresh = refreshes.get(key)
      // Its timer may be late.
      if (refresh !== undefined && now >= refresh.until) expire(key, refresh)
      misses++
      count(fiber, "miss")
      if (events.active) events.publish({ _tag: "Miss", key })
      return undefined
    }

    /** The old answer that is better than this failure, if there is one. */
    const instead = (fiber: AnyFiber, key: string, cause: Cause.Cause<E>): Exit.Exit<A, E> | undefined => {
      const entry = sieve.entries.get(key)
      if (entry === undefined || time.now(fiber) >= entry.errorUntil) return undefined
      if (!cause.reasons.every((reason) => reason._tag === "Fail" && rules.staleWhen(reason.error))) return undefined
      entry.used = true
      servedStale(fiber, key, "error")
      return entry.exit
    }

    const makeRoom = (fiber: AnyFiber, size: number) => {
      while (sieve.entries.size > size) {
        const key = Sieve.evict(sieve)
        if (key === undefined) return
        evictions++
        evicted(fiber)
        if (events.active) events.publish({ _tag: "Evicted", key })
      }
    }

    const put = (fiber: AnyFiber, key: string, entry: Entry<A, E>) => {
      // An entry that is replaced keeps its place. Room is made before, so that a new one is not its own victim.
      if (!sieve.entries.has(key)) makeRoom(fiber, rules.capacity - 1)
      sieve.entries.set(key, entry)
      if (events.active) events.publish({ _tag: "Stored", key, success: Exit.isSuccess(entry.exit) })
    }

    const begin = (key: string): Load => {
      const load = { key }
      loads.set(key, load)
      return load
    }

    const end = (fiber: AnyFiber, load: Load, exit: Exit.Exit<A, E> | undefined): void => {
      const { key } = load
      if (loads.get(key) !== load) return
      loads.delete(key)
      if (exit === undefined || Exit.hasInterrupts(exit)) return
      const now = time.now(fiber)
      const old = sieve.entries.get(key)
      const used = old?.used ?? false
      if (exit._tag === "Success") {
        const freshUntil = now + rules.timeToLive(exit.value, key)
        if (freshUntil === now) return void sieve.entries.delete(key)
        const { staleIfError, staleWhileRevalidate } = rules
        const [revalidateUntil, errorUntil] = [freshUntil + staleWhileRevalidate, freshUntil + staleIfError]
        return put(fiber, key, { exit, used, storedAt: now, freshUntil, revalidateUntil, errorUntil })
      }
      if (old !== undefined && Math.max(old.revalidateUntil, old.errorUntil) > now) return
      const freshUntil = now + rules.failureTimeToLive(exit.cause, key)
      if (freshUntil <= now) return
      put(fiber, key, { exit, used, storedAt: now, freshUntil, revalidateUntil: freshUntil, errorUntil: now })
    }

    const failed = (fiber: AnyFiber, key: string, cause: Cause.Cause<E>) => {
      refreshFailed(fiber)
      if (events.active) events.publish({ _tag: "RefreshFailed", key, cause })
    }

    /** A refresh, whose failure has no other listener. */
    const watched = <R>(key: string, execution: Effect.Effect<unknown, E, R>): Effect.Effect<void, never, R> =>
      Effect.matchCauseEffect(execution, {
        onSuccess: () => Effect.void,
        onFailure: (cause) => Effect.withFiber((fiber) => Effect.succeed(failed(fiber, key, cause)))
      })

    /**
     * Refreshes an entry in the background, until it is not served any more. The
     * refresh of an execution that hangs would be a caller that never leaves, and
     * the next miss of the key would join it.
     */
    const refresh = <R>(
      key: string,
      until: number,
      execution: Effect.Effect<unknown, E, R>,
      context: Context.Context<R>
    ): void => {
      // One that has not begun its execution yet is a refresh, too.
      if (refreshes.has(key)) return
      const run = Effect.runForkWith(context)
      const fiber = run(watched(key, execution))
      if (fiber.pollUnsafe() !== undefined) return
      const self: Refresh = { fiber, until }
      refreshes.set(key, self)
      const timer = run(
        Effect.andThen(Effect.sleep(until - time.now(fiber)), Effect.sync(() => expire(key, self)))
      )
      fiber.addObserver(() => {
        timer.interruptUnsafe()
        if (refreshes.get(key) === self) refreshes.delete(key)
      })
    }

    const expire = (key: string, refresh: Refresh) => {
      if (refreshes.get(key) !== refresh) return
      failed(refresh.fiber, key, Cause.interrupt())
      drop(key, refresh)
    }

    /** Takes a refresh out before it is interrupted, as its finalizers may take their time. */
    const drop = (key: string, refresh: Refresh) => {
      refreshes.delete(key)
      refresh.fiber.interruptUnsafe()
    }

    const invalidate = (key: string) =>
      Effect.suspend(() => {
        loads.delete(key)
        sieve.entries.delete(key)
        const refresh = refreshes.get(key)
        if (refresh !== undefined) drop(key, refresh)
        if (events.active) events.publish({ _tag: "Invalidated", key })
        return forget(key)
      })

    const get = (key: string) =>
      Effect.withFiber((fiber) => {
        const entry = sieve.entries.get(key)
        if (entry?.exit._tag !== "Success" || time.now(fiber) >= entry.freshUntil) return Effect.succeedNone
        entry.used = true
        hit(fiber, key)
        return Effect.succeedSome(entry.exit.value)
      })

    const invalidateWhere = (isMeant: (key: string, storedAt: number, answer: A | undefined) => boolean) =>
      Effect.withFiber((fiber) => {
        const now = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
        // Entries have monotonic times, which only their ages can be told from.
        const start = now - time.now(fiber)
        const held = Array.from(sieve.entries).flatMap(([key, { exit, storedAt }]) =>
          isMeant(key, start + storedAt, exit._tag === "Success" ? exit.value : undefined) ? [key] : []
        )
        const loading = Array.from(loads.keys()).filter((key) => isMeant(key, now, undefined))
        return Effect.as(Effect.forEach(new Set([...held, ...loading]), invalidate, { discard: true }), held.length)
      })

    const clear = Effect.suspend(() => {
      const keys = Array.from(loads.keys())
      loads.clear()
      sieve.entries.clear()
      for (const [key, refresh] of Array.from(refreshes)) drop(key, refresh)
      if (events.active) events.publish({ _tag: "Invalidated", key: undefined })
      return Effect.forEach(keys, forget, { discard: true })
    })

    const update = (options: Partial<Settings<A, E>>) => {
      rulesOf("Cache.update", options, rules)
      return Effect.withFiber((fiber) => {
        rules = rulesOf("Cache.update", options, rules)
        makeRoom(fiber, rules.capacity)
        return Effect.void
      })
    }

    const inspect = Effect.sync((): State => ({ size: sieve.entries.size, hits, stale, misses, evictions }))

    return {
      find,
      instead,
      has: (key: string) => sieve.entries.has(key),
      isLoading: (key: string) => loads.has(key),
      begin,
      end,
      refresh,
      controls: { get, invalidate, invalidateWhere, clear, update, inspect, events: events.stream }
    }
  }
}

const noControls: Controls<never, never> = {
  get: () => Effect.succeedNone,
  invalidate: () => Effect.void,
  invalidateWhere: () => Effect.succeed(0),
  clear: Effect.void,
  update: () => Effect.void,
  inspect: Effect.succeed({ size: 0, hits: 0, stale: 0, misses: 0, evictions: 0 }),
  events: Stream.empty
}

/**
 * Creates a cache that keeps and shares nothing: every call runs.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noop = <A, E = never>(): Cache<A, E> => ({
  through: dual(2, <R>(self: Effect.Effect<A, E, R>, _key: string): Effect.Effect<A, E, R> => self),
  ...noControls
})

/**
 * Creates a cache of streams that keeps and shares nothing: every call runs.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noopStream = <A, E = never>(): StreamCache<A, E> => ({
  through: dual(2, <R>(self: Stream.Stream<A, E, R>, _key: string): Stream.Stream<A, E, R> => self),
  ...noControls
})
