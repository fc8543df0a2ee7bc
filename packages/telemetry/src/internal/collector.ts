/**
 * The way to a collector: each request is bounded in time, few run at once, a failure is told at most once a minute, and what is lost is
 * counted. Nothing here makes a call wait.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as HttpBody from "effect/http/HttpBody"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import { droppedItems } from "./dropped.ts"
import { client } from "./post.ts"

export type Signal = "traces" | "metrics" | "logs"

/** Counts what is lost. */
export const dropped = (signal: Signal): Metric.Metric<number, Metric.CounterState<number>> =>
  Metric.withAttributes(droppedItems, { signal })

/** How what is sent is compressed. */
export type Compression = "none" | "gzip"

interface Batch {
  readonly signal: Signal
  readonly items: number
  tries: number
  /** What is sent, once it is compressed: not again for each try. */
  compressed?: HttpClientRequest.HttpClientRequest
}

/** What is in a body that goes to a collector. */
const batches = new WeakMap<HttpBody.HttpBody, Batch>()

/** Notes what is in a body, so that its loss can be counted. */
export const counted = (body: HttpBody.HttpBody, signal: Signal, items: number): HttpBody.HttpBody => {
  batches.set(body, { signal, items, tries: 0 })
  return body
}

/** A collector that accepts connections and never answers must not pile up requests. OpenTelemetry's default. */
const timeout = "10 seconds"

/** How many batches may wait for a slow collector. Batches that are sent again count, too. */
const maxBatches = 8

/** Effect's exporter tries a batch this often. */
const maxTries = 4

const quietMillis = 60_000

const noAnswer = (request: HttpClientRequest.HttpClientRequest) =>
  new HttpClientError.HttpClientError({
    reason: new HttpClientError.TransportError({ request, description: `no answer within ${timeout}` })
  })

/** Not one that is tried again. */
const tooMany = (request: HttpClientRequest.HttpClientRequest) =>
  new HttpClientError.HttpClientError({
    reason: new HttpClientError.EncodeError({ request, description: "the collector is too slow" })
  })

/** What an error says, and what lies at its bottom, such as a refused connection. The query of the address may hold a key. */
const reasonOf = (error: HttpClientError.HttpClientError): string => {
  const message = error.message.replace(/\?[^\s)]*/, "")
  let cause: unknown = error.reason.cause
  while (cause instanceof Error && cause.cause instanceof Error) cause = cause.cause
  return cause instanceof Error && cause.message !== "" ? `${message}: ${cause.message}` : message
}

const retried: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504])

/** A batch's request, compressed as the signal asks. Its loss is counted by the body as it was before. */
const compressing = (
  request: HttpClientRequest.HttpClientRequest,
  batch: Batch | undefined,
  compression: Readonly<Record<Signal, Compression>>
): Effect.Effect<HttpClientRequest.HttpClientRequest> => {
  if (batch === undefined || compression[batch.signal] === "none") return Effect.succeed(request)
  if (batch.compressed !== undefined) return Effect.succeed(batch.compressed)
  return Effect.map(
    HttpClientRequest.compressBody(request, "gzip"),
    (compressed) => batch.compressed = compressed
  )
}

export const layer = (compression: Readonly<Record<Signal, Compression>>): Layer.Layer<HttpClient.HttpClient> =>
  Layer.effect(
    HttpClient.HttpClient,
    Effect.sync(() => {
      let warnedAt: number | undefined
      const outstanding = new Set<Batch>()

      const warn = Effect.fnUntraced(function*(batch: Batch | undefined, reason: string) {
        const now = yield* Clock.currentTimeMillis
        if (warnedAt !== undefined && now - warnedAt < quietMillis) return
        warnedAt = now
        yield* Effect.logWarning("telemetry could not be exported", { signal: batch?.signal, reason })
      })

      const lost = (batch: Batch | undefined, isLast: boolean, reason: string) =>
        Effect.andThen(
          warn(batch, reason),
          Effect.suspend(() => {
            if (batch === undefined) return Effect.void
            batch.tries++
            if (!isLast && batch.tries < maxTries) return Effect.void
            outstanding.delete(batch)
            return Metric.update(dropped(batch.signal), batch.items)
          })
        )

      return HttpClient.transform(client, (_, request) =>
        Effect.suspend(() => {
          const batch = batches.get(request.body)
          if (batch !== undefined) {
            if (!outstanding.has(batch) && outstanding.size >= maxBatches) {
              const error = tooMany(request)
              return Effect.andThen(lost(batch, true, reasonOf(error)), Effect.fail(error))
            }
            outstanding.add(batch)
          }
          return Effect.flatMap(compressing(request, batch, compression), client.execute).pipe(
            Effect.timeoutOrElse({ duration: timeout, orElse: () => Effect.fail(noAnswer(request)) }),
            Effect.tap(({ status }) =>
              Effect.suspend(() => {
                if (status >= 300) return lost(batch, !retried.has(status), `the collector answered ${status}`)
                if (batch !== undefined) outstanding.delete(batch)
                return Effect.void
              })
            ),
            Effect.tapError((error) => lost(batch, false, reasonOf(error))),
            Effect.onInterrupt(() => lost(batch, true, "the program ended"))
          )
        }))
    })
  )
