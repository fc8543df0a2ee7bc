/**
 * A circuit breaker: stops calling a dependency that fails or is slow, and finds
 * out when it is well again.
 *
 * - *Closed*: calls run and are counted. It opens when its trip rule is met; by
 *   default when half of at least 10 calls of the last 10 seconds failed.
 * - *Open*: calls are rejected at once with `CircuitOpen` until the open time is
 *   over. The next call then finds it half-open; no timer is needed for that.
 * - *Half-open*: up to `probes` calls run, the rest are rejected, never held. As
 *   soon as `probeThreshold` of them succeeded it closes, and as soon as they no
 *   longer can it opens again.
 * - *Isolated* and *Disabled* are set by hand: no call gets through, or every one
 *   does and nothing is counted.
 *
 * A call counts once: of the attempts of a retry around it the first one is
 * counted. Later ones are rejected like any other, count as probes, and else
 * count neither way, so that one caller's retries open no circuit for others.
 *
 * Every decision is one synchronous step on a plain record, so concurrent
 * callers need no lock. A call belongs to the era (the stretch of one state) in
 * which it was admitted; a result that comes after its era changes nothing. An
 * interrupted or ignored call counts neither way, and gives a probe slot back. A
 * probe past `probeTimeout` loses its slot to the next caller and its result
 * changes nothing, but it is not interrupted: to bound a call's time, put an
 * attempt deadline inside.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as check from "./internal/check.ts"
import * as Machine from "./internal/circuit/machine.ts"
import * as Settings from "./internal/circuit/settings.ts"
import * as Saved from "./internal/circuit/snapshot.ts"
import * as Shown from "./internal/circuit/state.ts"
import type * as Rule from "./internal/circuit/trip.ts"
import { CurrentAttempt } from "./internal/currentAttempt.ts"
import * as Events from "./internal/events.ts"
import * as guard from "./internal/guard.ts"
import * as keyedPolicies from "./internal/keyed.ts"
import * as Policy from "./internal/policy.ts"
import * as rejection from "./internal/rejection.ts"
import * as telemetry from "./internal/telemetry.ts"
import * as time from "./internal/time.ts"
import type * as Keyed from "./Keyed.ts"
import * as Outcome from "./Outcome.ts"

export type { Settings } from "./internal/circuit/settings.ts"
export { Snapshot } from "./internal/circuit/snapshot.ts"
export type { State } from "./internal/circuit/state.ts"
export {
  allOf,
  anyOf,
  consecutive,
  consecutiveSlow,
  countWindow,
  type CountWindowOptions,
  type Rates,
  timeWindow,
  type TimeWindowOptions
} from "./internal/circuit/tripPolicy.ts"

/**
 * When a closed circuit opens, as plain data.
 *
 * @category models
 * @since 0.1.0
 */
export type Trip = Rule.Trip

/**
 * A circuit breaker as a policy, whose state can be read and set.
 *
 * @category models
 * @since 0.1.0
 */
export interface CircuitBreaker<in In = unknown> extends Policy.Policy<CircuitOpen, In> {
  /** Reads the state; changes nothing. */
  readonly inspect: Effect.Effect<Shown.State>
  /** Whether a call that came now would run; takes no probe slot. */
  readonly peek: Effect.Effect<boolean>
  /** What happens from the subscription on. */
  readonly events: Stream.Stream<Event>
  /**
   * Changes settings while calls run; what is left out stays. Counts are kept as
   * far as the new rule counts the same, and an opening under way keeps its
   * length. Throws a `RangeError` as `make` does.
   */
  readonly update: (settings: Settings.Settings) => Effect.Effect<void>
  /**
   * Opens the circuit now, for so long or for as long as the next opening would
   * last; then it goes on by itself. Throws a `RangeError` unless the duration is
   * finite and above zero.
   */
  readonly open: (duration?: Duration.Input) => Effect.Effect<void>
  /** Closes the circuit now and forgets all failures and openings; then it goes on by itself. */
  readonly close: Effect.Effect<void>
  /** Rejects every call until told otherwise. */
  readonly isolate: Effect.Effect<void>
  /** Lets every call through and counts none, until told otherwise. */
  readonly disable: Effect.Effect<void>
  /** Goes on as usual but rejects no call, until told otherwise. */
  readonly shadow: Effect.Effect<void>
  /** Ends `isolate` and `disable`, which leaves it closed, and `shadow`, which leaves it as it is. */
  readonly automatic: Effect.Effect<void>
  /** The state as plain data, which another breaker, process or time can go on from. */
  readonly export: Effect.Effect<Saved.Snapshot>
  /**
   * Goes on from a state that was exported; fails, and changes nothing, when it is not a snapshot. An opening goes on for
   * `maxOpenDuration` at most, unless `open(duration)` said how long.
   */
  readonly import: (snapshot: unknown) => Effect.Effect<void, InvalidSnapshot>
}

/**
 * Why a circuit breaker goes from one state to another.
 *
 * @category models
 * @since 0.1.0
 */
export type Because = Machine.Because

/**
 * The states in which a call is rejected; while half-open only when all probes
 * are taken.
 *
 * @category models
 * @since 0.1.0
 */
export type Rejecting = Machine.Rejecting

/**
 * What happens to a circuit and to its calls.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  /** A state begins. `openFor` is how long, when that is open. By hand and by import it may be the same state again. */
  | {
    readonly _tag: "Transitioned"
    readonly from: Shown.State["_tag"]
    readonly to: Shown.State["_tag"]
    readonly because: Because
    readonly openFor: Duration.Duration | undefined
    readonly shadow: boolean
  }
  /** A call was rejected. */
  | { readonly _tag: "Rejected"; readonly state: Rejecting; readonly retryAfter: Duration.Duration | undefined }
  /** A call ran that would have been rejected, were it not for shadow. */
  | { readonly _tag: "Spared"; readonly state: Rejecting }
  /** A probe past its limit lost its slot to the next caller. */
  | { readonly _tag: "ProbeReplaced" }
  /** Shadow begins or ends. */
  | { readonly _tag: "ShadowChanged"; readonly shadow: boolean }

/**
 * Options of a circuit breaker.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<in E = unknown> extends Settings.Settings {
  /** Name in errors, metrics and span events; keep it of low cardinality. Default `"default"`. */
  readonly name?: string | undefined
  /** Judges a finished call. Default `Outcome.classify`. */
  readonly classify?: Outcome.Classifier<E> | undefined
}

const defaults = { name: "default", classify: Outcome.classify } satisfies Options

type AnyFiber = Fiber.Fiber<unknown, unknown>

/** One call; without an admission its end does not count. */
interface Entry {
  readonly wait: Effect.Effect<never, CircuitOpen> | undefined
  readonly admission: Machine.Admitted | undefined
  /** `NaN` when slowness is not measured. */
  readonly startedAt: number
}

/** What a caller is answered, and the time that it holds for. */
interface Rejection {
  readonly state: Rejecting
  readonly millis: number | undefined
  readonly retryAfter: Duration.Duration | undefined
  readonly entry: Entry
}

const unjudged: Entry = { wait: undefined, admission: undefined, startedAt: NaN }

/** Reads the clock when it is first asked, and not again. */
const clockOf = (fiber: AnyFiber) => {
  let at: number | undefined
  return () => at ??= time.now(fiber)
}

/** A breaker that also says, in the same step, whether it may be dropped. */
interface Kept extends CircuitBreaker {
  readonly atRest: (fiber: AnyFiber) => boolean
}

const decodeSnapshot = Schema.decodeUnknownExit(Saved.Snapshot)

const messagesOf = (cause: Cause.Cause<unknown>) => Cause.prettyErrors(cause).map(({ message }) => message).join(", ")

const build = (where: string, options: Options | undefined): Effect.Effect<Kept> => {
  const name = options?.name ?? defaults.name
  const classify = options?.classify ?? defaults.classify
  const initial = Settings.merged({}, options ?? {})
  Settings.checked(where, initial, Context.empty())

  const rejected = telemetry.makeRejected("circuit-breaker", name)
  const transition = telemetry.makeTransition(name)
  const spared = telemetry.makeSpared(name)
  const shadowed = telemetry.makeShadow(name)

  return Effect.withFiber((fiber) => {
    let settings = initial
    let spec = Settings.checked(where, settings, fiber.context)
    const machine = Machine.make(spec, time.now(fiber))
    const events = Events.make<Event>()
    /** The entry of all unmeasured calls of a closed era: most calls need no other. */
    let shared: Entry | undefined
    let latest: Rejection | undefined
    transition(fiber, "closed", "closed")

    const transitioned = (fiber: AnyFiber, { because, from, to }: Machine.Transition) => {
      shared = undefined
      transition(fiber, Shown.nameOf[from], Shown.nameOf[to])
      if (!events.active) return
      const openFor = to === "Open" ? Duration.millis(machine.openFor) : undefined
      events.publish({ _tag: "Transitioned", from, to, because, openFor, shadow: machine.shadow })
    }

    const rejectionOf = (state: Rejecting, millis: number | undefined): Rejection => {
      const retryAfter = millis === undefined ? undefined : Duration.millis(millis)
      const wait = Effect.fail(rejection.make(CircuitOpen, { breaker: name, state, retryAfter }))
      return { state, millis, retryAfter, entry: { wait, admission: undefined, startedAt: NaN } }
    }

    const reject = (fiber: AnyFiber, state: Rejecting, left: number | undefined): Entry => {
      rejected(fiber)
      const millis = left === undefined ? undefined : Math.ceil(left)
      // All callers of one millisecond get the same answer.
      if (latest === undefined || latest.millis !== millis || latest.state !== state) {
        latest = rejectionOf(state, millis)
      }
      if (events.active) events.publish({ _tag: "Rejected", state, retryAfter: latest.retryAfter })
      return latest.entry
    }

    const admitted = (admission: Machine.Admitted, now: () => number): Entry => {
      if (admission.replaced && events.active) events.publish({ _tag: "ProbeReplaced" })
      const measured = spec.slowAfter !== Infinity
      const entry = { wait: undefined, admission, startedAt: measured ? now() : NaN }
      if (admission.probe === undefined && !measured) shared = entry
      return entry
    }

    const enter = (fiber: AnyFiber): Entry => {
      if (shared !== undefined) return fiber.getRef(CurrentAttempt) > 1 ? unjudged : shared
      const now = clockOf(fiber)
      const admission = Machine.admit(spec, machine, now)
      if (admission.transition !== undefined) transitioned(fiber, admission.transition)
      switch (admission._tag) {
        case "Admitted":
          return admission.probe === undefined && fiber.getRef(CurrentAttempt) > 1
            ? unjudged
            : admitted(admission, now)
        case "Rejected":
          return reject(fiber, admission.state, admission.retryAfter)
        case "Unjudged": {
          if (admission.spared !== undefined) {
            spared(fiber)
            if (events.active) events.publish({ _tag: "Spared", state: admission.spared })
          }
          return unjudged
        }
      }
    }

    const exit = (
      { admission, startedAt }: Entry,
      exit: Exit.Exit<unknown, unknown>,
      fiber: AnyFiber,
      held: number
    ): void => {
      if (admission === undefined) return
      const now = clockOf(fiber)
      // Before the classifier runs, which may throw.
      if (!Machine.release(spec, machine, admission, now)) return
      const outcome = classify(exit)
      if (outcome._tag === "Ignored") return
      const failed = outcome._tag === "Failure"
      const next = Machine.record(spec, machine, admission, {
        failed,
        slow: outcome.slow ?? (spec.slowAfter !== Infinity && now() - startedAt - held >= spec.slowAfter),
        retryAfter: failed && outcome.retryAfter !== undefined ? Duration.toMillis(outcome.retryAfter) : undefined
      }, now)
      if (next !== undefined) transitioned(fiber, next)
    }

    const isTimed = ({ startedAt }: Entry) => !Number.isNaN(startedAt)

    const read = <A>(f: (now: number) => A) => Effect.withFiber((fiber) => Effect.succeed(f(time.now(fiber))))

    /** A step that may change the state, and whether calls are rejected. */
    const step = (f: (now: number, fiber: AnyFiber) => ReadonlyArray<Machine.Transition | undefined>) =>
      Effect.withFiber((fiber) => {
        const before = machine.shadow
        const transitions = f(time.now(fiber), fiber)
        shared = undefined
        for (const next of transitions) if (next !== undefined) transitioned(fiber, next)
        const { shadow } = machine
        if (shadow !== before) {
          shadowed(fiber, shadow)
          if (events.active) events.publish({ _tag: "ShadowChanged", shadow })
        }
        return Effect.void
      })

    const control = (command: Machine.Command) => step((now) => [Machine.control(spec, machine, command, now)])

    const update = (changes: Settings.Settings): Effect.Effect<void> => {
      const where = "CircuitBreaker.update"
      Settings.checked(where, Settings.merged(settings, changes), Context.empty())
      return step((now, fiber) => {
        const next = Settings.merged(settings, changes)
        spec = Settings.checked(where, next, fiber.context)
        settings = next
        return [Machine.adapt(spec, machine, now)]
      })
    }

    return Effect.succeed(Object.assign(guard.makePolicy<Entry, CircuitOpen>({ enter, exit, isTimed }), {
      inspect: read((now) => Shown.of(spec, machine, now)),
      peek: read((now) => Machine.permits(spec, machine, now)),
      events: events.stream,
      update,
      open: (duration?: Duration.Input) =>
        control({
          _tag: "Open",
          duration: duration === undefined ? undefined : check.positive("CircuitBreaker.open", "duration", duration)
        }),
      close: control({ _tag: "Close" }),
      isolate: control({ _tag: "Isolate" }),
      disable: control({ _tag: "Disable" }),
      shadow: control({ _tag: "Shadow" }),
      automatic: control({ _tag: "Automatic" }),
      export: read((now) => Saved.save(machine, now)),
      import: (snapshot: unknown): Effect.Effect<void, InvalidSnapshot> =>
        Effect.suspend(() => {
          const decoded = decodeSnapshot(snapshot)
          return decoded._tag === "Success"
            ? step((now) => Saved.restore(spec, machine, decoded.value, now))
            // All of the cause: what is nested without end overflows the stack, and that is nonsense as well.
            : Effect.fail(new InvalidSnapshot({ breaker: name, details: messagesOf(decoded.cause) }))
        }),
      atRest: (fiber: AnyFiber) => Machine.atRest(spec, machine, time.now(fiber))
    }))
  })
}

/**
 * Creates a circuit breaker.
 *
 * **Details**
 *
 * The row of openings that a schedule counts ends once the circuit has stayed
 * closed for as long as it was last open. A slow probe counts as a failed one
 * when the trip rule judges how slow calls are; a slow call of a closed circuit
 * that succeeds counts for the slow share only.
 *
 * A stream is one call: it is admitted at its first pull and judged by its
 * exit. A consumer that stops early counts as a success once an item arrived,
 * and else as ignored. How slow it is goes by the time that its consumer waited
 * for items; what the consumer takes in between is not the dependency's.
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * **Example** (Opening for longer each time)
 *
 * ```ts
 * import { CircuitBreaker } from "@ballast/resilience"
 * import { Effect, Schedule } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const breaker = yield* CircuitBreaker.make({
 *     name: "catalogue",
 *     trip: CircuitBreaker.anyOf(CircuitBreaker.consecutive(5), CircuitBreaker.timeWindow({ slowRate: 0.8 })),
 *     slowAfter: "2 seconds",
 *     openDuration: Schedule.exponential("5 seconds"),
 *     maxOpenDuration: "2 minutes"
 *   })
 *   return yield* breaker(Effect.succeed("answer"))
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E = unknown>(options?: Options<E>): Effect.Effect<CircuitBreaker<E>> =>
  // Its programs fail with `E` alone.
  build("CircuitBreaker.make", options as Options | undefined)

/**
 * Creates a circuit breaker for each key; all have the same name.
 *
 * **Details**
 *
 * A key's breaker is dropped once it was idle for `idleTimeToLive`, 10 minutes by
 * default, its window of time is empty, and its last opening is over for as long
 * as it was. A row of failures and a window of calls know no time and are
 * forgotten with it. One that is isolated, disabled or in shadow is kept.
 *
 * @category constructors
 * @since 0.1.0
 */
export const keyed = (
  options?: Options & Keyed.Bounds
): Effect.Effect<Keyed.Updatable<CircuitOpen, CircuitBreaker, Settings.Settings>> => {
  const one = build("CircuitBreaker.keyed", options)
  return keyedPolicies.updatable<CircuitOpen, Settings.Settings, Kept>({
    make: () => one,
    atRest: (breaker, fiber) => breaker.atRest(fiber),
    idleTimeToLive: options?.idleTimeToLive,
    maxKeys: options?.maxKeys,
    merged: Settings.merged
  })
}

/**
 * The circuit breaker that does nothing: it is disabled for good.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noop: CircuitBreaker = Object.assign(
  Policy.make<CircuitOpen>({ effect: (self) => self, stream: (self) => self }),
  {
    inspect: Effect.succeed<Shown.State>({ _tag: "Disabled" }),
    peek: Effect.succeed(true),
    events: Stream.empty,
    update: () => Effect.void,
    open: () => Effect.void,
    close: Effect.void,
    isolate: Effect.void,
    disable: Effect.void,
    shadow: Effect.void,
    automatic: Effect.void,
    export: Effect.succeed<Saved.Snapshot>({
      version: 1,
      shadow: false,
      openings: 0,
      openFor: 0,
      byHand: false,
      phase: { _tag: "Disabled" }
    }),
    import: () => Effect.void
  }
)

/**
 * A call rejected because the circuit is open, half-open with all probes taken,
 * or isolated.
 *
 * **Details**
 *
 * `retryAfter` is the time until the next probe; unknown while half-open and
 * while isolated. The call did not run.
 *
 * @category errors
 * @since 0.1.0
 */
export class CircuitOpen extends Schema.TaggedError<CircuitOpen>()("CircuitOpen", {
  breaker: Schema.String,
  /** The state that the circuit was in. Default `"open"`. */
  state: Schema.Literals(["open", "half-open", "isolated"]).pipe(
    Schema.withConstructorDefault(Effect.succeed("open" as const))
  ),
  retryAfter: Schema.optional(Schema.Duration)
}) {
  override get message() {
    if (this.state === "isolated") return `Circuit breaker "${this.breaker}" is isolated by hand`
    const when = this.retryAfter === undefined ? "a probe is running" : `retry in ${Duration.format(this.retryAfter)}`
    return `Circuit breaker "${this.breaker}" is open: ${when}`
  }

  get [Outcome.key](): Outcome.Outcome {
    return Outcome.ignored({ retryAfter: this.retryAfter, executed: false })
  }
}

/**
 * A state that could not be imported.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidSnapshot extends Schema.TaggedError<InvalidSnapshot>()("InvalidSnapshot", {
  breaker: Schema.String,
  details: Schema.String
}) {
  override get message() {
    return `Circuit breaker "${this.breaker}" cannot go on from this state: ${this.details}`
  }
}
