/**
 * A degradation switch: while it is on, calls are turned away before they run,
 * so that a `Fallback` around it answers them.
 *
 * It has three modes. *Automatic* asks a condition at each call, for example
 * whether a circuit is open (`whileOpen`); *degraded* and *normal* are set by
 * hand and hold until they are changed, whatever the condition says. The mode
 * can be flipped while calls run: it holds for those that begin after it, and
 * those under way go on.
 *
 * A decision takes one look and never waits, and there is nothing that an
 * interruption could leave behind. A call that is turned away has not run and is
 * no failure of the dependency.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as check from "./internal/check.ts"
import * as Events from "./internal/events.ts"
import * as Policy from "./internal/policy.ts"
import * as rejection from "./internal/rejection.ts"
import * as telemetry from "./internal/telemetry.ts"
import * as Keyed from "./Keyed.ts"
import * as Outcome from "./Outcome.ts"

/**
 * Who decides: the condition, or a hand that has set it.
 *
 * @category models
 * @since 0.1.0
 */
export type Mode = "automatic" | "degraded" | "normal"

/**
 * A degradation switch as a policy, which can be read and flipped.
 *
 * @category models
 * @since 0.1.0
 */
export interface Degrade extends Policy.Policy<Degraded> {
  /** Sets the mode for calls that begin from now on. */
  readonly set: (mode: Mode) => Effect.Effect<void>
  /** Reads the state; changes nothing. */
  readonly inspect: Effect.Effect<State>
  /** What happens from the subscription on. */
  readonly events: Stream.Stream<Event>
}

/**
 * The state of a switch: its mode, and whether a call would be turned away now.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  readonly mode: Mode
  readonly degraded: boolean
}

/**
 * What happens to a switch and to calls.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  /** The mode was set to another one. */
  | { readonly _tag: "Switched"; readonly from: Mode; readonly to: Mode }
  /** A call was turned away. */
  | { readonly _tag: "Degraded"; readonly because: Degraded["because"] }

/**
 * Options of a switch.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Name in errors and metrics; keep it of low cardinality. Default `"default"`. */
  readonly name?: string | undefined
  /** The mode at first. Default `"automatic"`. */
  readonly mode?: Mode | undefined
  /** Whether to degrade in the automatic mode, asked at each call; keep it cheap. Default: never. */
  readonly when?: Effect.Effect<boolean> | undefined
}

const modes: ReadonlyArray<Mode> = ["automatic", "degraded", "normal"]

const defaults = { name: "default", mode: "automatic", when: Effect.succeed(false) } as const satisfies Options

const modeOf = (where: string, mode: Mode): Mode =>
  modes.includes(mode) ? mode : check.refuse(where, "mode", modes.join(", "), mode)

/** A switch that also says, in the same step, whether it may be dropped. */
interface Kept extends Degrade {
  readonly atRest: () => boolean
}

const build = (where: string, options: Omit<Options, "when"> | undefined) => {
  const name = options?.name ?? defaults.name
  const initial = modeOf(where, options?.mode ?? defaults.mode)
  const rejected = telemetry.makeRejected("degrade", name)

  return (when: Effect.Effect<boolean>) =>
    Effect.sync((): Kept => {
      let mode = initial
      const events = Events.make<Event>()

      const reject = (because: Degraded["because"]): Effect.Effect<never, Degraded> =>
        Effect.withFiber((fiber) => {
          rejected(fiber)
          if (events.active) events.publish({ _tag: "Degraded", because })
          return Effect.fail(rejection.make(Degraded, { degrade: name, because }))
        })

      const manually = reject("manual")
      const automatically = reject("automatic")

      const before = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | Degraded, R> =>
        Effect.suspend((): Effect.Effect<A, E | Degraded, R> => {
          switch (mode) {
            case "normal":
              return self
            case "degraded":
              return manually
            case "automatic":
              return when === defaults.when
                ? self
                : Effect.flatMap(when, (degraded): Effect.Effect<A, E | Degraded, R> => degraded ? automatically : self)
          }
        })

      const set = (next: Mode): Effect.Effect<void> => {
        modeOf("Degrade.set", next)
        return Effect.sync(() => {
          if (next === mode) return
          const from = mode
          mode = next
          if (events.active) events.publish({ _tag: "Switched", from, to: next })
        })
      }

      const policy = Policy.make<Degraded>({
        effect: before,
        stream: (self) => Stream.unwrap(before(Effect.succeed(self)))
      })
      return Object.assign(policy, {
        set,
        inspect: Effect.suspend(() =>
          Effect.map(
            mode === "automatic" ? when : Effect.succeed(mode === "degraded"),
            (degraded): State => ({ mode, degraded })
          )
        ),
        events: events.stream,
        atRest: () => mode === initial
      })
    })
}

/**
 * Creates a degradation switch.
 *
 * **Details**
 *
 * A stream is turned away before its first pull and not later. A defect in
 * `when` is a defect of the call. Throws a `RangeError` when the mode is none.
 *
 * **Example** (Answering from a table while the circuit is open)
 *
 * ```ts
 * import { CircuitBreaker, Degrade, Fallback } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const breaker = yield* CircuitBreaker.make({ name: "prices" })
 *   const degrade = yield* Degrade.make({ name: "prices", when: Degrade.whileOpen(breaker) })
 *   const table = yield* Fallback.make({ on: Fallback.tag("Degraded", "CircuitOpen") }, Fallback.value(12))
 *   return yield* Effect.succeed(13).pipe(breaker, degrade, table)
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options?: Options): Effect.Effect<Degrade> =>
  build("Degrade.make", options)(options?.when ?? defaults.when)

/**
 * Options of a switch for each key.
 *
 * @category options
 * @since 0.1.0
 */
export interface KeyedOptions extends Omit<Options, "when">, Keyed.Bounds {
  /** As for one switch, or by key. */
  readonly when?: Effect.Effect<boolean> | ((key: string) => Effect.Effect<boolean>) | undefined
}

/**
 * Creates a switch for each key, such as a feature or a tenant; all have the
 * same name.
 *
 * **Details**
 *
 * A key's switch is dropped once it was idle for `idleTimeToLive`, 10 minutes by
 * default, and is in the mode that it began with.
 *
 * **Example** (Following a circuit for each key)
 *
 * ```ts
 * import { CircuitBreaker, Degrade } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const breakers = yield* CircuitBreaker.keyed()
 *   const switches = yield* Degrade.keyed({ when: (key) => Effect.flatMap(breakers.get(key), Degrade.whileOpen) })
 *   return yield* Effect.succeed("answer").pipe(breakers("shard 1"), switches("shard 1"))
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const keyed = (options?: KeyedOptions): Effect.Effect<Keyed.Keyed<Degraded, Degrade>> => {
  const one = build("Degrade.keyed", options)
  const when = options?.when ?? defaults.when
  return Keyed.make<Degraded, Kept>({
    make: (key) => one(Effect.isEffect(when) ? when : when(key)),
    atRest: (degrade) => degrade.atRest(),
    idleTimeToLive: options?.idleTimeToLive,
    maxKeys: options?.maxKeys
  })
}

/**
 * The switch that is always off.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noop: Degrade = Object.assign(
  Policy.make<Degraded>({ effect: (self) => self, stream: (self) => self }),
  {
    set: () => Effect.void,
    inspect: Effect.succeed<State>({ mode: "normal", degraded: false }),
    events: Stream.empty
  }
)

/**
 * The condition that a circuit is open and not yet due for a probe.
 *
 * **Details**
 *
 * A breaker in shadow rejects no call, so it degrades none either.
 *
 * Once a probe is due the calls go on to the breaker, which lets as many of them
 * through as it wants and rejects the others itself: a switch that kept them all
 * away would never see the circuit close.
 *
 * @category conditions
 * @since 0.1.0
 */
export const whileOpen = (breaker: {
  readonly inspect: Effect.Effect<{
    readonly _tag: string
    readonly retryAfter?: Duration.Duration | undefined
    readonly shadow?: boolean | undefined
  }>
}): Effect.Effect<boolean> =>
  Effect.map(breaker.inspect, ({ _tag, retryAfter, shadow }) => {
    if (_tag === "Isolated") return true
    return _tag === "Open" && shadow !== true && (retryAfter === undefined || Duration.isPositive(retryAfter))
  })

/**
 * A call turned away because the switch is on: by hand, or because its
 * condition holds. The call did not run.
 *
 * @category errors
 * @since 0.1.0
 */
export class Degraded extends Schema.TaggedError<Degraded>()("Degraded", {
  degrade: Schema.String,
  because: Schema.Literals(["manual", "automatic"])
}) {
  override get message() {
    const why = this.because === "manual" ? "it is switched on by hand" : "its condition holds"
    return `Calls are degraded by "${this.degrade}": ${why}`
  }

  get [Outcome.key](): Outcome.Outcome {
    return Outcome.ignored({ executed: false })
  }
}
