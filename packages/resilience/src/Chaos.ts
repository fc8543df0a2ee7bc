/**
 * Chaos: disturbs calls on purpose, to find out what a program and its policies
 * do about it. It delays calls (latency), fails them (fault), or answers in the
 * place of the dependency (result), each at a rate of its own.
 *
 * Chance comes from a seed. Every call takes the same number of draws, whatever
 * is switched on, so a seed always disturbs the same calls, in the order in
 * which they begin, and switching one kind leaves the others as they were.
 *
 * It refuses to start in a production profile unless told. A latency comes
 * first and is over at once when the call is interrupted; then a fault comes
 * before a result. A stream is disturbed before its first item and not later.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as check from "./internal/check.ts"
import * as events from "./internal/events.ts"
import * as Policy from "./internal/policy.ts"
import * as telemetry from "./internal/telemetry.ts"
import * as time from "./internal/time.ts"

/**
 * The kinds of disturbances.
 *
 * @category models
 * @since 0.1.0
 */
export type Kind = "latency" | "fault" | "result"

/**
 * Disturbs programs with errors `E` and results `B`. Without results it is a
 * `Policy<E>`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Chaos<E, B = never> extends Omit<Policy.Policy<E>, "stream"> {
  <A, E1, R>(self: Effect.Effect<A, E1, R>): Effect.Effect<A | B, E1 | E, R>
  readonly stream: <A, E1, R>(self: Stream.Stream<A, E1, R>) => Stream.Stream<A | B, E1 | E, R>
  /** Switches one kind, or all of them, for calls that begin from now on. */
  readonly set: (kind: Kind | "all", on: boolean) => Effect.Effect<void>
  /** Changes settings while calls run; what is left out stays. Throws a `RangeError` as `make` does. */
  readonly update: (settings: Settings) => Effect.Effect<void>
  /** Reads the state; changes nothing. */
  readonly inspect: Effect.Effect<State>
  /** What happens from the subscription on. */
  readonly events: Stream.Stream<Event>
}

/**
 * The state of each kind: whether it is switched on, its rate, and how many
 * calls it disturbed.
 *
 * @category models
 * @since 0.1.0
 */
export type State = { readonly [K in Kind]: { readonly on: boolean; readonly rate: number; readonly injected: number } }

/**
 * What chaos does, and what is done to it.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  | { readonly _tag: "Delayed"; readonly delay: Duration.Duration }
  | { readonly _tag: "Failed" }
  | { readonly _tag: "Answered" }
  | { readonly _tag: "Switched"; readonly kind: Kind; readonly on: boolean }

/**
 * Settings that can change while calls run. A kind that `make` was not given has
 * nothing to disturb with, except for latency.
 *
 * @category options
 * @since 0.1.0
 */
export interface Settings {
  readonly latency?: Latency | undefined
  readonly fault?: Rate | undefined
  readonly result?: Rate | undefined
}

/**
 * How often.
 *
 * @category options
 * @since 0.1.0
 */
export interface Rate {
  /** Share of the calls, in [0, 1]. */
  readonly rate: number
}

/**
 * How often and how long calls are delayed.
 *
 * @category options
 * @since 0.1.0
 */
export interface Latency extends Rate {
  /** How long, zero or more and finite. */
  readonly delay: Duration.Input
  /** With this, each delay is drawn evenly from `delay` up to here; finite and at least `delay`. */
  readonly upTo?: Duration.Input | undefined
}

/**
 * Options of chaos.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<E = never, B = never> extends Settings {
  /** Name in errors, metrics and span events; keep it of low cardinality. Default `"default"`. */
  readonly name?: string | undefined
  /** What the draws depend on. Default `"chaos"`. */
  readonly seed?: string | number | undefined
  /** Whether all kinds are switched on at first. Default `true`. */
  readonly on?: boolean | undefined
  /** The profile that the program runs in. Default: `BALLAST_PROFILE`, or else `NODE_ENV`, of the configuration. */
  readonly profile?: string | undefined
  /** Whether it may start in a production profile, which has `production`, `prod` or `live` as a word of its name. Default `false`. */
  readonly allowInProduction?: boolean | undefined
  /** How calls fail: `Effect.fail`, `Effect.die`, or `Effect.never` for one that hangs. */
  readonly fault?: (Rate & { readonly effect: Effect.Effect<never, E> }) | undefined
  /** What is answered in place of the dependency; to a stream, as its one item. */
  readonly result?: (Rate & { readonly value: B }) | undefined
}

const defaults = { name: "default", seed: "chaos", on: true, allowInProduction: false } as const satisfies Options

/** Any of the words that is not a part of a longer one. */
const production = /(?<!\p{L})(?:production|prod|live)(?!\p{L})/iu

/** The first variable that says something: one of blanks is as good as none. */
const profileOf = Config.map(
  Config.all([Config.option(Config.String("BALLAST_PROFILE")), Config.option(Config.String("NODE_ENV"))]),
  (profiles) => profiles.find(Option.exists((profile) => profile.trim() !== "")) ?? Option.none<string>()
)

interface Injection {
  on: boolean
  rate: number
  injected: number
  readonly count: (fiber: Fiber.Fiber<unknown, unknown>) => void
}

interface Range {
  readonly from: number
  readonly to: number
}

const rateOf = (where: string, kind: Kind, rate: number): number =>
  rate >= 0 && rate <= 1 ? rate : check.refuse(where, `${kind}.rate`, "in [0, 1]", rate)

const rangeOf = (where: string, { delay, upTo }: Latency): Range => {
  const from = finite(where, "latency.delay", delay)
  const to = upTo === undefined ? from : finite(where, "latency.upTo", upTo)
  check.notLonger(where, "latency.delay", from, "latency.upTo", to)
  return { from, to }
}

const finite = (where: string, field: string, input: Duration.Input): number => {
  const millis = check.notNegative(where, field, input)
  return millis < Infinity ? millis : check.refuse(where, field, "finite", "Infinity")
}

/**
 * Creates chaos.
 *
 * **Details**
 *
 * Fails with `ChaosRefused` in a production profile, unless
 * `allowInProduction` is set, and where the configuration can't be read. Such a
 * profile has `production`, `prod` or `live` in its name, between other
 * characters than letters: `eu-production` and `prod2`, and to be safe also
 * `pre-production`, but not `preprod`. A program without any profile is not taken
 * for a production one. Throws a `RangeError` when an option is out of its bounds.
 *
 * **Example** (Failing one call in ten)
 *
 * ```ts
 * import { Chaos, Retry } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const chaos = yield* Chaos.make({ fault: { rate: 0.1, effect: Effect.fail("injected") } })
 *   return yield* Effect.succeed("answer").pipe(chaos, Retry.make({ times: 3 }))
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E = never, B = never>(options: Options<E, B>): Effect.Effect<Chaos<E, B>, ChaosRefused> => {
  const where = "Chaos.make"
  const name = options.name ?? defaults.name
  checked(where, options)
  const { fault, result } = options
  const waited = telemetry.makeWaited("chaos", name)

  const pause = (fiber: Fiber.Fiber<unknown, unknown>, millis: number): Effect.Effect<void> => {
    const since = time.now(fiber)
    return Effect.onExitPrimitive(Effect.sleep(millis), () => {
      waited(fiber, time.now(fiber) - since)
      return undefined
    })
  }

  const build = Effect.map(generator(options.seed ?? defaults.seed), (random) => {
    const injection = (kind: Kind): Injection => ({
      on: options.on ?? defaults.on,
      rate: options[kind]?.rate ?? 0,
      injected: 0,
      count: telemetry.makeInjected(name, kind)
    })
    const kinds = { latency: injection("latency"), fault: injection("fault"), result: injection("result") }
    let range: Range = options.latency === undefined ? { from: 0, to: 0 } : rangeOf(where, options.latency)
    const listeners = events.make<Event>()

    const hits = (kind: Kind, draw: number, fiber: Fiber.Fiber<unknown, unknown>): boolean => {
      const injection = kinds[kind]
      if (!injection.on || draw >= injection.rate) return false
      injection.injected++
      injection.count(fiber)
      return true
    }

    /** The disturbances of one call, all drawn in one step. */
    const draw = (fiber: Fiber.Fiber<unknown, unknown>) => {
      const latency = random.nextDoubleUnsafe()
      const length = random.nextDoubleUnsafe()
      const faulty = random.nextDoubleUnsafe()
      const answered = random.nextDoubleUnsafe()
      const delay = hits("latency", latency, fiber) ? range.from + length * (range.to - range.from) : undefined
      const failing = fault !== undefined && hits("fault", faulty, fiber) ? fault : undefined
      const answer = result !== undefined && failing === undefined && hits("result", answered, fiber)
        ? result
        : undefined
      if (listeners.active) {
        if (delay !== undefined) listeners.publish({ _tag: "Delayed", delay: Duration.millis(delay) })
        if (failing !== undefined) listeners.publish({ _tag: "Failed" })
        if (answer !== undefined) listeners.publish({ _tag: "Answered" })
      }
      return { delay, failing, answer }
    }

    const effect = <A, E1, R>(self: Effect.Effect<A, E1, R>): Effect.Effect<A | B, E1 | E, R> =>
      Effect.withFiber((fiber) => {
        const { answer, delay, failing } = draw(fiber)
        const disturbed: Effect.Effect<A | B, E1 | E, R> = failing !== undefined
          ? failing.effect
          : answer !== undefined
          ? Effect.succeed(answer.value)
          : self
        return delay === undefined ? disturbed : Effect.andThen(pause(fiber, delay), disturbed)
      })

    const stream = <A, E1, R>(self: Stream.Stream<A, E1, R>): Stream.Stream<A | B, E1 | E, R> =>
      Stream.unwrap(Effect.withFiber((fiber) => {
        const { answer, delay, failing } = draw(fiber)
        const disturbed: Stream.Stream<A | B, E1 | E, R> = failing !== undefined
          ? Stream.fromEffect(failing.effect)
          : answer !== undefined
          ? Stream.succeed(answer.value)
          : self
        return delay === undefined ? Effect.succeed(disturbed) : Effect.as(pause(fiber, delay), disturbed)
      }))

    const set = (kind: Kind | "all", on: boolean): Effect.Effect<void> =>
      Effect.sync(() => {
        for (const one of allKinds) {
          if ((kind !== "all" && kind !== one) || kinds[one].on === on) continue
          kinds[one].on = on
          if (listeners.active) listeners.publish({ _tag: "Switched", kind: one, on })
        }
      })

    const update = (settings: Settings): Effect.Effect<void> => {
      checked("Chaos.update", settings)
      return Effect.sync(() => {
        for (const kind of allKinds) kinds[kind].rate = settings[kind]?.rate ?? kinds[kind].rate
        if (settings.latency !== undefined) range = rangeOf("Chaos.update", settings.latency)
      })
    }

    const stateOf = ({ injected, on, rate }: Injection) => ({ on, rate, injected })

    return Object.assign(
      <A, E1, R>(self: Effect.Effect<A, E1, R>) => effect(self),
      // For the mark of a policy.
      Policy.identity,
      {
        stream,
        set,
        update,
        inspect: Effect.sync((): State => ({
          latency: stateOf(kinds.latency),
          fault: stateOf(kinds.fault),
          result: stateOf(kinds.result)
        })),
        events: listeners.stream
      }
    )
  })

  return options.allowInProduction === true ? build : Effect.andThen(refuseProduction(name, options.profile), build)
}

const allKinds = ["latency", "fault", "result"] as const

const checked = (where: string, settings: Settings): void => {
  for (const kind of allKinds) {
    const setting = settings[kind]
    if (setting !== undefined) rateOf(where, kind, setting.rate)
  }
  if (settings.latency !== undefined) rangeOf(where, settings.latency)
}

const generator = (seed: string | number) =>
  Random.withSeed(Effect.withFiber((fiber) => Effect.succeed(fiber.getRef(Random.Random))), seed)

const refuseProduction = (name: string, given: string | undefined): Effect.Effect<void, ChaosRefused> => {
  const profile: Effect.Effect<string | undefined, ChaosRefused> = given !== undefined
    ? Effect.succeed(given)
    : Effect.mapError(
      Effect.map(profileOf, Option.getOrUndefined),
      () => new ChaosRefused({ chaos: name, profile: undefined })
    )
  return Effect.flatMap(profile, (profile) =>
    profile !== undefined && production.test(profile)
      ? Effect.fail(new ChaosRefused({ chaos: name, profile }))
      : Effect.void)
}

/**
 * Chaos did not start, because the program runs in a production profile, or
 * because its profile can't be read from the configuration.
 *
 * @category errors
 * @since 0.1.0
 */
export class ChaosRefused extends Schema.TaggedError<ChaosRefused>()("ChaosRefused", {
  chaos: Schema.String,
  profile: Schema.optional(Schema.String)
}) {
  override get message() {
    return this.profile === undefined
      ? `Chaos "${this.chaos}" does not start: the profile can't be read from the configuration`
      : `Chaos "${this.chaos}" does not start in the profile "${this.profile}" unless allowInProduction is set`
  }
}

const resting = { on: false, rate: 0, injected: 0 }

/**
 * The chaos that disturbs nothing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noop: Chaos<never> = Object.assign(
  Policy.make<never>({ effect: (self) => self, stream: (self) => self }),
  {
    set: () => Effect.void,
    update: () => Effect.void,
    inspect: Effect.succeed<State>({ latency: resting, fault: resting, result: resting }),
    events: Stream.empty
  }
)
