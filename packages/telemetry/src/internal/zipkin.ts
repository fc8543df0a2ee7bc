/** Spans in Zipkin's JSON (v2), posted in batches by Effect's exporter. */
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as HttpBody from "effect/http/HttpBody"
import * as OtlpExporter from "effect/observability/OtlpExporter"
import * as Option from "effect/Option"
import * as batches from "./batches.ts"
import { mask } from "./mask.ts"
import { safely, type Span } from "./span.ts"

interface ZipkinSpan {
  readonly traceId: string
  readonly id: string
  readonly parentId?: string
  readonly name: string
  readonly kind?: string
  /** In microseconds. */
  readonly timestamp: number
  readonly duration: number
  readonly localEndpoint: { readonly serviceName: string }
  readonly annotations?: ReadonlyArray<{ readonly timestamp: number; readonly value: string }>
  readonly tags?: Readonly<Record<string, string>>
}

const micros = (nanos: bigint): number => Number(nanos / 1000n)

const textOf = (value: unknown): string => typeof value === "object" ? JSON.stringify(value) : String(value)

const tagsOf = (span: Span, exit: Exit.Exit<unknown, unknown>): Record<string, string> => {
  const tags: Record<string, string> = {}
  for (const [key, value] of span.attributes) tags[key] = textOf(value)
  if (exit._tag === "Failure" && !Cause.hasInterruptsOnly(exit.cause)) {
    tags["error"] = Cause.prettyErrors(exit.cause)[0]?.message ?? "failed"
  }
  return tags
}

const toZipkin = (span: Span, serviceName: string): ZipkinSpan | undefined => {
  if (span.status._tag !== "Ended") return undefined
  const { endTime, exit, startTime } = span.status
  const kind = span.kind === "internal" ? undefined : span.kind.toUpperCase()
  return {
    traceId: span.traceId.padStart(32, "0"),
    id: span.spanId,
    ...(Option.isSome(span.parent) && { parentId: span.parent.value.spanId }),
    name: span.name,
    ...(kind !== undefined && { kind }),
    timestamp: micros(startTime),
    // Zipkin takes no duration of zero.
    duration: Math.max(1, micros(endTime - startTime)),
    localEndpoint: { serviceName },
    annotations: (span.events ?? []).map(([name, time, attributes]) => ({
      timestamp: micros(time),
      value: attributes === undefined ? name : `${name} ${textOf(attributes)}`
    })),
    tags: tagsOf(span, exit)
  }
}

const endpoint = Config.withDefault(
  Config.map(Config.URL("OTEL_EXPORTER_ZIPKIN_ENDPOINT"), String),
  "http://localhost:9411/api/v2/spans"
)

/** A way to post spans to `OTEL_EXPORTER_ZIPKIN_ENDPOINT`. `counted` is told of what is sent. */
export const make = Effect.fnUntraced(function*(
  serviceName: string,
  counted: (body: HttpBody.HttpBody, spans: number) => HttpBody.HttpBody
) {
  const url = yield* endpoint
  const exporter = yield* OtlpExporter.make({
    url,
    headers: undefined,
    label: "Zipkin",
    ...yield* batches.config,
    body: (spans: Array<ZipkinSpan>) => [
      counted(HttpBody.text(mask(JSON.stringify(spans)), "application/json"), spans.length),
      Effect.void
    ]
  })
  return (span: Span): void => {
    const zipkin = safely(span, (span) => toZipkin(span, serviceName))
    if (zipkin !== undefined) exporter.push(zipkin)
  }
})
