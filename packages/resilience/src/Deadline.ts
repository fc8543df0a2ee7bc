/**
 * Deadlines: end what takes too long.
 *
 * - `total` bounds a call with everything inside it, waits and retries included.
 * - `attempt` bounds one attempt.
 * - `firstItem` bounds the time that a stream waits for its first item.
 * - `idle` bounds the time that a stream waits between items.
 * - `leastRate` bounds how slowly a stream may flow.
 *
 * A deadline interrupts what it guards, waits for its finalizers, and fails with
 * `DeadlineExceeded`, or with what the `error` option makes of it: a stall is a
 * failure and never looks like a stream's end. A body that is past its deadline
 * but can't be interrupted is waited for; its result is dropped. Interrupting
 * the caller interrupts the body in the same way.
 *
 * What runs inside sees in `CurrentDeadline` when it will be ended; of nested
 * deadlines the nearest counts. Policies that wait look at it, so none of them
 * begins a wait that would outlast its caller. Of a stream that is the deadline
 * of the whole: what its source forks goes on from one item to the next. The
 * nearer one of the item that is waited for is known to `remaining` and to the
 * policies only where the pull itself runs, and in the attempts of a hedge.
 *
 * On a stream, time is watched while it waits for its upstream, which the first
 * pull opens. For `firstItem`, `idle` and `leastRate` only that waiting counts,
 * so a slow consumer never trips them; `total` and `attempt` count all time
 * since the first pull, and are looked at during each pull.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Alarms from "./internal/alarms.ts"
import {
  boundedEffect,
  boundedStream,
  CurrentStop,
  type Items,
  type Limit,
  type Limits,
  type Stop
} from "./internal/bounded.ts"
import * as check from "./internal/check.ts"
import { CurrentDeadline, deadlineOf } from "./internal/currentDeadline.ts"
import * as Events from "./internal/events.ts"
import * as Policy from "./internal/policy.ts"
import * as telemetry from "./internal/telemetry.ts"
import * as time from "./internal/time.ts"
import * as Outcome from "./Outcome.ts"

export { CurrentDeadline, CurrentStop, type Stop }

/**
 * The time that is left of the nearest deadline, never below zero; infinity
 * without one. Send it along with a request, and the service need not work for a
 * caller who is gone.
 *
 * **Example** (Passing on what is left)
 *
 * ```ts
 * import { Deadline } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Deadline.total("2 seconds")(
 *   Effect.flatMap(Deadline.remaining, (left) => Effect.log(`grpc-timeout: ${left}`))
 * )
 * ```
 *
 * @category references
 * @since 0.1.0
 */
export const remaining: Effect.Effect<Duration.Duration> = Effect.withFiber((fiber) =>
  Effect.succeed(Duration.millis(Math.max(0, deadlineOf(fiber) - time.now(fiber))))
)

/**
 * A deadline as a policy, whose limits can be read and changed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Deadline<out E, in Settings = Duration.Input> extends Policy.Policy<E> {
  /** Reads the limits; changes nothing. */
  readonly inspect: Effect.Effect<State>
  /** What happens from the subscription on. */
  readonly events: Stream.Stream<Event>
  /**
   * Changes the limits for calls that begin from now on; what is left out stays,
   * and running calls keep theirs. Throws a `RangeError` as the constructor does.
   */
  readonly update: (settings: Settings) => Effect.Effect<void>
}

/**
 * The limits that hold for a call that begins now; undefined where there is
 * none.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  /** Time for the call, or for one attempt. */
  readonly whole: Duration.Duration | undefined
  readonly firstItem: Duration.Duration | undefined
  readonly idle: Duration.Duration | undefined
  readonly leastRate: { readonly least: number; readonly window: Duration.Duration } | undefined
}

/**
 * A call was ended.
 *
 * @category models
 * @since 0.1.0
 */
export interface Event {
  readonly _tag: "Exceeded"
  readonly deadline: Kind
  /** The time that was too short; for the least rate, its window. */
  readonly limit: Duration.Duration
}

/**
 * Which deadline was exceeded.
 *
 * @category models
 * @since 0.1.0
 */
export type Kind = "total" | "attempt" | "first" | "idle" | "rate"

/**
 * Options that every deadline takes.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Name in metrics; keep it of low cardinality. Default `"default"`. */
  readonly name?: string | undefined
  /**
   * Whether the guarded stream's only waits after its first item are those of a source that claims `CurrentStop`. It saves a fiber for
   * each pull. Default `false`.
   */
  readonly cooperative?: boolean | undefined
}

const defaults = { name: "default", cooperative: false } satisfies Options

/**
 * Options of the deadlines that follow a stream's items.
 *
 * @category options
 * @since 0.1.0
 */
export interface ItemOptions extends Options {
  /** Which items count as items; keep-alives, for one, should not. Default: all. */
  readonly progress?: ((item: unknown) => boolean) | undefined
}

/**
 * How much of a stream must arrive.
 *
 * @category options
 * @since 0.1.0
 */
export interface LeastRate {
  /** The least weight that must arrive in any window, above zero. */
  readonly least: number
  /** The time waited for the stream that is judged, above zero. Kept in thousandths. */
  readonly window: Duration.Input
  /** What an item weighs, such as its bytes; what is not above zero adds nothing. Default: 1 for each item that is progress. */
  readonly weigh?: ((item: unknown) => number) | undefined
}

/**
 * What may change of a least rate.
 *
 * @category options
 * @since 0.1.0
 */
export type RateSettings = Pick<Partial<LeastRate>, "least" | "window">

/**
 * Puts an exceeded deadline into an error channel of one's own.
 *
 * @category options
 * @since 0.1.0
 */
export interface ErrorOption<E> {
  readonly error: (exceeded: DeadlineExceeded) => E
}

/**
 * The limits of one attempt; what is left out is not limited.
 *
 * @category options
 * @since 0.1.0
 */
export interface AttemptLimits {
  /** Time for all of the attempt, above zero. */
  readonly attempt?: Duration.Input | undefined
  /** Time that a stream may wait for its first item, above zero. */
  readonly firstItem?: Duration.Input | undefined
  /** Time that a stream may wait between items, above zero. It starts with the first item. */
  readonly idle?: Duration.Input | undefined
  /** How slowly a stream may flow. It starts with the first item. */
  readonly leastRate?: LeastRate | undefined
}

/**
 * What may change of the limits of one attempt.
 *
 * @category options
 * @since 0.1.0
 */
export type AttemptSettings = Omit<AttemptLimits, "leastRate"> & { readonly leastRate?: RateSettings | undefined }

/**
 * Bounds a call with everything inside it.
 *
 * **Details**
 *
 * `DeadlineExceeded` of this kind is not retryable. Throws a `RangeError` when
 * the duration is not finite and above zero.
 *
 * @category constructors
 * @since 0.1.0
 */
export function total(duration: Duration.Input, options?: Options): Deadline<DeadlineExceeded>
export function total<E>(duration: Duration.Input, options: Options & ErrorOption<E>): Deadline<E>
export function total<E>(
  duration: Duration.Input,
  options?: Options & Partial<ErrorOption<E>>
): Deadline<E | DeadlineExceeded> {
  return single("total", "whole", duration, options)
}

/**
 * Bounds one attempt.
 *
 * **Details**
 *
 * Throws a `RangeError` when the duration is not finite and above zero.
 *
 * @category constructors
 * @since 0.1.0
 */
export function attempt(duration: Duration.Input, options?: Options): Deadline<DeadlineExceeded>
export function attempt<E>(duration: Duration.Input, options: Options & ErrorOption<E>): Deadline<E>
export function attempt<E>(
  duration: Duration.Input,
  options?: Options & Partial<ErrorOption<E>>
): Deadline<E | DeadlineExceeded> {
  return single("attempt", "whole", duration, options)
}

/**
 * Bounds the time that a stream waits for its first item. On an effect it does
 * nothing.
 *
 * **Details**
 *
 * Throws a `RangeError` when the duration is not finite and above zero.
 *
 * @category constructors
 * @since 0.1.0
 */
export function firstItem(duration: Duration.Input, options?: ItemOptions): Deadline<DeadlineExceeded>
export function firstItem<E>(duration: Duration.Input, options: ItemOptions & ErrorOption<E>): Deadline<E>
export function firstItem<E>(
  duration: Duration.Input,
  options?: ItemOptions & Partial<ErrorOption<E>>
): Deadline<E | DeadlineExceeded> {
  return single("firstItem", "first", duration, options)
}

/**
 * Bounds the time that a stream waits between items. On an effect it does
 * nothing.
 *
 * **Details**
 *
 * It starts with the first item and covers the wait for the stream's end too.
 * Throws a `RangeError` when the duration is not finite and above zero.
 *
 * @category constructors
 * @since 0.1.0
 */
export function idle(duration: Duration.Input, options?: ItemOptions): Deadline<DeadlineExceeded>
export function idle<E>(duration: Duration.Input, options: ItemOptions & ErrorOption<E>): Deadline<E>
export function idle<E>(
  duration: Duration.Input,
  options?: ItemOptions & Partial<ErrorOption<E>>
): Deadline<E | DeadlineExceeded> {
  return single("idle", "idle", duration, options)
}

/**
 * Bounds how slowly a stream may flow: in any window of waiting, items of the
 * least weight must arrive. On an effect it does nothing.
 *
 * **When to use**
 *
 * Use it against a stream that stays alive by a trickle, which `idle` takes for
 * progress.
 *
 * **Details**
 *
 * The first window starts with the first item and is judged when it is full. The
 * stream is ended at the moment at which too little is left in the window behind
 * it. Throws a `RangeError` when an option is out of its bounds.
 *
 * **Example** (Asking for ten kilobytes per second)
 *
 * ```ts
 * import { Deadline } from "@ballast/resilience"
 *
 * const deadline = Deadline.leastRate({
 *   least: 50_000,
 *   window: "5 seconds",
 *   weigh: (chunk) => chunk instanceof Uint8Array ? chunk.length : 0
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export function leastRate(rate: LeastRate, options?: ItemOptions): Deadline<DeadlineExceeded, RateSettings>
export function leastRate<E>(rate: LeastRate, options: ItemOptions & ErrorOption<E>): Deadline<E, RateSettings>
export function leastRate<E>(
  rate: LeastRate,
  options?: ItemOptions & Partial<ErrorOption<E>>
): Deadline<E | DeadlineExceeded, RateSettings> {
  const specOf = (where: string, changes: RateSettings, before: Spec): Spec => ({
    ...before,
    rate: rateOf(where, "", changes, before.rate)
  })
  return build<E, RateSettings>({
    kind: "attempt",
    where: "Deadline.leastRate",
    settings: rate,
    specOf,
    weigh: rate.weigh,
    options
  })
}

/**
 * Bounds an attempt, its first item, its idle times and its least rate in one
 * policy, which costs less than four.
 *
 * **Details**
 *
 * Throws a `RangeError` when an option is out of its bounds, and when
 * `firstItem`, `idle` or the window of `leastRate` is longer than `attempt`.
 *
 * @category constructors
 * @since 0.1.0
 */
export function make(options: AttemptLimits & ItemOptions): Deadline<DeadlineExceeded, AttemptSettings>
export function make<E>(options: AttemptLimits & ItemOptions & ErrorOption<E>): Deadline<E, AttemptSettings>
export function make<E>(
  options: AttemptLimits & ItemOptions & Partial<ErrorOption<E>>
): Deadline<E | DeadlineExceeded, AttemptSettings> {
  const { attempt, firstItem, idle, leastRate } = options
  return build<E, AttemptSettings>({
    kind: "attempt",
    where: "Deadline.make",
    settings: { attempt, firstItem, idle, leastRate },
    specOf: attemptSpec,
    weigh: leastRate?.weigh,
    options
  })
}

const attemptSpec = (where: string, settings: AttemptSettings, before: Spec): Spec => {
  const { attempt, firstItem, idle, leastRate } = settings
  const spec = {
    whole: attempt === undefined ? before.whole : check.positive(where, "attempt", attempt),
    first: firstItem === undefined ? before.first : check.positive(where, "firstItem", firstItem),
    idle: idle === undefined ? before.idle : check.positive(where, "idle", idle),
    rate: leastRate === undefined ? before.rate : rateOf(where, "leastRate.", leastRate, before.rate)
  }
  check.notLonger(where, "firstItem", spec.first, "attempt", spec.whole)
  check.notLonger(where, "idle", spec.idle, "attempt", spec.whole)
  check.notLonger(where, "leastRate.window", spec.rate?.window, "attempt", spec.whole)
  return spec
}

const rateOf = (where: string, prefix: string, { least, window }: RateSettings, before: Spec["rate"]) => {
  const amount = least ?? before?.least ?? NaN
  if (!(amount > 0 && amount < Infinity)) check.refuse(where, `${prefix}least`, "a finite number above 0", least)
  return { least: amount, window: check.positive(where, `${prefix}window`, window ?? before?.window ?? 0) }
}

const single = <E>(
  name: "total" | "attempt" | "firstItem" | "idle",
  field: "whole" | "first" | "idle",
  settings: Duration.Input,
  options: (ItemOptions & Partial<ErrorOption<E>>) | undefined
): Deadline<E | DeadlineExceeded> =>
  build({
    kind: name === "total" ? "total" : "attempt",
    where: `Deadline.${name}`,
    settings,
    specOf: (where, duration) => ({ ...unlimited, [field]: check.positive(where, "duration", duration) }),
    weigh: undefined,
    options
  })

/** The limits of a deadline in milliseconds; undefined where there is none. */
interface Spec {
  readonly whole: number | undefined
  readonly first: number | undefined
  readonly idle: number | undefined
  readonly rate: { readonly least: number; readonly window: number } | undefined
}

const unlimited: Spec = { whole: undefined, first: undefined, idle: undefined, rate: undefined }

const build = <E, Settings>({ kind, options, settings, specOf, weigh, where }: {
  readonly kind: "total" | "attempt"
  readonly where: string
  readonly settings: Settings
  readonly specOf: (where: string, settings: Settings, before: Spec) => Spec
  readonly weigh: LeastRate["weigh"]
  readonly options: (ItemOptions & Partial<ErrorOption<E>>) | undefined
}): Deadline<E | DeadlineExceeded, Settings> => {
  const name = options?.name ?? defaults.name
  const error: (exceeded: DeadlineExceeded) => E | DeadlineExceeded = options?.error ?? identity
  const progress = options?.progress
  const items: Items = {
    progress,
    weigh: weigh ?? ((item) => progress === undefined || progress(item) ? 1 : 0),
    cooperative: options?.cooperative ?? defaults.cooperative
  }
  const events = Events.make<Event>()
  const alarms = Alarms.make()

  const limit = (kind: Kind, millis: number): Limit<E | DeadlineExceeded> => {
    const count = telemetry.makeExceeded(name, kind)
    const limit = Duration.millis(millis)
    const expire = Effect.withFiber((fiber) => {
      count(fiber)
      if (events.active) events.publish({ _tag: "Exceeded", deadline: kind, limit })
      return Effect.fail(error(new DeadlineExceeded({ deadline: kind, limit })))
    })
    return { millis, expire }
  }
  const limitsOf = ({ first, idle, rate, whole }: Spec): Limits<E | DeadlineExceeded> => ({
    whole: whole === undefined ? undefined : limit(kind, whole),
    first: first === undefined ? undefined : limit("first", first),
    idle: idle === undefined ? undefined : limit("idle", idle),
    rate: rate === undefined ? undefined : { ...limit("rate", rate.window), least: rate.least }
  })

  let spec = specOf(where, settings, unlimited)
  let limits = limitsOf(spec)

  const policy = Policy.make<E | DeadlineExceeded>({
    effect: (self) => boundedEffect(self, alarms, () => limits.whole),
    stream: (self) => boundedStream(self, items, alarms, () => limits)
  })
  const update = (changes: Settings): Effect.Effect<void> => {
    const change = () => specOf("Deadline.update", changes, spec)
    change()
    return Effect.sync(() => {
      spec = change()
      limits = limitsOf(spec)
    })
  }
  return Object.assign(policy, { inspect: Effect.sync(() => stateOf(spec)), events: events.stream, update })
}

const stateOf = ({ first, idle, rate, whole }: Spec): State => ({
  whole: optionalMillis(whole),
  firstItem: optionalMillis(first),
  idle: optionalMillis(idle),
  leastRate: rate && { least: rate.least, window: Duration.millis(rate.window) }
})

const optionalMillis = (millis: number | undefined) => millis === undefined ? undefined : Duration.millis(millis)

/**
 * The deadline that never ends anything.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noop: Deadline<never, unknown> = Object.assign(
  Policy.make<never>({ effect: (self) => self, stream: (self) => self }),
  { inspect: Effect.succeed(stateOf(unlimited)), events: Stream.empty, update: () => Effect.void }
)

/**
 * A call that a deadline ended.
 *
 * **Details**
 *
 * Counts as a failure of the dependency. It may be retried, except when the
 * total time is up.
 *
 * @category errors
 * @since 0.1.0
 */
export class DeadlineExceeded extends Schema.TaggedError<DeadlineExceeded>()("DeadlineExceeded", {
  deadline: Schema.Literals(["total", "attempt", "first", "idle", "rate"]),
  limit: Schema.Duration
}) {
  override get message() {
    const limit = Duration.format(this.limit)
    switch (this.deadline) {
      case "total":
        return `The call took longer than ${limit} in total`
      case "attempt":
        return `The attempt took longer than ${limit}`
      case "first":
        return `No first item came within ${limit}`
      case "idle":
        return `No further item came within ${limit}`
      case "rate":
        return `Too little of the stream came within ${limit}`
    }
  }

  get [Outcome.key](): Outcome.Outcome {
    return Outcome.failure({ retryable: this.deadline !== "total" })
  }
}
