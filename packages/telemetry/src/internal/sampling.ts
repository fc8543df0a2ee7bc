/**
 * Which traces are exported. The head decides when a trace begins, by the parent's flag and a ratio of trace ids; a trace that it leaves out
 * is kept all the same when one of its spans fails or takes long. That is known at the end, so its spans wait until the trace's first span
 * in this process ends.
 */
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Hex from "effect/encoding/Hex"
import * as Function from "effect/Function"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"
import { Span, type Trace } from "./span.ts"
import { share, wrong } from "./variables.ts"

export interface Sampler {
  /** Share of the traces that begin here. */
  readonly ratio: number
  /** Whether the parent's flag decides where there is a parent. */
  readonly byParent: boolean
  /** A span that takes as long keeps its trace. */
  readonly slow: Duration.Duration
}

type Head = Pick<Sampler, "ratio" | "byParent">

const samplers: ReadonlyMap<string, (argument: number) => Head> = new Map<string, (argument: number) => Head>([
  ["always_on", () => ({ ratio: 1, byParent: false })],
  ["always_off", () => ({ ratio: 0, byParent: false })],
  ["traceidratio", (ratio) => ({ ratio, byParent: false })],
  ["parentbased_always_on", () => ({ ratio: 1, byParent: true })],
  ["parentbased_always_off", () => ({ ratio: 0, byParent: true })],
  ["parentbased_traceidratio", (ratio) => ({ ratio, byParent: true })]
])

const units: ReadonlyMap<string, number> = new Map([["ms", 1], ["s", 1_000], ["m", 60_000]])

/** The sampler from `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` and `BALLAST_TRACES_SLOW`. */
export const config: Config.Config<Sampler> = Config.all({
  name: Config.withDefault(Config.String("OTEL_TRACES_SAMPLER"), "parentbased_always_on"),
  argument: share("OTEL_TRACES_SAMPLER_ARG"),
  slow: Config.withDefault(Config.String("BALLAST_TRACES_SLOW"), "30s")
}).pipe(Config.mapEffect(({ argument = 1, name, slow }) => {
  const make = samplers.get(name)
  if (make === undefined) {
    return wrong(`OTEL_TRACES_SAMPLER is ${JSON.stringify(name)}. Expected one of ${[...samplers.keys()].join(", ")}.`)
  }
  const [, number, unit = ""] = /^(\d+(?:\.\d+)?)(ms|s|m)$/.exec(slow.trim()) ?? []
  if (number === undefined) return wrong(`BALLAST_TRACES_SLOW is ${JSON.stringify(slow)}. Expected a time such as 30s.`)
  return Effect.succeed({ ...make(argument), slow: Duration.millis(Number(number) * (units.get(unit) ?? 1)) })
}))

/** The last 56 bits of a trace id are random by W3C's level 2; the same ids are chosen by every process with the same ratio. */
const isChosen = (traceId: string, ratio: number): boolean =>
  ratio >= 1 || (ratio > 0 && parseInt(traceId.slice(-13), 16) < ratio * 2 ** 52)

/** Spans of one trace, and of all traces, that wait at most. */
const limits = { trace: 512, all: 20_000 }

/** Whether a span's trace is exported, as far as that is known: one that names an error keeps it when it ends. */
export const isExported = (span: Tracer.AnySpan): boolean =>
  span instanceof Span ? span.trace.kept || span.namesError : span.sampled

/** What a tracer tells of its spans. */
export interface Told {
  /** There was no room to wait for so many. */
  readonly dropped: (spans: number) => void
  /** One that has ended is to be exported. */
  readonly exported: (span: Span) => void
}

/** A tracer that exports what the sampler keeps. */
export const make = (sampler: Sampler, { dropped, exported }: Told): Tracer.Tracer => {
  const slow = Duration.toNanosUnsafe(sampler.slow)
  let waiting = 0

  const release = (trace: Trace): ReadonlyArray<Span> => {
    const spans = trace.waiting ?? []
    trace.waiting = undefined
    waiting -= spans.length
    return spans
  }

  const isTelling = ({ endTime, exit, namesError, startTime }: Span): boolean =>
    namesError || endTime - startTime >= slow ||
    (exit?._tag === "Failure" && !Cause.hasInterruptsOnly(exit.cause))

  const onEnd = (span: Span): void => {
    const { trace } = span
    if (!trace.kept && isTelling(span)) {
      trace.kept = true
      for (const ended of release(trace)) exported(ended)
    }
    if (trace.kept) return exported(span)
    const isLocalRoot = Option.isNone(span.parent) || !(span.parent.value instanceof Span)
    if (isLocalRoot) {
      release(trace)
    } else if (trace.waiting !== undefined) {
      if (trace.waiting.length >= limits.trace || waiting >= limits.all) return dropped(1)
      trace.waiting.push(span)
      waiting++
    }
  }

  return Tracer.make({
    span(options) {
      const parent = Option.getOrUndefined(options.parent)
      if (parent instanceof Span) return new Span(options, parent.trace, onEnd)
      const id = parent?.traceId ?? Hex.random(32)
      // Effect takes the parent's flag over by itself; whether it counts is the sampler's to say.
      const isMeant = options.sampled || parent?.sampled === false
      const chosen = isMeant && (parent !== undefined && sampler.byParent
        ? parent.sampled
        : isChosen(id, sampler.ratio))
      return new Span(options, { id, chosen, kept: chosen, waiting: [] }, onEnd)
    }
  })
}

/** A tracer whose spans go nowhere: they have ids, which lines of the log and calls carry, and the caller's flag. */
const unexported = Tracer.make({
  span(options) {
    const parent = Option.getOrUndefined(options.parent)
    const trace = parent instanceof Span
      ? parent.trace
      : { id: parent?.traceId ?? Hex.random(32), chosen: options.sampled, kept: options.sampled, waiting: undefined }
    return new Span(options, trace, Function.constVoid)
  }
})

/** Where spans are not exported: one that makes no attributes and reads no clock, unless the program has a tracer of its own. */
export const withoutExport = (context: Context.Context<never>): Context.Context<never> =>
  Context.get(context, Tracer.Tracer) === Tracer.nativeTracer
    ? Context.make(Tracer.Tracer, unexported).pipe(Context.add(References.TracerTimingEnabled, false))
    : Context.empty()
