/**
 * Carries the trace from program to program: over HTTP, and over any queue whose messages have headers or fields.
 *
 * `extract` reads W3C Trace Context (`traceparent`, `tracestate`), B3 (`b3`, or `x-b3-traceid` and the like), `baggage` and `x-trace-id`.
 * `inject` writes `traceparent`, `tracestate`, `baggage` and `x-trace-id`, and B3 where the settings ask for it. What can't be trusted is
 * bounded: a header that breaks its format counts as absent, and of the baggage only allowed names pass.
 *
 * `x-trace-id` is the id that people search for. It is the caller's if that is a sane one, of 8 to 128 letters, digits and `._:-`; else it
 * is the id of the trace. Lines of the log have it as `trace_id`.
 *
 * @see {@link https://www.w3.org/TR/trace-context/}
 * @see {@link https://www.w3.org/TR/baggage/}
 * @see {@link https://github.com/openzipkin/b3-propagation}
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as HttpTraceContext from "effect/http/HttpTraceContext"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import * as Carrier from "./Carrier.ts"

/**
 * What travels beside the span.
 *
 * @category models
 * @since 0.1.0
 */
export interface Carried {
  /** The id that the caller searches for, if it sent one in `x-trace-id` that is not the trace's own. */
  readonly traceId?: string | undefined
  /** `tracestate` as it came; at most 512 characters. */
  readonly traceState?: string | undefined
  /** The members of `baggage` whose names are allowed, as they came. */
  readonly baggage?: string | undefined
}

/**
 * What travels beside the span of the program at hand. Default nothing.
 *
 * @category references
 * @since 0.1.0
 */
export const Carried: Context.Reference<Carried | undefined> = Context.Reference(
  "@ballast/telemetry/Propagation/Carried",
  { defaultValue: (): Carried | undefined => undefined }
)

/**
 * A format that `inject` writes, by its name in `OTEL_PROPAGATORS`.
 *
 * @category models
 * @since 0.1.0
 */
export type Propagator = "tracecontext" | "baggage" | "b3" | "b3multi"

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** What is written. Everything is read. Default `["tracecontext", "baggage"]`. */
  readonly propagators: ReadonlyArray<Propagator>
  /** Names of baggage that are taken and passed on. Default none. */
  readonly baggage: ReadonlyArray<string>
}

const defaults: Options = { propagators: ["tracecontext", "baggage"], baggage: [] }

/**
 * The settings of `extract` and `inject`.
 *
 * @category references
 * @since 0.1.0
 */
export const Settings: Context.Reference<Options> = Context.Reference(
  "@ballast/telemetry/Propagation/Settings",
  { defaultValue: () => defaults }
)

/**
 * What `extract` found.
 *
 * @category models
 * @since 0.1.0
 */
export interface Incoming {
  /** The caller's span, to be the parent of the span that serves the call. */
  readonly parent: Tracer.ExternalSpan | undefined
  /** The caller names no span, and wants none to be recorded: B3's `0` alone. */
  readonly denied: boolean
  readonly carried: Carried | undefined
}

/** A version after `00` may add fields at the end; `ff` is forbidden. */
const laterVersion = /^(?!00|ff)[0-9a-f]{2}-([0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})(?:-.*)?$/

const b3Names = ["b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags"]

const zero = /^0+$/

const real = (span: Option.Option<Tracer.ExternalSpan>): Tracer.ExternalSpan | undefined =>
  Option.isSome(span) && !zero.test(span.value.traceId) && !zero.test(span.value.spanId) ? span.value : undefined

const w3cOf = (traceparent: string): Tracer.ExternalSpan | undefined => {
  const later = laterVersion.exec(traceparent)
  return real(HttpTraceContext.w3c(Object.assign(Object.create(null), {
    traceparent: later === null ? traceparent : `00-${later[1]}`
  })))
}

const b3Of = <C>(carrier: C, format: Carrier.Format<C>): Tracer.ExternalSpan | undefined => {
  if (format.get(carrier, "b3") === undefined && format.get(carrier, "x-b3-traceid") === undefined) return undefined
  const headers = Object.create(null)
  for (const name of b3Names) {
    const value = format.get(carrier, name)
    if (value !== undefined) headers[name] = value
  }
  const span = real(HttpTraceContext.b3(headers)) ?? real(HttpTraceContext.xb3(headers))
  return span && Tracer.externalSpan({ ...span, traceId: span.traceId.padStart(32, "0") })
}

const saneTraceId = /^[\w.:-]{8,128}$/
const saneTraceState = /^[\x20-\x7e\t]{1,512}$/
const saneMember = /^[\x20-\x7e]*$/
const maxBaggage = 8192

/** The members of a baggage whose names are allowed. */
const allowed = (baggage: string, names: ReadonlyArray<string>): string | undefined => {
  if (names.length === 0 || baggage.length > maxBaggage) return undefined
  const members = baggage.split(",", 64).map((member) => member.trim()).filter((member) =>
    saneMember.test(member) && names.includes(member.slice(0, Math.max(0, member.indexOf("="))).trim())
  )
  return members.length === 0 ? undefined : members.join(",")
}

/**
 * Reads the caller's context from a carrier.
 *
 * **Details**
 *
 * W3C comes before B3, whose `0` may come alone. A `traceparent` of a later version is read as far as version `00` defines it. The sampled flag is the caller's.
 * Without any context there is neither a parent nor anything carried: the trace then starts here.
 *
 * @category accessors
 * @since 0.1.0
 */
export const extract = <C = Record<string, unknown>>(
  carrier: C,
  // A carrier of another type comes with a format of its own.
  format: Carrier.Format<C> = Carrier.record as Carrier.Format<unknown>,
  settings: Options = defaults
): Incoming => {
  const traceparent = format.get(carrier, "traceparent")
  const w3c = traceparent === undefined ? undefined : w3cOf(traceparent)
  const parent = w3c ?? b3Of(carrier, format)
  const givenId = format.get(carrier, "x-trace-id")
  const traceId = givenId !== undefined && givenId !== parent?.traceId && saneTraceId.test(givenId)
    ? givenId
    : undefined
  const givenState = w3c && format.get(carrier, "tracestate")
  const traceState = givenState !== undefined && saneTraceState.test(givenState) ? givenState : undefined
  const givenBaggage = settings.baggage.length === 0 ? undefined : format.get(carrier, "baggage")
  const baggage = givenBaggage === undefined ? undefined : allowed(givenBaggage, settings.baggage)
  const carried = traceId === undefined && traceState === undefined && baggage === undefined
    ? undefined
    : { traceId, traceState, baggage }
  const denied = parent === undefined && (format.get(carrier, "b3") ?? format.get(carrier, "x-b3-sampled")) === "0"
  return { parent, denied, carried }
}

/**
 * The id that answers, calls upstream and lines of the log carry: the caller's, else that of the span's trace.
 *
 * @category accessors
 * @since 0.1.0
 */
export const traceIdOf = (carried: Carried | undefined, span: Tracer.AnySpan): string =>
  carried?.traceId ?? span.traceId.padStart(32, "0")

const writers: {
  readonly [P in Propagator]: (
    set: (name: string, value: string) => void,
    span: Tracer.AnySpan | undefined,
    carried: Carried | undefined
  ) => void
} = {
  tracecontext: (set, span, carried) => {
    if (span === undefined) return
    set("traceparent", `00-${span.traceId.padStart(32, "0")}-${span.spanId}-${span.sampled ? "01" : "00"}`)
    if (carried?.traceState !== undefined) set("tracestate", carried.traceState)
  },
  baggage: (set, _, carried) => {
    if (carried?.baggage !== undefined) set("baggage", carried.baggage)
  },
  b3: (set, span) => {
    if (span !== undefined) set("b3", `${span.traceId}-${span.spanId}-${span.sampled ? "1" : "0"}`)
  },
  b3multi: (set, span) => {
    if (span === undefined) return
    set("x-b3-traceid", span.traceId)
    set("x-b3-spanid", span.spanId)
    set("x-b3-sampled", span.sampled ? "1" : "0")
  }
}

/**
 * Writes the context of a fiber to a carrier, in one synchronous step; `inject` is the same as an effect. Writes nothing where
 * `Tracer.DisablePropagation` is set.
 *
 * @category accessors
 * @since 0.1.0
 */
export const injectUnsafe = <C>(
  fiber: Fiber.Fiber<unknown, unknown>,
  carrier: C,
  format: Carrier.Format<C>
): void => {
  const span = fiber.cache.span
  if (
    fiber.getRef(Tracer.DisablePropagation) ||
    (span !== undefined && Context.get(span.annotations, Tracer.DisablePropagation))
  ) return
  const carried = fiber.getRef(Carried)
  const set = (name: string, value: string) => format.set(carrier, name, value)
  for (const propagator of fiber.getRef(Settings).propagators) writers[propagator](set, span, carried)
  const traceId = span === undefined ? carried?.traceId : traceIdOf(carried, span)
  if (traceId !== undefined) set("x-trace-id", traceId)
}

/**
 * Writes the current span, and what travels beside it, to a carrier, and gives the carrier.
 *
 * **Example** (Sending a message that carries its trace)
 *
 * ```ts
 * import { Carrier, Propagation } from "@ballast/telemetry"
 * import { Effect } from "effect"
 *
 * const send = Effect.gen(function*() {
 *   const fields = yield* Propagation.inject(["ticket", "42"], Carrier.fields)
 *   yield* Effect.log("XADD", "tickets", "*", ...fields)
 * }).pipe(Effect.withSpan("send tickets", { kind: "producer" }))
 *
 * await Effect.runPromise(send)
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const inject = <C = Record<string, unknown>>(
  carrier: C,
  // A carrier of another type comes with a format of its own.
  format: Carrier.Format<C> = Carrier.record as Carrier.Format<unknown>
): Effect.Effect<C> =>
  Effect.withFiber((fiber) => {
    injectUnsafe(fiber, carrier, format)
    return Effect.succeed(carrier)
  })

/**
 * Runs a program inside the trace that a carrier names: its spans are children of the sender's, its log has the sender's `trace_id`.
 *
 * @category combinators
 * @since 0.1.0
 */
export const joined = <C = Record<string, unknown>>(
  carrier: C,
  // A carrier of another type comes with a format of its own.
  format: Carrier.Format<C> = Carrier.record as Carrier.Format<unknown>
) =>
<A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, Exclude<R, Tracer.ParentSpan>> =>
  Effect.withFiber((fiber) => {
    const { carried, parent } = extract(carrier, format, fiber.getRef(Settings))
    const program = carried === undefined ? self : Effect.provideService(self, Carried, carried)
    // Without a parent the program needs none: `ParentSpan` is looked up, never required.
    return parent === undefined
      ? program as Effect.Effect<A, E, Exclude<R, Tracer.ParentSpan>>
      : Effect.withParentSpan(program, parent, { captureStackTrace: false })
  })

const isPropagator = (name: string): name is Propagator => Object.hasOwn(writers, name)

const listOf = (text: string): ReadonlyArray<string> =>
  text.split(",").map((name) => name.trim()).filter((name) => name !== "")

const propagators = Config.String("OTEL_PROPAGATORS").pipe(Config.mapEffect((text) => {
  const names = listOf(text).filter((name) => name !== "none")
  const known = names.filter(isPropagator)
  const unknown = names.find((name) => !isPropagator(name))
  return unknown === undefined ? Effect.succeed(known) : Effect.fail(
    new Config.ConfigError(
      new ConfigProvider.SourceError({
        message: `OTEL_PROPAGATORS has ${JSON.stringify(unknown)}. Expected tracecontext, baggage, b3, b3multi or none.`
      })
    )
  )
}))

/**
 * The settings from the environment: `OTEL_PROPAGATORS`, and `BALLAST_BAGGAGE` with the names of baggage that pass. Fails when a
 * propagator is unknown.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: Layer.Layer<never, Config.ConfigError> = Layer.effect(
  Settings,
  Config.all({
    propagators: Config.withDefault(propagators, defaults.propagators),
    baggage: Config.withDefault(Config.map(Config.String("BALLAST_BAGGAGE"), listOf), defaults.baggage)
  })
)
