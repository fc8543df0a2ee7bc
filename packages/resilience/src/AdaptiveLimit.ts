/**
 * A concurrency limit that learns how much its dependency can bear.
 *
 * It is a `ConcurrencyLimit` in all else: bounded queue, longest wait, weights,
 * priorities, tenants. It looks at how long calls take and which ones the
 * dependency drops, and asks an `Algorithm` for the next limit once a round,
 * which is about one round trip, and at once when a call is dropped.
 *
 * No round in which less than half of the slots were taken raises the limit, as
 * it says nothing about more. An interrupted call, one that is ignored by the
 * classifier, and a failure that is no drop tell nothing. Each decision is one
 * synchronous step; time that a call waits for its slot doesn't count as its own.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import type * as ConcurrencyLimit from "./ConcurrencyLimit.ts"
import * as check from "./internal/check.ts"
import { aimd, type AimdOptions } from "./internal/concurrency/aimd.ts"
import { type Algorithm, type Bounds, clamp, type Learner, type Sample } from "./internal/concurrency/algorithm.ts"
import * as Engine from "./internal/concurrency/engine.ts"
import type { QueueFull, QueueTimeout, TooHeavy } from "./internal/concurrency/errors.ts"
import { gradient2, type Gradient2Options } from "./internal/concurrency/gradient2.ts"
import * as Rounds from "./internal/concurrency/rounds.ts"
import { told, type ToldOptions } from "./internal/concurrency/told.ts"
import { vegas, type VegasOptions } from "./internal/concurrency/vegas.ts"
import * as Events from "./internal/events.ts"
import * as guard from "./internal/guard.ts"
import * as keyedPolicies from "./internal/keyed.ts"
import * as Policy from "./internal/policy.ts"
import * as telemetry from "./internal/telemetry.ts"
import * as time from "./internal/time.ts"
import type * as Keyed from "./Keyed.ts"
import * as Outcome from "./Outcome.ts"

export { aimd, gradient2, told, vegas }
export type { AimdOptions, Algorithm, Bounds, Gradient2Options, Learner, Sample, ToldOptions, VegasOptions }

/**
 * An adaptive limit as a policy, which can be read and changed.
 *
 * @category models
 * @since 0.1.0
 */
export interface AdaptiveLimit<in In = unknown> extends Policy.Policy<QueueFull | QueueTimeout, In> {
  /**
   * The same limit for calls that take this number of slots each, an integer of at
   * least 1. One that takes more than there are is rejected, at once or when its
   * turn comes; so let `min` be the largest weight.
   */
  readonly weigh: (weight: number) => Policy.Policy<QueueFull | QueueTimeout | TooHeavy>
  /** Reads the state; changes nothing. */
  readonly inspect: Effect.Effect<State>
  /** The tenants that hold slots or wait, in no particular order. */
  readonly tenants: Effect.Effect<ReadonlyArray<ConcurrencyLimit.TenantState>>
  /** What happens from the subscription on. */
  readonly events: Stream.Stream<Event>
  /**
   * Changes settings while calls run and wait; what is left out stays. Throws a
   * `RangeError` as `make` does.
   */
  readonly update: (settings: Settings) => Effect.Effect<void>
}

/**
 * Why the limit was changed: it went well, calls take longer, a call was dropped,
 * the dependency stated its limit, or the bounds were changed.
 *
 * @category models
 * @since 0.1.0
 */
export type Because = "grown" | "latency" | "dropped" | "stated" | "update"

/**
 * A change of the limit.
 *
 * @category models
 * @since 0.1.0
 */
export interface Change {
  readonly from: number
  readonly to: number
  readonly because: Because
}

/**
 * The state of an adaptive limit.
 *
 * @category models
 * @since 0.1.0
 */
export interface State extends ConcurrencyLimit.State {
  readonly algorithm: string
  /** How long the calls of the last round took on average; undefined before the first. */
  readonly rtt: Duration.Duration | undefined
  /** The last 32 changes of the limit and how long ago they were, the oldest first. */
  readonly history: ReadonlyArray<Change & { readonly ago: Duration.Duration }>
}

/**
 * What happens to calls that do not run at once, and to the limit.
 *
 * @category models
 * @since 0.1.0
 */
export type Event = ConcurrencyLimit.CallEvent | Change & { readonly _tag: "Adapted" }

/**
 * Settings of an adaptive limit that can change while calls run and wait.
 *
 * @category options
 * @since 0.1.0
 */
export interface Settings extends ConcurrencyLimit.QueueSettings {
  /** The lowest limit, an integer of at least 1. Default 1. */
  readonly min?: number | undefined
  /** The highest limit, an integer of at least `min`. Default 1,000. */
  readonly max?: number | undefined
}

/**
 * Options of an adaptive limit.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<in E = unknown> extends Settings {
  /** Name in errors, metrics and span events; keep it of low cardinality. Default `"default"`. */
  readonly name?: string | undefined
  /** How the limit is learnt. Default `aimd()`. */
  readonly algorithm?: Algorithm | undefined
  /** The limit to begin with, an integer from `min` to `max`. Default 20, or the bound that is nearest to it. */
  readonly initial?: number | undefined
  /** Judges a finished call. Default `Outcome.classify`. */
  readonly classify?: Outcome.Classifier<E> | undefined
  /** Whether a call that was judged so was dropped by an overloaded dependency. Default `isDrop`. */
  readonly isDrop?: ((outcome: Outcome.Outcome) => boolean) | undefined
  /**
   * The limit that the dependency states in an answer, at least 0; such an answer
   * is a drop, however it is judged. Default: none ever.
   */
  readonly limitOf?: ((exit: Exit.Exit<unknown, unknown>) => number | undefined) | undefined
}

/**
 * Whether a call was dropped, by default: it failed in a way that another try may
 * mend, or was judged slow.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isDrop = (outcome: Outcome.Outcome): boolean => {
  switch (outcome._tag) {
    case "Success":
      return outcome.slow === true
    case "Failure":
      return outcome.retryable || outcome.slow === true
    case "Ignored":
      return false
  }
}

const defaults = {
  ...Engine.defaults,
  name: "default",
  min: 1,
  max: 1_000,
  initial: 20,
  classify: Outcome.classify,
  isDrop,
  limitOf: () => undefined
} satisfies Options

interface Checked extends Omit<Engine.Settings, "limit">, Bounds {}

const checked = (
  where: string,
  settings: Settings,
  otherwise: { readonly [K in keyof Settings]-?: Exclude<Settings[K], undefined> }
): Checked => {
  const min = check.positiveInteger(where, "min", settings.min ?? otherwise.min)
  const max = check.positiveInteger(where, "max", settings.max ?? otherwise.max)
  if (max < min) check.refuse(where, "max", `at least min (${min})`, max)
  return { ...Engine.checked(where, settings, otherwise), min, max }
}

interface Measured<E> {
  readonly entry: Engine.Entry<E>
  readonly wait: Effect.Effect<void, QueueFull | QueueTimeout | E> | undefined
  /** Undefined until it has its slots. */
  startedAt: number | undefined
  round: number
}

/** An adaptive limit that also says, in the same step, whether it may be dropped. */
interface Kept extends AdaptiveLimit {
  readonly atRest: () => boolean
}

type AnyFiber = Fiber.Fiber<unknown, unknown>

/** Changes of the limit that are remembered. */
const memory = 32

const build = (where: string, options: Options | undefined): Effect.Effect<Kept> => {
  const bounds = checked(where, options ?? {}, defaults)
  const initial = check.positiveInteger(where, "initial", options?.initial ?? clamp(defaults.initial, bounds))
  if (clamp(initial, bounds) !== initial) {
    check.refuse(where, "initial", `from min (${bounds.min}) to max (${bounds.max})`, initial)
  }
  const name = options?.name ?? defaults.name
  const algorithm = options?.algorithm ?? aimd()
  const classify = options?.classify ?? defaults.classify
  const dropped = options?.isDrop ?? defaults.isDrop
  const limitOf = options?.limitOf ?? defaults.limitOf
  const adapted = telemetry.makeAdapted(name)

  return Effect.withFiber((fiber) => {
    const events = Events.make<Event>()
    const engine = Engine.make("adaptive-limit", name, { ...bounds, limit: initial }, events)
    const rounds = Rounds.make()
    const history: Array<Change & { readonly at: number }> = []
    let settings = bounds
    let learner = algorithm.start(initial)
    let rtt: number | undefined
    adapted(fiber, initial)

    const adapt = (limit: number, because: Because, fiber: AnyFiber) => {
      const from = engine.settings.limit
      if (limit === from) return
      const change = { from, to: limit, because }
      if (history.push({ ...change, at: time.now(fiber) }) > memory) history.shift()
      adapted(fiber, limit, because)
      if (events.active) events.publish({ _tag: "Adapted", ...change })
      engine.change({ ...engine.settings, limit })
    }

    const learn = (sample: Sample, fiber: AnyFiber) => {
      rtt = sample.rtt ?? rtt
      const { limit } = engine.settings
      const mayGrow = !sample.dropped && 2 * sample.inFlight >= limit
      const { max, min } = settings
      const next = learner.learn(sample, { min, max: mayGrow ? max : Math.min(max, learner.limit) })
      // An algorithm of the caller's own may have divided by zero.
      if (!Number.isFinite(next.limit)) return
      learner = next
      const wanted = Math.floor(clamp(next.limit, settings))
      const to = mayGrow ? wanted : Math.min(wanted, Math.max(limit, min))
      const because = sample.stated !== undefined
        ? "stated"
        : sample.dropped
        ? "dropped"
        : to > limit
        ? "grown"
        : "latency"
      adapt(to, because, fiber)
    }

    const begin = <E>(call: Measured<E>, fiber: AnyFiber) => {
      call.startedAt = time.now(fiber)
      call.round = Rounds.started(rounds, engine.active)
    }

    const judge = (
      startedAt: number,
      round: number,
      exit: Exit.Exit<unknown, unknown>,
      fiber: AnyFiber
    ): Sample | undefined => {
      const told = limitOf(exit)
      const stated = told !== undefined && told >= 0 && Number.isFinite(told) ? Math.floor(told) : undefined
      const outcome = classify(exit)
      const { limit } = engine.settings
      if (stated !== undefined || dropped(outcome)) {
        return Rounds.dropped(rounds, round, { at: time.now(fiber), limit, inFlight: engine.active, stated })
      }
      if (outcome._tag !== "Success") return undefined
      return Rounds.succeeded(rounds, round, { startedAt, at: time.now(fiber), limit })
    }

    const weighing = <E>(weight: Engine.Weight<E>) =>
      guard.makePolicy<Measured<E>, QueueFull | QueueTimeout | E>({
        enter: (fiber) => {
          const entry = engine.enter(fiber, weight)
          const call: Measured<E> = {
            entry,
            wait: entry.wait === undefined ? undefined : Effect.map(entry.wait, () => begin(call, fiber)),
            startedAt: undefined,
            round: 0
          }
          if (entry.wait === undefined) begin(call, fiber)
          return call
        },
        isTimed: () => true,
        exit: ({ entry, round, startedAt }, exit, fiber, held) => {
          // Learns first, so that a slot that is one too many isn't handed on; and frees it even if a judge throws.
          try {
            const sample = startedAt === undefined ? undefined : judge(startedAt + held, round, exit, fiber)
            if (sample !== undefined) learn(sample, fiber)
          } finally {
            engine.exit(entry, fiber)
          }
        }
      })

    const inspect = Effect.withFiber((fiber) => {
      const now = time.now(fiber)
      return Effect.succeed<State>({
        limit: engine.settings.limit,
        running: engine.active,
        queued: engine.queued,
        algorithm: algorithm.name,
        rtt: rtt === undefined ? undefined : Duration.millis(rtt),
        history: history.map(({ at, ...change }) => ({ ...change, ago: Duration.millis(now - at) }))
      })
    })

    const update = (changes: Settings): Effect.Effect<void> => {
      checked("AdaptiveLimit.update", changes, settings)
      return Effect.withFiber((fiber) => {
        settings = checked("AdaptiveLimit.update", changes, settings)
        const { limit } = engine.settings
        const within = clamp(learner.limit, settings)
        learner = learner.bound?.(settings) ?? (within === learner.limit ? learner : algorithm.start(within))
        engine.change({ ...settings, limit })
        adapt(clamp(limit, settings), "update", fiber)
        return Effect.void
      })
    }

    return Effect.succeed(Object.assign(weighing(Engine.light), {
      weigh: (weight: number) => weighing(Engine.heavy(check.positiveInteger("AdaptiveLimit.weigh", "weight", weight))),
      inspect,
      tenants: Effect.sync(engine.tenants),
      events: events.stream,
      update,
      atRest: () => engine.active === 0 && engine.queued === 0
    }))
  })
}

/**
 * Creates an adaptive limit.
 *
 * **Details**
 *
 * A call is dropped when `limitOf` finds a limit in its exit, or when `isDrop`
 * says so of its outcome. Of the drops of one overload only the first changes the
 * limit. How long a call takes counts when it succeeds. A stream is one call,
 * from its first pull to its end; of that counts the time that its consumer
 * waited for items.
 *
 * A classifier, an `isDrop` or a `limitOf` that throws makes the call die; its
 * slots are free all the same.
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * **Example** (Believing what the service says)
 *
 * ```ts
 * import { AdaptiveLimit } from "@ballast/resilience"
 * import { Cause, Data, Effect, Exit } from "effect"
 *
 * class TooMany extends Data.TaggedError("TooMany")<{ readonly limit: number }> {}
 *
 * const program = Effect.gen(function*() {
 *   const limit = yield* AdaptiveLimit.make({
 *     name: "catalogue",
 *     algorithm: AdaptiveLimit.told(),
 *     queue: 100,
 *     limitOf: (exit) => {
 *       const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
 *       return error instanceof TooMany ? error.limit : undefined
 *     }
 *   })
 *   yield* Effect.exit(limit(Effect.fail(new TooMany({ limit: 5 }))))
 *   return yield* limit.inspect
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E = unknown>(options?: Options<E>): Effect.Effect<AdaptiveLimit<E>> =>
  // Its programs fail with `E` alone.
  build("AdaptiveLimit.make", options as Options | undefined)

/**
 * Creates an adaptive limit for each key; all have the same name, and each learns
 * for itself.
 *
 * **Details**
 *
 * A key's limit is dropped, with what it has learnt, once it was idle for
 * `idleTimeToLive`, 10 minutes by default, and nothing runs or waits in it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const keyed = (
  options?: Options & Keyed.Bounds
): Effect.Effect<Keyed.Updatable<QueueFull | QueueTimeout, AdaptiveLimit, Settings>> => {
  const one = build("AdaptiveLimit.keyed", options)
  return keyedPolicies.updatable<QueueFull | QueueTimeout, Settings, Kept>({
    make: () => one,
    atRest: (limit) => limit.atRest(),
    idleTimeToLive: options?.idleTimeToLive,
    maxKeys: options?.maxKeys
  })
}

/**
 * The adaptive limit that does nothing: it has no limit and learns none.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noop: AdaptiveLimit = Object.assign(
  Policy.make<never>({ effect: (self) => self, stream: (self) => self }),
  {
    weigh: () => Policy.identity,
    inspect: Effect.succeed<State>({
      limit: Infinity,
      running: 0,
      queued: 0,
      algorithm: "none",
      rtt: undefined,
      history: []
    }),
    tenants: Effect.succeed([]),
    events: Stream.empty,
    update: () => Effect.void
  }
)
