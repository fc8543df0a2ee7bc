/**
 * A retry budget: bounds how much load retries may add to a dependency, over
 * all calls together. It has two modes.
 *
 * - *Share* (`make`): within `timeToLive`, retries may be a `share` of the
 *   calls, and `floor` per second on top for those who call seldom. Follows
 *   Finagle's `RetryBudget`.
 * - *Quota* (`quota`): a bucket of tokens. A retry costs some, more after a
 *   timeout; a call that ends well puts back what its last retry cost, or a
 *   little when it needed none. Follows the standard retry mode of the AWS SDKs.
 *
 * A retry is counted when it is reserved, in one synchronous step, so concurrent
 * callers never exceed the budget; it is given back when it is interrupted
 * before it starts. Policies share a budget by being given the same one. A
 * budget rejects no call: what it refuses is another try.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { isTagged } from "effect/Predicate"
import * as Stream from "effect/Stream"
import * as check from "./internal/check.ts"
import * as Events from "./internal/events.ts"
import * as guard from "./internal/guard.ts"
import * as keyedPolicies from "./internal/keyed.ts"
import * as Policy from "./internal/policy.ts"
import * as RollingSum from "./internal/rollingSum.ts"
import * as telemetry from "./internal/telemetry.ts"
import * as time from "./internal/time.ts"
import type * as Keyed from "./Keyed.ts"
import * as Outcome from "./Outcome.ts"

/**
 * A retry budget.
 *
 * **Details**
 *
 * As a policy it counts traffic that is not retried: each run is a call, and one
 * that is judged a success is settled. `Retry` counts its own calls, and judges
 * them by its own classifier.
 *
 * A retry of a call, by hand: `deposit` as the call begins; before each retry
 * `tryReserve(costOf(exit))`, and none when that gives nothing; `giveBack` when
 * the retry is interrupted before it starts; `settle` when the call ends well,
 * with the last reservation if there was one. The methods that end in `Unsafe`
 * do the same as one synchronous step, on the fiber whose clock they use.
 *
 * @category models
 * @since 0.1.0
 */
export interface RetryBudget extends Policy.Policy<never> {
  /** Counts a call. */
  readonly deposit: Effect.Effect<void>
  /** Reserves a retry of this cost, zero or more, by default that of an ordinary one; none when the budget is spent. */
  readonly tryReserve: (cost?: number) => Effect.Effect<Option.Option<Reservation>>
  /** Undoes a reservation whose retry did not start. Does nothing the second time. */
  readonly giveBack: (reservation: Reservation) => Effect.Effect<void>
  /** Notes that a call ended well, after the retry of this reservation or without any. */
  readonly settle: (reservation?: Reservation) => Effect.Effect<void>
  /** What a retry after this exit costs. */
  readonly costOf: (exit: Exit.Exit<unknown, unknown>) => number
  /** Reads the state; changes nothing. */
  readonly inspect: Effect.Effect<State>
  /** What happens from the subscription on. */
  readonly events: Stream.Stream<Event>
  readonly depositUnsafe: (fiber: Fiber.Fiber<unknown, unknown>) => void
  readonly tryReserveUnsafe: (fiber: Fiber.Fiber<unknown, unknown>, cost: number) => Reservation | undefined
  readonly giveBackUnsafe: (fiber: Fiber.Fiber<unknown, unknown>, reservation: Reservation) => void
  readonly settleUnsafe: (fiber: Fiber.Fiber<unknown, unknown>, reservation: Reservation | undefined) => void
}

/**
 * A retry that the budget has granted.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reservation {
  readonly cost: number
  /** When it was made, in monotonic milliseconds. */
  readonly at: number
  /** Whether it may still be given back; the budget clears it. */
  held: boolean
}

/**
 * The state of a retry budget.
 *
 * @category models
 * @since 0.1.0
 */
export type State =
  /** `calls` and the cost of `retries` within the time to live, and the cost that could be reserved now. */
  | { readonly _tag: "Share"; readonly calls: number; readonly retries: number; readonly balance: number }
  /** Tokens in the bucket, and how many it holds. */
  | { readonly _tag: "Quota"; readonly balance: number; readonly capacity: number }

/**
 * What happens to retries; `balance` is what is left after it.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  /** A retry was granted. */
  | { readonly _tag: "Reserved"; readonly cost: number; readonly balance: number }
  /** A retry was refused, because the budget is spent. */
  | { readonly _tag: "Denied"; readonly cost: number; readonly balance: number }
  /** A retry was interrupted before it started. */
  | { readonly _tag: "GivenBack"; readonly cost: number; readonly balance: number }

/**
 * Options that both modes have.
 *
 * @category options
 * @since 0.1.0
 */
export interface CommonOptions {
  /** Name in metrics; keep it of low cardinality. Default `"default"`. */
  readonly name?: string | undefined
  /** What a retry after an exit costs, zero or more. Default: 1, and for a quota `timeoutCost` or `retryCost`. */
  readonly costOf?: ((exit: Exit.Exit<unknown, unknown>) => number) | undefined
  /** Judges the calls that the budget guards as a policy: which of them ended well. Default `Outcome.classify`. */
  readonly classify?: Outcome.Classifier | undefined
}

/**
 * Settings of a budget by share, which can change while calls run.
 *
 * @category options
 * @since 0.1.0
 */
export interface ShareSettings {
  /** Retries for each call, zero or more; 0.2 is one for five calls. Default 0.2. */
  readonly share?: number | undefined
  /** Retries per second that are allowed without any calls, zero or more. Default 10. */
  readonly floor?: number | undefined
}

/**
 * Options of a budget by share.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends CommonOptions, ShareSettings {
  /** How long a call counts, above zero. Kept in ten slices. Default 10 seconds. */
  readonly timeToLive?: Duration.Input | undefined
}

/**
 * Settings of a quota, which can change while calls run.
 *
 * @category options
 * @since 0.1.0
 */
export interface QuotaSettings {
  /** Tokens that the bucket holds, zero or more. Default 500. */
  readonly capacity?: number | undefined
  /** Tokens for a retry, above zero. Default 5. */
  readonly retryCost?: number | undefined
  /** Tokens for a retry after a timeout (`DeadlineExceeded`, or Effect's `TimeoutError`), above zero. Default 10. */
  readonly timeoutCost?: number | undefined
  /** Tokens for a call that ended well without a retry, zero or more. Default 1. */
  readonly noRetryIncrement?: number | undefined
}

/**
 * Options of a quota.
 *
 * @category options
 * @since 0.1.0
 */
export interface QuotaOptions extends CommonOptions, QuotaSettings {}

/**
 * A budget by share.
 *
 * @category models
 * @since 0.1.0
 */
export interface ShareBudget extends RetryBudget {
  /** Changes settings while calls run; what is left out stays. Throws a `RangeError` as `make` does. */
  readonly update: (settings: ShareSettings) => Effect.Effect<void>
}

/**
 * A budget by quota.
 *
 * @category models
 * @since 0.1.0
 */
export interface QuotaBudget extends RetryBudget {
  /** Changes settings while calls run; what is left out stays. Throws a `RangeError` as `quota` does. */
  readonly update: (settings: QuotaSettings) => Effect.Effect<void>
}

const defaults = {
  name: "default",
  classify: Outcome.classify,
  share: 0.2,
  floor: 10,
  timeToLive: "10 seconds",
  capacity: 500,
  retryCost: 5,
  timeoutCost: 10,
  noRetryIncrement: 1
} satisfies Options & QuotaOptions

/** Settings with nothing left out. */
type Given<Settings> = { readonly [K in keyof Settings]-?: Exclude<Settings[K], undefined> }

/** How a mode keeps its account. */
interface Ledger {
  readonly deposit: (now: number) => void
  readonly balance: (now: number) => number
  readonly take: (now: number, cost: number) => void
  readonly giveBack: (reservation: Reservation) => void
  readonly settle: (cost: number | undefined) => void
  readonly costOf: (exit: Exit.Exit<unknown, unknown>) => number
  /** The cost of an ordinary retry. */
  readonly cost: () => number
  readonly state: (now: number) => State
}

/** A budget that also says, in the same step, whether it may be dropped. */
interface Kept extends ShareBudget {
  readonly atRest: (fiber: Fiber.Fiber<unknown, unknown>) => boolean
}

/**
 * Creates a budget by share of the traffic.
 *
 * **Details**
 *
 * Within any `timeToLive`, the cost of retries is at most `share` × calls +
 * `floor` × `timeToLive` in seconds; the floor may be spent all at once. Time is
 * kept in tenths of `timeToLive`: a call counts for 90 % to 100 % of it, and a
 * retry for 100 % to 110 %.
 * Throws a `RangeError` when an option is out of its bounds. Source: Finagle,
 * `RetryBudget`, whose defaults these are.
 *
 * **Example** (Sharing a budget among calls)
 *
 * ```ts
 * import { RetryBudget } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const budget = yield* RetryBudget.make({ name: "catalogue" })
 *   yield* budget.deposit
 *   return yield* budget.tryReserve()
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options?: Options): Effect.Effect<ShareBudget> => buildShare("RetryBudget.make", options)

/**
 * Creates a budget by quota.
 *
 * **Details**
 *
 * The bucket is full at first and never fuller. Throws a `RangeError` when an
 * option is out of its bounds. Source: AWS SDKs and Tools Reference Guide,
 * "Retry behavior", standard mode.
 *
 * @category constructors
 * @since 0.1.0
 */
export const quota = (options?: QuotaOptions): Effect.Effect<QuotaBudget> => buildQuota("RetryBudget.quota", options)

/**
 * Creates a budget by share for each key; all have the same name.
 *
 * **Details**
 *
 * A key's budget is dropped once it was idle for `idleTimeToLive`, 10 minutes by
 * default, and nothing in it counts any more.
 *
 * @category constructors
 * @since 0.1.0
 */
export const keyed = (
  options?: Options & Keyed.Bounds
): Effect.Effect<Keyed.Updatable<never, ShareBudget, ShareSettings>> => {
  const one = buildShare("RetryBudget.keyed", options)
  return keyedPolicies.updatable<never, ShareSettings, Kept>({
    make: () => one,
    atRest: (budget, fiber) => budget.atRest(fiber),
    idleTimeToLive: options?.idleTimeToLive,
    maxKeys: options?.maxKeys
  })
}

const checkedShare = (where: string, settings: ShareSettings | undefined, otherwise: Given<ShareSettings>) => ({
  share: check.amount(where, "share", settings?.share ?? otherwise.share),
  floor: check.amount(where, "floor", settings?.floor ?? otherwise.floor)
})

const buildShare = (where: string, options: Options | undefined): Effect.Effect<Kept> => {
  const initial = checkedShare(where, options, defaults)
  const timeToLive = check.positive(where, "timeToLive", options?.timeToLive ?? defaults.timeToLive)
  const costOf = options?.costOf ?? (() => 1)
  const assemble = assembling(options)

  return Effect.sync(() => {
    let { share, floor } = initial
    const calls = RollingSum.atMost(timeToLive)
    // What is owed counts longer rather than shorter, so that no window holds more than it should.
    const retries = RollingSum.atLeast(timeToLive)
    const balance = (now: number) =>
      share * RollingSum.total(calls, now) + floor * timeToLive / 1000 - RollingSum.total(retries, now)

    const budget = assemble({
      deposit: (now) => RollingSum.add(calls, now, 1),
      balance,
      take: (now, cost) => RollingSum.add(retries, now, cost),
      // Into the slice that it was taken from: a later one would outlive the debit and allow a retry too many.
      giveBack: ({ at, cost }) => RollingSum.takeBack(retries, at, cost),
      settle: () => {},
      costOf,
      cost: () => 1,
      state: (now) => ({
        _tag: "Share",
        calls: RollingSum.total(calls, now),
        retries: RollingSum.total(retries, now),
        balance: Math.max(0, balance(now))
      })
    })

    const update = (settings: ShareSettings) => {
      checkedShare("RetryBudget.update", settings, defaults)
      return Effect.sync(() => {
        ;({ share, floor } = checkedShare("RetryBudget.update", settings, { share, floor }))
      })
    }

    const atRest = (fiber: Fiber.Fiber<unknown, unknown>) => {
      const now = time.now(fiber)
      return RollingSum.total(calls, now) === 0 && RollingSum.total(retries, now) === 0
    }

    return Object.assign(budget, { update, atRest })
  })
}

const checkedQuota = (where: string, settings: QuotaSettings | undefined, otherwise: Given<QuotaSettings>) => ({
  capacity: check.amount(where, "capacity", settings?.capacity ?? otherwise.capacity),
  retryCost: check.positiveAmount(where, "retryCost", settings?.retryCost ?? otherwise.retryCost),
  timeoutCost: check.positiveAmount(where, "timeoutCost", settings?.timeoutCost ?? otherwise.timeoutCost),
  noRetryIncrement: check.amount(where, "noRetryIncrement", settings?.noRetryIncrement ?? otherwise.noRetryIncrement)
})

const buildQuota = (where: string, options: QuotaOptions | undefined): Effect.Effect<QuotaBudget> => {
  const initial = checkedQuota(where, options, defaults)
  const assemble = assembling(options)

  return Effect.sync(() => {
    let settings = initial
    let tokens = settings.capacity
    const put = (amount: number) => {
      tokens = Math.min(settings.capacity, tokens + amount)
    }

    const budget = assemble({
      deposit: () => {},
      balance: () => tokens,
      take: (_now, cost) => {
        tokens -= cost
      },
      giveBack: ({ cost }) => put(cost),
      settle: (cost) => put(cost ?? settings.noRetryIncrement),
      costOf: options?.costOf ?? ((exit) => isTimeout(exit) ? settings.timeoutCost : settings.retryCost),
      cost: () => settings.retryCost,
      state: () => ({ _tag: "Quota", balance: tokens, capacity: settings.capacity })
    })

    const update = (changes: QuotaSettings) => {
      checkedQuota("RetryBudget.update", changes, defaults)
      return Effect.sync(() => {
        settings = checkedQuota("RetryBudget.update", changes, settings)
        put(0)
      })
    }

    return Object.assign(budget, { update })
  })
}

const isTimeout = (exit: Exit.Exit<unknown, unknown>): boolean =>
  exit._tag === "Failure" &&
  exit.cause.reasons.some((reason) =>
    reason._tag === "Fail" && (isTagged(reason.error, "DeadlineExceeded") || isTagged(reason.error, "TimeoutError"))
  )

// Sums of shares are compared with this much slack, so that five calls of 0.2 pay for one retry.
const epsilon = 1e-9

const counted = { wait: undefined }

const assembling = (options: CommonOptions | undefined) => {
  const denied = telemetry.makeRetryDenied(options?.name ?? defaults.name)
  const classify = options?.classify ?? defaults.classify

  return (ledger: Ledger): RetryBudget => {
    const events = Events.make<Event>()
    const tell = (_tag: Event["_tag"], now: number, cost: number) => {
      if (events.active) events.publish({ _tag, cost, balance: Math.max(0, ledger.balance(now)) })
    }

    const depositUnsafe = (fiber: Fiber.Fiber<unknown, unknown>): void => ledger.deposit(time.now(fiber))

    const tryReserveUnsafe = (fiber: Fiber.Fiber<unknown, unknown>, cost: number): Reservation | undefined => {
      const now = time.now(fiber)
      // Written so that a cost that is no number, or below zero, is refused.
      if (!(cost >= 0 && cost <= ledger.balance(now) + epsilon)) {
        denied(fiber)
        tell("Denied", now, cost)
        return undefined
      }
      ledger.take(now, cost)
      tell("Reserved", now, cost)
      return { cost, at: now, held: true }
    }

    const giveBackUnsafe = (fiber: Fiber.Fiber<unknown, unknown>, reservation: Reservation): void => {
      if (!reservation.held) return
      reservation.held = false
      ledger.giveBack(reservation)
      tell("GivenBack", time.now(fiber), reservation.cost)
    }

    const settleUnsafe = (_fiber: Fiber.Fiber<unknown, unknown>, reservation: Reservation | undefined): void => {
      if (reservation === undefined) return ledger.settle(undefined)
      if (!reservation.held) return
      reservation.held = false
      ledger.settle(reservation.cost)
    }

    const traffic = guard.makePolicy<guard.Entry<never>, never>({
      enter: (fiber) => {
        depositUnsafe(fiber)
        return counted
      },
      exit: (_entry, exit, fiber) => {
        if (classify(exit)._tag === "Success") settleUnsafe(fiber, undefined)
      }
    })

    const step = <A>(f: (fiber: Fiber.Fiber<unknown, unknown>) => A): Effect.Effect<A> =>
      Effect.withFiber((fiber) => Effect.succeed(f(fiber)))

    return Object.assign(traffic, {
      deposit: step(depositUnsafe),
      tryReserve: (cost?: number) =>
        step((fiber) => Option.fromUndefinedOr(tryReserveUnsafe(fiber, cost ?? ledger.cost()))),
      giveBack: (reservation: Reservation) => step((fiber) => giveBackUnsafe(fiber, reservation)),
      settle: (reservation?: Reservation) => step((fiber) => settleUnsafe(fiber, reservation)),
      costOf: ledger.costOf,
      inspect: step((fiber) => ledger.state(time.now(fiber))),
      events: events.stream,
      depositUnsafe,
      tryReserveUnsafe,
      giveBackUnsafe,
      settleUnsafe
    })
  }
}

/**
 * The budget that grants every retry and counts nothing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noop: ShareBudget & QuotaBudget = Object.assign(
  Policy.make<never>({ effect: (self) => self, stream: (self) => self }),
  {
    deposit: Effect.void,
    tryReserve: (cost?: number) => Effect.sync(() => Option.some(granted(cost ?? 1))),
    giveBack: () => Effect.void,
    settle: () => Effect.void,
    costOf: () => 1,
    inspect: Effect.succeed<State>({ _tag: "Share", calls: 0, retries: 0, balance: Infinity }),
    events: Stream.empty,
    update: () => Effect.void,
    depositUnsafe: () => {},
    tryReserveUnsafe: (_fiber: Fiber.Fiber<unknown, unknown>, cost: number) => granted(cost),
    giveBackUnsafe: () => {},
    settleUnsafe: () => {}
  }
)

function granted(cost: number): Reservation {
  return { cost, at: 0, held: false }
}
