/* oxlint-disable typescript/no-explicit-any -- generated code without types of its own, and what an exporter sends is whatever it is */
/** A collector on loopback, and what it got as spans: from OTLP by the protocol's own schemas, and from Zipkin's JSON. */
import { Effect } from "effect"
import { createServer, type Server } from "node:http"
import { createRequire } from "node:module"
import type { AddressInfo } from "node:net"

const { opentelemetry }: any = createRequire(import.meta.url)(
  "../../../../node_modules/@opentelemetry/otlp-transformer/build/src/generated/root.js"
)

export interface Span {
  readonly name: string
  readonly traceId: string
  readonly id: string
  readonly parent: string | undefined
  readonly kind: string
  /** `UNSET`, `OK` or `ERROR`; undefined in Zipkin's. */
  readonly status: string | undefined
  /** In nanoseconds. */
  readonly start: bigint
  readonly end: bigint
  readonly attributes: Readonly<Record<string, unknown>>
  readonly events: ReadonlyArray<string>
}

export const formats = ["http/json", "http/protobuf", "zipkin"] as const

export type Format = (typeof formats)[number]

/** The variables that export to a collector in a format. */
export const environment = (url: string, format: Format): Record<string, string> =>
  format === "zipkin"
    ? { OTEL_TRACES_EXPORTER: "zipkin", OTEL_EXPORTER_ZIPKIN_ENDPOINT: `${url}/api/v2/spans` }
    : { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${url}/v1/traces`, OTEL_EXPORTER_OTLP_PROTOCOL: format }

interface Body {
  readonly path: string
  readonly bytes: Buffer
}

const listen = (server: Server) =>
  Effect.acquireRelease(
    Effect.callback<string>((resume) => {
      server.listen(0, "127.0.0.1", () => {
        resume(Effect.succeed(`http://127.0.0.1:${(server.address() as AddressInfo).port}`))
      })
    }),
    () =>
      Effect.sync(() => {
        server.closeAllConnections()
        server.close()
      })
  )

/** Starts a server that notes the bodies that it gets, and answers as `answer` says, by default with 200. */
export const start = Effect.fnUntraced(function*() {
  const bodies: Array<Body> = []
  const url = yield* listen(createServer((request, response) => {
    const parts: Array<Buffer> = []
    request.on("data", (part: Buffer) => parts.push(part))
    request.on("end", () => {
      bodies.push({ path: request.url ?? "", bytes: Buffer.concat(parts) })
      response.end()
    })
  }))
  return { url, spans: () => bodies.flatMap(spansOf) }
})

/** Starts a service that answers each call in the same way, and notes the headers of the calls. */
export const service = Effect.fnUntraced(function*(status: number, body: object) {
  const calls: Array<Readonly<Record<string, unknown>>> = []
  const url = yield* listen(createServer((request, response) => {
    calls.push(request.headers)
    request.resume().on("end", () => {
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body))
    })
  }))
  return { url, calls }
})

const spansOf = ({ bytes, path }: Body): ReadonlyArray<Span> => {
  if (path.startsWith("/api")) return JSON.parse(bytes.toString()).map(ofZipkin)
  const schema = opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest
  const message = bytes[0] === "{".charCodeAt(0) ? schema.fromObject(withBytes(bytes)) : schema.decode(bytes)
  const wrong = schema.verify(message)
  if (wrong !== null) throw new Error(wrong)
  return message.resourceSpans.flatMap(({ scopeSpans }: any) =>
    scopeSpans.flatMap(({ spans }: any) => spans.map(ofOtlp))
  )
}

/** OTLP's JSON has ids in hex, where JSON of protobuf has bytes in base64. */
const withBytes = (bytes: Buffer): object =>
  JSON.parse(
    bytes.toString(),
    (key, value: unknown) =>
      /^(trace|span|parentSpan)Id$/.test(key) && typeof value === "string" ? Buffer.from(value, "hex") : value
  )

const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString("hex")

const kinds = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]

const valueOf = (value: any): unknown => {
  if (value.arrayValue != null) return value.arrayValue.values.map(valueOf)
  const found = value.stringValue ?? value.boolValue ?? value.doubleValue ?? value.intValue
  return typeof found === "object" ? Number(found) : found
}

const ofOtlp = (span: any): Span => ({
  name: span.name,
  traceId: hex(span.traceId),
  id: hex(span.spanId),
  parent: hex(span.parentSpanId) || undefined,
  kind: kinds[span.kind] ?? "",
  status: ["UNSET", "OK", "ERROR"][span.status?.code ?? 0],
  start: BigInt(String(span.startTimeUnixNano)),
  end: BigInt(String(span.endTimeUnixNano)),
  attributes: Object.fromEntries(span.attributes.map(({ key, value }: any) => [key, valueOf(value)])),
  events: span.events.map(({ name }: { readonly name: string }) => name)
})

const ofZipkin = (span: any): Span => ({
  name: span.name,
  traceId: span.traceId,
  id: span.id,
  parent: span.parentId,
  kind: span.kind ?? "INTERNAL",
  status: undefined,
  start: BigInt(span.timestamp) * 1000n,
  end: BigInt(span.timestamp + span.duration) * 1000n,
  attributes: span.tags,
  events: span.annotations.map(({ value }: { readonly value: string }) => value.split(" ", 1)[0])
})
