/**
 * A span as it is kept while its call runs: what most calls never need, since most traces are not exported, is made when it is read.
 */
import type * as Context from "effect/Context"
import * as Hex from "effect/encoding/Hex"
import type * as Exit from "effect/Exit"
import type * as Option from "effect/Option"
import type * as Tracer from "effect/Tracer"

/** What the spans of a trace share. */
export interface Trace {
  readonly id: string
  /** What the head decided. */
  readonly chosen: boolean
  /** Spans that ended before it was decided; undefined after. */
  waiting: Array<Span> | undefined
  kept: boolean
}

/** Attributes that are made when they are read; what is undefined is none. */
export type Attributes = () => Readonly<Record<string, unknown>>

export type Options = Parameters<Tracer.Tracer["span"]>[0]

type Event = readonly [name: string, time: bigint, attributes: Record<string, unknown> | undefined]

export class Span implements Tracer.Span {
  readonly _tag = "Span"
  readonly name: string
  readonly parent: Option.Option<Tracer.AnySpan>
  readonly annotations: Context.Context<never>
  readonly links: Array<Tracer.SpanLink>
  readonly kind: Tracer.SpanKind
  readonly startTime: bigint
  readonly trace: Trace
  readonly onEnd: (span: Span) => void
  events: Array<Event> | undefined = undefined
  endTime = 0n
  exit: Exit.Exit<unknown, unknown> | undefined = undefined
  /** Whether it has an `error.type` for which its trace is kept. */
  namesError = false
  /** Names, each with its value after it, and functions that give some. */
  given: Array<unknown> | undefined = undefined
  id: string | undefined = undefined

  constructor(options: Options, trace: Trace, onEnd: (span: Span) => void) {
    this.name = options.name
    this.parent = options.parent
    this.annotations = options.annotations
    this.links = options.links
    this.kind = options.kind
    this.startTime = options.startTime
    this.trace = trace
    this.onEnd = onEnd
  }

  get spanId(): string {
    return this.id ??= Hex.random(16)
  }
  get traceId(): string {
    return this.trace.id
  }
  get sampled(): boolean {
    return this.trace.chosen
  }
  get status(): Tracer.SpanStatus {
    const { endTime, exit, startTime } = this
    return exit === undefined ? { _tag: "Started", startTime } : { _tag: "Ended", startTime, endTime, exit }
  }

  get attributes(): ReadonlyMap<string, unknown> {
    const attributes = new Map<string, unknown>()
    const given = this.given ?? []
    for (let i = 0; i < given.length; i++) {
      const one = given[i]
      if (typeof one === "string") {
        attributes.set(one, given[++i])
      } else {
        const more = (one as Attributes)() // there is nothing else in it
        for (const name in more) if (more[name] !== undefined) attributes.set(name, more[name])
      }
    }
    return attributes
  }

  attribute(name: string, value: unknown): void {
    if (this.exit !== undefined) return
    if (name === "error.type") this.namesError = true
    if (this.given === undefined) this.given = [name, value]
    else this.given.push(name, value)
  }

  /** Gives it attributes that are made when they are read. An `error.type` among them keeps no trace. */
  later(attributes: Attributes): void {
    if (this.exit !== undefined) return
    if (this.given === undefined) this.given = [attributes]
    else this.given.push(attributes)
  }

  event(name: string, time: bigint, attributes?: Record<string, unknown>): void {
    if (this.exit !== undefined) return
    const event = [name, time, attributes] as const
    if (this.events === undefined) this.events = [event]
    else this.events.push(event)
  }

  addLinks(links: ReadonlyArray<Tracer.SpanLink>): void {
    if (this.exit !== undefined) return
    for (const link of links) this.links.push(link)
  }

  end(time: bigint, exit: Exit.Exit<unknown, unknown>): void {
    if (this.exit !== undefined) return
    this.endTime = time
    this.exit = exit
    this.onEnd(this)
  }
}

/** A program may give a span what can't be encoded, as a list that holds itself. It goes out without, and the spans beside it go out, too. */
export const safely = <A>(span: Span, encode: (span: Span) => A): A => {
  try {
    return encode(span)
  } catch {
    span.given = undefined
    span.events = undefined
    span.links.length = 0
    return encode(span)
  }
}
