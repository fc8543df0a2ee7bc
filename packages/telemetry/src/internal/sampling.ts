/**
 * Which traces are exported. The head decides when a trace begins, by the parent's flag and a ratio of trace ids; a trace that it leaves out
 * is kept all the same when one of its spans fails or takes long. That is known at the end, so its spans wait until the trace's first span
 * in this process ends.
 */
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"

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

const wrong = (message: string) => Effect.fail(new Config.ConfigError(new ConfigProvider.SourceError({ message })))

const units: ReadonlyMap<string, number> = new Map([["ms", 1], ["s", 1_000], ["m", 60_000]])

/** The sampler from `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` and `BALLAST_TRACES_SLOW`. */
export const config: Config.Config<Sampler> = Config.all({
  name: Config.withDefault(Config.String("OTEL_TRACES_SAMPLER"), "parentbased_always_on"),
  argument: Config.withDefault(Config.Number("OTEL_TRACES_SAMPLER_ARG"), 1),
  slow: Config.withDefault(Config.String("BALLAST_TRACES_SLOW"), "30s")
}).pipe(Config.mapEffect(({ argument, name, slow }) => {
  const make = samplers.get(name)
  if (make === undefined) {
    return wrong(`OTEL_TRACES_SAMPLER is ${JSON.stringify(name)}. Expected one of ${[...samplers.keys()].join(", ")}.`)
  }
  if (!(argument >= 0 && argument <= 1)) return wrong(`OTEL_TRACES_SAMPLER_ARG is ${argument}. Expected 0 to 1.`)
  const [, number, unit = ""] = /^(\d+(?:\.\d+)?)(ms|s|m)$/.exec(slow.trim()) ?? []
  if (number === undefined) return wrong(`BALLAST_TRACES_SLOW is ${JSON.stringify(slow)}. Expected a time such as 30s.`)
  return Effect.succeed({ ...make(argument), slow: Duration.millis(Number(number) * (units.get(unit) ?? 1)) })
}))

/** The last 56 bits of a trace id are random by W3C's level 2; the same ids are chosen by every process with the same ratio. */
const isChosen = (traceId: string, ratio: number): boolean =>
  ratio >= 1 || (ratio > 0 && parseInt(traceId.slice(-13), 16) < ratio * 2 ** 52)

interface Ended {
  readonly span: Tracer.Span
  readonly time: bigint
  readonly exit: Exit.Exit<unknown, unknown>
}

/** What the spans of a trace share. */
interface Trace {
  readonly chosen: boolean
  /** Spans that ended before it was decided; undefined after. */
  waiting: Array<Ended> | undefined
  kept: boolean
}

/** Spans of one trace, and of all traces, that wait at most. */
const limits = { trace: 512, all: 20_000 }

/** Delegates to the exporter's span, except that the head's decision is its flag, and its end may wait. */
class Sampled implements Tracer.Span {
  readonly _tag = "Span"
  readonly inner: Tracer.Span
  readonly trace: Trace
  readonly parent: Option.Option<Tracer.AnySpan>
  readonly onEnd: (span: Sampled, time: bigint, exit: Exit.Exit<unknown, unknown>) => void

  constructor(inner: Tracer.Span, trace: Trace, onEnd: Sampled["onEnd"]) {
    this.inner = inner
    this.trace = trace
    this.parent = inner.parent
    this.onEnd = onEnd
  }

  get sampled(): boolean {
    return this.trace.chosen
  }
  get name(): string {
    return this.inner.name
  }
  get spanId(): string {
    return this.inner.spanId
  }
  get traceId(): string {
    return this.inner.traceId
  }
  get annotations(): Context.Context<never> {
    return this.inner.annotations
  }
  get status(): Tracer.SpanStatus {
    return this.inner.status
  }
  get attributes(): ReadonlyMap<string, unknown> {
    return this.inner.attributes
  }
  get links(): ReadonlyArray<Tracer.SpanLink> {
    return this.inner.links
  }
  get kind(): Tracer.SpanKind {
    return this.inner.kind
  }
  attribute(key: string, value: unknown): void {
    this.inner.attribute(key, value)
  }
  event(name: string, startTime: bigint, attributes?: Record<string, unknown>): void {
    this.inner.event(name, startTime, attributes)
  }
  addLinks(links: ReadonlyArray<Tracer.SpanLink>): void {
    this.inner.addLinks(links)
  }
  end(time: bigint, exit: Exit.Exit<unknown, unknown>): void {
    this.onEnd(this, time, exit)
  }
}

/** Whether a span's trace is exported, as far as that is known. */
export const isExported = (span: Tracer.AnySpan): boolean => span instanceof Sampled ? span.trace.kept : span.sampled

/** What a tracer tells of its spans. */
export interface Told {
  /** There was no room to wait for so many. */
  readonly dropped: (spans: number) => void
  /** One is exported. */
  readonly exported: () => void
}

/** A tracer that exports by `tracer` what the sampler keeps. */
export const make = (tracer: Tracer.Tracer, sampler: Sampler, { dropped, exported }: Told): Tracer.Tracer => {
  const slow = Duration.toNanosUnsafe(sampler.slow)
  let waiting = 0

  const release = (trace: Trace): ReadonlyArray<Ended> => {
    const ended = trace.waiting ?? []
    trace.waiting = undefined
    waiting -= ended.length
    return ended
  }

  const end = ({ exit, span, time }: Ended): void => {
    exported()
    span.end(time, exit)
  }

  const keep = (trace: Trace): void => {
    if (trace.kept) return
    trace.kept = true
    for (const ended of release(trace)) end(ended)
  }

  const isTelling = (span: Tracer.Span, time: bigint, exit: Exit.Exit<unknown, unknown>): boolean =>
    (Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)) || span.attributes.has("error.type") ||
    (span.status._tag === "Started" && time - span.status.startTime >= slow)

  const onEnd = (span: Sampled, time: bigint, exit: Exit.Exit<unknown, unknown>): void => {
    const { inner, trace } = span
    if (!trace.kept && isTelling(inner, time, exit)) keep(trace)
    if (trace.kept) return end({ span: inner, time, exit })
    const isLocalRoot = Option.isNone(span.parent) || !(span.parent.value instanceof Sampled)
    if (isLocalRoot) {
      release(trace)
    } else if (trace.waiting !== undefined) {
      if (trace.waiting.length >= limits.trace || waiting >= limits.all) return dropped(1)
      trace.waiting.push({ span: inner, time, exit })
      waiting++
    }
  }

  return Tracer.make({
    span(options) {
      const parent = Option.getOrUndefined(options.parent)
      const inner = tracer.span({ ...options, sampled: true })
      if (parent instanceof Sampled) return new Sampled(inner, parent.trace, onEnd)
      // Effect takes the parent's flag over by itself; whether it counts is the sampler's to say.
      const isMeant = options.sampled || parent?.sampled === false
      const chosen = isMeant && (parent !== undefined && sampler.byParent
        ? parent.sampled
        : isChosen(inner.traceId, sampler.ratio))
      return new Sampled(inner, { chosen, kept: chosen, waiting: [] }, onEnd)
    },
    ...(tracer.context && { context: tracer.context })
  })
}
