/** Clients that follow the events of runs, as server-sent events. */
import type * as Runs from "@ballast/workflow/Runs"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as ErrorResponse from "../../ErrorResponse.ts"
import type * as EventStream from "../../EventStream.ts"
import * as Exchange from "../../Exchange.ts"
import { Rejection } from "../../Rejection.ts"

export interface Options {
  readonly runs: Pick<Runs.Runs, "events">
  readonly streams: EventStream.EventStreams<Rejection>
  readonly out: (request: HttpServerRequest) => EventStream.Out
  /** Whether the gateway stops: then nothing waits for a run. */
  readonly stopping: () => boolean
}

/** What an event stream answers with: its own bytes have been written. */
const written = HttpServerResponse.empty({ status: 200 })

/** Event streams of runs at a time. */
const maxReaders = 1_000

const tooManyReaders = new Rejection({
  case: "Busy",
  detail: `${maxReaders} clients follow runs already. Ask for the run itself, or try again later.`,
  retryAfter: Duration.seconds(10)
})

const toText = ({ data, seq, type }: Runs.Recorded): string => `id: ${seq}\nevent: ${type}\ndata: ${data}\n\n`

/** Ends when the gateway begins to stop. */
export const stop = (stopping: () => boolean) =>
  Effect.asVoid(Effect.repeat(Effect.sync(stopping), { until: (is) => is, schedule: Schedule.spaced("200 millis") }))

export const make = ({ out, runs, stopping, streams }: Options) => {
  let readers = 0
  /** Writes the events of a run after a number. */
  return (exchange: Exchange.Exchange, request: HttpServerRequest, id: string, after: number) =>
    Effect.uninterruptibleMask((restore) => {
      if (readers >= maxReaders) return Effect.fail(tooManyReaders)
      readers++
      exchange.stream = true
      const events = runs.events(id, after).pipe(
        Stream.mapError(() => new Rejection({ case: "RecordsUnavailable", detail: "The events can not be read now." })),
        // The client comes back with the id of the last event.
        Stream.interruptWhen(stop(stopping))
      )
      const write = streams.write(out(request), events, {
        headers: () => {
          Exchange.begin(exchange, 200)
          return { ...Exchange.headers(exchange), "x-ballast-run": id }
        },
        items: (items) => items.map(toText).join(""),
        end: () => "",
        error: (cause) => {
          const error = ErrorResponse.fromCause(cause)
          Exchange.fail(exchange, error, cause)
          return `event: error\ndata: ${JSON.stringify(error.body)}\n\n`
        },
        ping: ": ping\n\n"
      })
      return Effect.ensuring(Effect.as(restore(write), written), Effect.sync(() => void readers--))
    })
}
