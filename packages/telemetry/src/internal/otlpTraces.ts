/**
 * Spans as OTLP, posted in batches by Effect's exporter. A span is encoded soon after its end: Effect's own tracer keeps a map for each span from its
 * beginning, and all of a batch as objects until it is sent.
 */
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
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
import { mask, masked } from "./mask.ts"
import { Span } from "./span.ts"

type Scoped = TraceData["resourceSpans"][number]["scopeSpans"][number]
type OtlpSpan = Scoped["spans"][number]

const kinds: { readonly [K in Tracer.SpanKind]: number } = {
  internal: 1,
  server: 2,
  client: 3,
  producer: 4,
  consumer: 5
}

/** `OK` is for an application to say, not for what observes it. */
const status = { unset: 0, error: 2 } as const

const attributesOf = (record: Readonly<Record<string, unknown>> | undefined): Array<OtlpResource.KeyValue> =>
  record === undefined ? [] : OtlpResource.entriesToAttributes(Object.entries(record))

/** How a span ended, with the exceptions that it ended with as events. */
const ended = ({ endTime, exit }: Span, { attributes, events }: Pick<OtlpSpan, "attributes" | "events">) => {
  if (exit?._tag !== "Failure") return { code: status.unset }
  if (Cause.hasInterruptsOnly(exit.cause)) {
    attributes.push({ key: "effect.fiber.interrupted", value: { boolValue: true } })
    return { code: status.unset }
  }
  const errors = Cause.prettyErrors(exit.cause, { includeCauseInStack: true })
  for (const { message, name, stack = "No stack trace available" } of errors) {
    events.push({
      name: "exception",
      timeUnixNano: String(endTime),
      attributes: attributesOf({
        "exception.type": name,
        "exception.message": message,
        "exception.stacktrace": stack
      }),
      droppedAttributesCount: 0
    })
  }
  return errors[0] === undefined ? { code: status.unset } : { code: status.error, message: errors[0].message }
}

const toOtlp = (span: Span): OtlpSpan => {
  const attributes = OtlpResource.entriesToAttributes(span.attributes)
  const events = (span.events ?? []).map(([name, time, attributes]) => ({
    name,
    timeUnixNano: String(time),
    attributes: attributesOf(attributes),
    droppedAttributesCount: 0
  }))
  return {
    traceId: span.traceId.padStart(32, "0"),
    spanId: span.spanId,
    parentSpanId: Option.isSome(span.parent) ? span.parent.value.spanId : undefined,
    name: span.name,
    kind: kinds[span.kind],
    startTimeUnixNano: String(span.startTime),
    endTimeUnixNano: String(span.endTime),
    status: ended(span, { attributes, events }),
    attributes,
    events,
    links: span.links.map(({ attributes, span }) => ({
      traceId: span.traceId.padStart(32, "0"),
      spanId: span.spanId,
      attributes: attributesOf(attributes),
      droppedAttributesCount: 0
    })),
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0
  }
}

/** OTLP writes numbers as text that JSON has none for, and JSON writes null. */
const nonFinite = (_: string, value: unknown): unknown =>
  typeof value === "number" && !Number.isFinite(value) ? String(value) : value

/** The beginnings of attributes by their names, which are those of the code: few. */
const beginnings = new Map<string, string>()
const maxBeginnings = 1024

const beginningOf = (name: string): string => {
  let beginning = beginnings.get(name)
  if (beginning === undefined) {
    beginning = `,{"key":${JSON.stringify(name)},"value":{`
    if (beginnings.size < maxBeginnings) beginnings.set(name, beginning)
  }
  return beginning
}

/** The one field of a value. */
const valueJson = (value: unknown): string => {
  if (typeof value === "string") return `"stringValue":${JSON.stringify(value)}`
  if (typeof value === "boolean") return `"boolValue":${value}`
  if (Number.isSafeInteger(value)) return `"intValue":${value}`
  if (Array.isArray(value)) {
    return `"arrayValue":{"values":[${Array.from(value, (one) => `{${valueJson(one)}}`).join()}]}`
  }
  return JSON.stringify(OtlpResource.unknownToAttributeValue(value), nonFinite).slice(1, -1)
}

/**
 * A span that ended well, without events and links, as most do. It is written field by field, since the objects of its attributes would cost more than their
 * text. Fields that are zero or empty are left out.
 */
const plainJson = (span: Span): string => {
  let attributes = ""
  for (const [name, value] of span.attributes) {
    attributes += `${beginningOf(name)}${valueJson(value)}}}`
  }
  // The ids of a caller's span are a program's to choose.
  const parent = Option.isSome(span.parent) ? `"parentSpanId":${JSON.stringify(span.parent.value.spanId)},` : ""
  const traceId = JSON.stringify(span.traceId.padStart(32, "0"))
  return `{"traceId":${traceId},"spanId":"${span.spanId}",${parent}"name":${JSON.stringify(span.name)},"kind":${
    kinds[span.kind]
  },"startTimeUnixNano":"${span.startTime}","endTimeUnixNano":"${span.endTime}","status":{"code":${status.unset}},"attributes":[${
    attributes.slice(1)
  }]}`
}

const toJson = (span: Span): string => {
  const isPlain = span.exit?._tag === "Success" && span.events === undefined && span.links.length === 0
  return mask(isPlain ? plainJson(span) : JSON.stringify(toOtlp(span), nonFinite))
}

/** A batch as it is posted, its spans as text. */
const jsonBody = (resource: OtlpResource.Resource, scope: Scoped["scope"]) => {
  const head = `{"resourceSpans":[{"resource":${mask(JSON.stringify(resource))},"scopeSpans":[{"scope":${
    JSON.stringify(scope)
  },"schemaUrl":"${schemaUrl}","spans":[`
  return (spans: ReadonlyArray<string>): HttpBody.HttpBody =>
    HttpBody.text(`${head}${spans.join(",")}]}]}]}`, "application/json")
}

/** A span that has ended, and in its place what it is encoded as. */
interface Ended<A> {
  form: Span | A
}

/** Spans that are encoded one after the other, while code and data are in the processor's caches. So many wait at most. */
const together = 16

/** A program may give a span what can't be encoded, as a list that holds itself. It goes out without, and the spans beside it go out, too. */
const safely = <A>(encode: (span: Span) => A) => (span: Span): A => {
  try {
    return encode(span)
  } catch {
    span.given = undefined
    span.events = undefined
    span.links.length = 0
    return encode(span)
  }
}

/** Encodes spans soon after their end, and those of a batch that still wait when it is posted. */
const encoding = <A>(encode: (span: Span) => A) => {
  const encodeSafely = safely(encode)
  let waiting: Array<Ended<A>> = []
  const encoded = (ended: Ended<A>): A =>
    ended.form instanceof Span ? ended.form = encodeSafely(ended.form) : ended.form
  return {
    encoded,
    begin: (span: Span): Ended<A> => {
      const ended: Ended<A> = { form: span }
      if (waiting.push(ended) === together) {
        waiting.forEach(encoded)
        waiting = []
      }
      return ended
    }
  }
}

const millis = (name: string) => Config.option(Config.map(Config.Int(name), Duration.millis))

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
  delay: millis("OTEL_BSP_SCHEDULE_DELAY"),
  size: Config.withDefault(Config.Int("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"), 1000),
  timeouts: Config.all([
    millis("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"),
    millis("OTEL_EXPORTER_OTLP_TIMEOUT"),
    millis("OTEL_BSP_EXPORT_TIMEOUT")
  ])
})

/** A way to post spans to the collector of the environment; none without one. `counted` is told of what is sent. */
export const make = Effect.fnUntraced(function*(
  isJson: boolean,
  counted: (body: HttpBody.HttpBody, spans: number) => HttpBody.HttpBody
) {
  const { delay, headers, size, timeouts, url } = yield* config
  if (Option.isNone(url)) return undefined
  const resource = yield* OtlpResource.fromConfig()
  const { traces } = yield* OtlpSerialization
  const scope = { name: "effect", version: Version.getCurrentVersion() }
  const posting = Effect.fnUntraced(function*<A>(
    encode: (span: Span) => A,
    bodyOf: (spans: Array<A>) => HttpBody.HttpBody
  ) {
    const { begin, encoded } = encoding(encode)
    const exporter = yield* OtlpExporter.make({
      url: url.value.href,
      headers,
      label: "OtlpTracer",
      exportInterval: Option.getOrElse(delay, () => Duration.seconds(5)),
      maxBatchSize: size,
      shutdownTimeout: Option.getOrElse(Option.firstSomeOf(timeouts), () => Duration.seconds(3)),
      body: (spans: Array<Ended<A>>) => [counted(bodyOf(spans.map(encoded)), spans.length), Effect.void]
    })
    return (span: Span): void => exporter.push(begin(span))
  })
  if (isJson) return yield* posting(toJson, jsonBody(resource, scope))
  return yield* posting((span) => masked(toOtlp(span)), (spans) =>
    traces({
      resourceSpans: [{ resource: masked(resource), scopeSpans: [{ scope, spans, schemaUrl }] }]
    }))
})
