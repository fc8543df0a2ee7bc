/**
 * The policies of a process by owner, kind and name, so that what was made by
 * name is found by name: readiness reads their state, an admin steers them, live
 * settings update them.
 *
 * An owner is what has policies: a client, a gateway, a target of a router. It
 * claims its name, and registers handles under it, in a Scope; both are undone
 * when the scope closes. Every change is one synchronous step. The registry
 * holds handles and no state of its own, and never reads metrics.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { AdaptiveLimit } from "./AdaptiveLimit.ts"
import type { CircuitBreaker } from "./CircuitBreaker.ts"
import type { ConcurrencyLimit } from "./ConcurrencyLimit.ts"
import type { AttemptSettings, Deadline } from "./Deadline.ts"
import type { Hedge } from "./Hedge.ts"
import * as telemetry from "./internal/telemetry.ts"
import type { RateLimiter } from "./RateLimiter.ts"
import type { Retry } from "./Retry.ts"
import type { RetryBudget } from "./RetryBudget.ts"
import type { SharedRateLimiter } from "./SharedRateLimiter.ts"

/**
 * What can be registered: the type of a handle for each kind. Further kinds are
 * added by declaration merging.
 *
 * @category models
 * @since 0.1.0
 */
export interface Kinds {
  readonly adaptiveLimit: AdaptiveLimit
  readonly attemptDeadline: Deadline<unknown, AttemptSettings>
  readonly circuitBreaker: CircuitBreaker
  readonly concurrencyLimit: ConcurrencyLimit
  readonly hedge: Hedge
  readonly rateLimiter: RateLimiter
  readonly retry: Retry
  readonly retryBudget: RetryBudget
  readonly sharedRateLimiter: SharedRateLimiter
}

/**
 * A handle and where it belongs. The name is that in the policy's errors and
 * metrics.
 *
 * @category models
 * @since 0.1.0
 */
export interface Entry<K extends keyof Kinds = keyof Kinds> {
  readonly owner: string
  readonly kind: K
  readonly name: string
  readonly handle: Kinds[K]
}

/**
 * Which entries are meant; what is left out doesn't matter.
 *
 * @category options
 * @since 0.1.0
 */
export interface Filter<K extends keyof Kinds = keyof Kinds> {
  readonly owner?: string | undefined
  readonly kind?: K | undefined
  readonly name?: string | undefined
}

/**
 * An entry that comes or goes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Change {
  readonly _tag: "Added" | "Removed"
  readonly entry: Entry
}

/**
 * Handles by kind; what is undefined is not there.
 *
 * @category models
 * @since 0.1.0
 */
export type Handles = { readonly [K in keyof Kinds]?: Kinds[K] | undefined }

/**
 * A registry.
 *
 * @category models
 * @since 0.1.0
 */
export interface Registry {
  /**
   * Claims a name for an owner until the scope closes: the name itself, or, while
   * another owner has it, the name with a number, such as `deepseek-2`. So two
   * clients in one process never share a metric.
   */
  readonly claim: (owner: string) => Effect.Effect<string, never, Scope.Scope>
  /**
   * Registers handles that have the same owner and name until the scope closes. The gauges of a policy go with the last handle of its kind
   * and name.
   */
  readonly register: (owner: string, name: string, handles: Handles) => Effect.Effect<void, never, Scope.Scope>
  /** The entries that match, in the order of registration. */
  readonly list: <K extends keyof Kinds = keyof Kinds>(filter?: Filter<K>) => Effect.Effect<ReadonlyArray<Entry<K>>>
  /** The present entries, then each one that is added or removed. */
  readonly changes: Stream.Stream<Change>
  /** The handle of this kind and name; of two with the same name, that which was registered first. */
  readonly find: <K extends keyof Kinds>(kind: K, name: string) => Effect.Effect<Kinds[K] | undefined>
}

/**
 * Creates an empty registry.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (): Registry => {
  const owners = new Set<string>()
  const entries = new Set<Entry>()
  const listeners = new Set<Queue.Queue<Change, Cause.Done>>()

  const tell = (_tag: Change["_tag"], changed: ReadonlyArray<Entry>): void => {
    for (const listener of listeners) for (const entry of changed) Queue.offerUnsafe(listener, { _tag, entry })
  }

  const changes = Stream.callback<Change>((queue) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        for (const entry of entries) Queue.offerUnsafe(queue, { _tag: "Added", entry })
        listeners.add(queue)
      }),
      () => Effect.sync(() => listeners.delete(queue))
    ), { bufferSize: Infinity })

  /** Adds to a set until the scope closes. The finalizer stands before the step: the fiber may be interrupted between the two. */
  const held = <A, B>(
    set: Set<A>,
    add: () => B,
    added: (result: B) => ReadonlyArray<A>,
    tell: (_tag: Change["_tag"], changed: ReadonlyArray<A>) => void = () => {}
  ) =>
    Effect.suspend(() => {
      let mine: ReadonlyArray<A> = []
      const remove = Effect.sync(() => {
        for (const value of mine) set.delete(value)
        tell("Removed", mine)
      })
      return Effect.andThen(
        Effect.addFinalizer(() => remove),
        Effect.sync(() => {
          const result = add()
          mine = added(result)
          for (const value of mine) set.add(value)
          tell("Added", mine)
          return result
        })
      )
    })

  const free = (owner: string): string => {
    let name = owner
    for (let n = 2; owners.has(name); n++) name = `${owner}-${n}`
    return name
  }

  const select = <K extends keyof Kinds>(filter: Filter<K>): ReadonlyArray<Entry<K>> => {
    const matches = (entry: Entry): entry is Entry<K> =>
      (filter.kind === undefined || entry.kind === filter.kind) &&
      (filter.owner === undefined || entry.owner === filter.owner) &&
      (filter.name === undefined || entry.name === filter.name)
    return Array.from(entries).filter(matches)
  }

  return {
    claim: (owner) => held(owners, () => free(owner), (name) => [name]),
    register: (owner, name, handles) =>
      Effect.contextWith((context: Context.Context<never>) =>
        held(entries, () => entriesOf(owner, name, handles), (made) => made, (_tag, changed) => {
          tell(_tag, changed)
          if (_tag === "Added") return
          // What takes a handle's place may be registered already, and has its gauges.
          for (const { kind, name } of changed) {
            if (select({ kind, name }).length === 0) telemetry.forget(kind, name, context)
          }
        })
      ).pipe(Effect.asVoid),
    changes,
    list: (filter) => Effect.sync(() => select(filter ?? {})),
    find: (kind, name) => Effect.sync(() => select({ kind, name })[0]?.handle)
  }
}

// The keys of handles are kinds, each with a handle of its own kind.
const entriesOf = (owner: string, name: string, handles: Handles): ReadonlyArray<Entry> =>
  Object.entries(handles).flatMap(([kind, handle]) =>
    handle === undefined ? [] : [{ owner, kind: kind as keyof Kinds, name, handle }]
  )

const ofProcess = make()

/**
 * The registry at hand: that of the process unless another one is provided.
 *
 * **Example** (Isolating a circuit by name)
 *
 * ```ts
 * import { CircuitBreaker, Registry } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const registry = yield* Registry.Current
 *   const owner = yield* registry.claim("catalogue")
 *   const circuitBreaker = yield* CircuitBreaker.make({ name: `${owner}/prices` })
 *   yield* registry.register(owner, `${owner}/prices`, { circuitBreaker })
 *
 *   const found = yield* registry.find("circuitBreaker", "catalogue/prices")
 *   yield* found?.isolate ?? Effect.void
 * }))
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category references
 * @since 0.1.0
 */
export const Current: Context.Reference<Registry> = Context.Reference("@ballast/resilience/Registry/Current", {
  defaultValue: () => ofProcess
})

/**
 * Provides a registry of its own, for programs that must not see the policies of others.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<never> = Layer.effect(Current, Effect.sync(make))
