/**
 * Spans as OTLP, posted in batches by Effect's exporter. A span is encoded soon after its end: Effect's own tracer keeps a map for each span from its
 * beginning, and all of a batch as objects until it is sent.
 */
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as HttpBody from "effect/http/HttpBody"
import * as OtlpExporter from "effect/observability/OtlpExporter"
import * as OtlpResource from "effect/observability/OtlpResource"
import { OtlpSerialization } from "effect/observability/OtlpSerialization"
import type { TraceData } from "effect/observability/OtlpTracer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Tracer from "effect/Tracer"
import * as Version from "effect/Version"
import { schemaUrl } from "../GenAi.ts"
import * as batches from "./batches.ts"
import { mask, masked } from "./mask.ts"
import { safely, type Span } from "./span.ts"

type Scoped = TraceData["resourceSpans"][number]["scopeSpans"][number]
type OtlpSpan = Scoped["spans"][number]

/** A span in JSON: fields that are zero or empty, as most are in most spans, are left out. */
type JsonSpan =
  & Omit<OtlpSpan, "droppedAttributesCount" | "droppedEventsCount" | "droppedLinksCount" | "events" | "links">
  & { readonly events: OtlpSpan["events"] | undefined; readonly links: OtlpSpan["links"] | undefined }

const kinds: { readonly [K in Tracer.SpanKind]: number } = {
  internal: 1,
  server: 2,
  client: 3,
  producer: 4,
  consumer: 5
}

/** `OK` is for an application to say, not for what observes it. */
const status = { unset: 0, error: 2 } as const

type ValueOf = (value: unknown) => OtlpResource.AnyValue

/** OTLP writes numbers as text that JSON has none for. */
const jsonValue: ValueOf = (value) => {
  if (Array.isArray(value)) return { arrayValue: { values: Array.from(value, jsonValue) } }
  if (typeof value !== "number" || Number.isFinite(value)) return OtlpResource.unknownToAttributeValue(value)
  return { doubleValue: String(value) as unknown as number } // protobuf's mapping to JSON has both
}

type Attributes = OtlpSpan["attributes"]

const attributesOf = (record: Readonly<Record<string, unknown>>, valueOf: ValueOf): Attributes =>
  Object.entries(record).map(([key, value]) => ({ key, value: valueOf(value) }))

const eventsOf = ({ events }: Span, valueOf: ValueOf): JsonSpan["events"] =>
  events?.map(([name, time, attributes = {}]) => ({
    name,
    timeUnixNano: String(time),
    attributes: attributesOf(attributes, valueOf),
    droppedAttributesCount: 0
  }))

const linksOf = ({ links }: Span, valueOf: ValueOf): JsonSpan["links"] =>
  links.length === 0 ? undefined : links.map(({ attributes, span }) => ({
    traceId: span.traceId.padStart(32, "0"),
    spanId: span.spanId,
    attributes: attributesOf(attributes, valueOf),
    droppedAttributesCount: 0
  }))

const exceptionOf = ({ message, name, stack = "No stack trace available" }: Error, time: bigint) => ({
  name: "exception",
  timeUnixNano: String(time),
  attributes: OtlpResource.entriesToAttributes(
    Object.entries({ "exception.type": name, "exception.message": message, "exception.stacktrace": stack })
  ),
  droppedAttributesCount: 0
})

type End = Pick<JsonSpan, "status" | "attributes" | "events">

/** How a span ended, with the exceptions that it ended with as events. */
const endOf = ({ endTime, exit }: Span, attributes: Attributes, events: JsonSpan["events"]): End => {
  const well = { status: { code: status.unset }, attributes, events }
  if (exit?._tag !== "Failure") return well
  if (Cause.hasInterruptsOnly(exit.cause)) {
    return { ...well, attributes: [...attributes, { key: "effect.fiber.interrupted", value: { boolValue: true } }] }
  }
  const errors = Cause.prettyErrors(exit.cause, { includeCauseInStack: true })
  return errors[0] === undefined ? well : {
    status: { code: status.error, message: errors[0].message },
    attributes,
    events: [...events ?? [], ...errors.map((error) => exceptionOf(error, endTime))]
  }
}

const toOtlp = (span: Span, valueOf: ValueOf): JsonSpan => {
  const given: Attributes = []
  for (const [key, value] of span.attributes) given.push({ key, value: valueOf(value) })
  const { attributes, events, status } = endOf(span, given, eventsOf(span, valueOf))
  return {
    traceId: span.traceId.padStart(32, "0"),
    spanId: span.spanId,
    parentSpanId: Option.isSome(span.parent) ? span.parent.value.spanId : undefined,
    name: span.name,
    kind: kinds[span.kind],
    startTimeUnixNano: String(span.startTime),
    endTimeUnixNano: String(span.endTime),
    status,
    attributes,
    events,
    links: linksOf(span, valueOf)
  }
}

/**
 * Spans as the elements of a list in JSON, outside of V8's heap, where each collection would copy them. V8 has a faster way for texts that are flat, which
 * the result of `+` is not: names that calls share, and ids, are made with `join`.
 */
const toJson = (spans: ReadonlyArray<Span>): Buffer =>
  Buffer.from(mask(JSON.stringify(spans.map((span) => safely(span, (span) => toOtlp(span, jsonValue)))).slice(1, -1)))

const comma = Buffer.from(",")

/** A batch as it is posted. */
const jsonBody = (resource: OtlpResource.Resource, scope: Scoped["scope"]) => {
  const head = Buffer.from(
    `{"resourceSpans":[{"resource":${mask(JSON.stringify(resource))},"scopeSpans":[{"scope":${
      JSON.stringify(scope)
    },"schemaUrl":"${schemaUrl}","spans":[`
  )
  const tail = Buffer.from("]}]}]}")
  return (groups: ReadonlyArray<Buffer>): HttpBody.HttpBody => {
    const listed = groups.flatMap((text, index) => index === 0 ? [text] : [comma, text])
    return HttpBody.uint8Array(Buffer.concat([head, ...listed, tail]), "application/json")
  }
}

const toProtobuf = (spans: ReadonlyArray<Span>): Array<OtlpSpan> =>
  spans.map((span) => {
    const { events = [], links = [], ...more } = safely(
      span,
      (span) => toOtlp(span, OtlpResource.unknownToAttributeValue)
    )
    const dropped = { droppedAttributesCount: 0, droppedEventsCount: 0, droppedLinksCount: 0 }
    return masked({ ...more, events, links, ...dropped })
  })

/** Spans that are encoded one after the other, while code and data are in the processor's caches. So many wait at most. */
const together = 16

/** Spans that have ended: some that wait, or what they are encoded as. */
interface Group<A> {
  readonly waiting: Array<Span>
  /** All that came. */
  count: number
  encoded: A | undefined
}

const headers = (name: string) => Config.Record(Schema.String, Schema.StringFromUriComponent, name)

const config = Config.all({
  url: Config.URL("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").pipe(
    Config.orElse(() =>
      Config.map(
        Config.URL("OTEL_EXPORTER_OTLP_ENDPOINT"),
        (url) => new URL(`${url.pathname.replace(/\/$/, "")}/v1/traces${url.search}`, url)
      )
    ),
    Config.option
  ),
  headers: headers("OTEL_EXPORTER_OTLP_TRACES_HEADERS").pipe(
    Config.orElse(() => headers("OTEL_EXPORTER_OTLP_HEADERS")),
    Config.withDefault(undefined)
  ),
  batches: batches.config
})

/** A way to post spans to the collector of the environment; none without one. `counted` is told of what is sent. */
export const make = Effect.fnUntraced(function*(
  isJson: boolean,
  counted: (body: HttpBody.HttpBody, spans: number) => HttpBody.HttpBody
) {
  const { batches, headers, url } = yield* config
  if (Option.isNone(url)) return undefined
  const resource = yield* OtlpResource.fromConfig()
  const { traces } = yield* OtlpSerialization
  const scope = { name: "effect", version: Version.getCurrentVersion() }
  const posting = Effect.fnUntraced(function*<A>(
    encode: (spans: ReadonlyArray<Span>) => A,
    bodyOf: (groups: ReadonlyArray<A>) => HttpBody.HttpBody
  ) {
    let open: Group<A> | undefined
    const encoded = (group: Group<A>): A => {
      if (group === open) open = undefined
      return group.encoded ??= encode(group.waiting.splice(0))
    }
    const exporter = yield* OtlpExporter.make({
      url: url.value.href,
      headers,
      label: "OtlpTracer",
      ...batches,
      // A group is pushed once for each of its spans, one after the other.
      body: (pushed: Array<Group<A>>) => {
        const groups = pushed.filter((group, index) => group !== pushed[index - 1])
        const spans = groups.reduce((sum, { count }) => sum + count, 0)
        return [counted(bodyOf(groups.map(encoded)), spans), Effect.void]
      }
    })
    return (span: Span): void => {
      const group = open ??= { waiting: [], count: 0, encoded: undefined }
      group.waiting.push(span)
      if (++group.count === together) encoded(group)
      exporter.push(group)
    }
  })
  if (isJson) return yield* posting(toJson, jsonBody(resource, scope))
  return yield* posting(toProtobuf, (groups) =>
    traces({
      resourceSpans: [{ resource: masked(resource), scopeSpans: [{ scope, spans: groups.flat(), schemaUrl }] }]
    }))
})
