/**
 * `POST /v1/chat/completions`: a whole answer, or a stream of server-sent events.
 *
 * **Whole answers** have the status that the call deserves, and nothing is sent before it ended.
 *
 * **Streams** wait for the first chunk before anything is sent, so an error before it has a real status. When the first
 * chunk takes longer than 15 seconds, the answer begins anyway with a comment (`: keep-alive`), and whenever nothing was sent for
 * that long another follows, so that proxies on the way keep the connection. An error after the beginning is an event
 * `data: {"error":{…}}`, after which the stream ends without `data: [DONE]`. Chunks pass as the service sent them; what arrives
 * together is written together. A slow reader slows the reading from upstream down.
 *
 * When the client goes away, the call upstream is interrupted at once in both cases. When the gateway stops and cuts a stream off, that is an
 * error like any other.
 *
 * @since 0.1.0
 */
import type { ChatChunk } from "@ballast/chat/ChatChunk"
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import type { CallError } from "@ballast/deepseek/DeepSeek"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as ChatBody from "./ChatBody.ts"
import type { Failure } from "./ErrorResponse.ts"
import * as ErrorResponse from "./ErrorResponse.ts"
import * as Exchange from "./Exchange.ts"
import type { Rejection } from "./Rejection.ts"

type Model = ChatModel<CallError>

const keepAliveInterval = "15 seconds"

const keepAlive = ": keep-alive\n\n"

const done = "data: [DONE]\n\n"

const event = (data: unknown): string => `data: ${JSON.stringify(data)}\n\n`

/** Batches of events that may wait for a slow reader. */
const capacity = 16

const headers = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache",
  // nginx would hold small events back.
  "x-accel-buffering": "no"
}

type Events = Queue.Queue<string, Failure | Cause.Done>

/** Fails when the request is cut off. */
type Cut = Effect.Effect<never, Rejection>

/** Reads the model's stream into the queue as events, until it ends, fails or is cut off. */
const produce = (
  queue: Events,
  chunks: Stream.Stream<ChatChunk, CallError>,
  exchange: Exchange.Exchange,
  cut: Cut,
  sent: () => void
) =>
  chunks.pipe(
    Stream.runForEachArray((chunks) => {
      let events = ""
      for (const chunk of chunks) {
        if (chunk.usage != null) exchange.usage = chunk.usage
        events += event(chunk)
      }
      sent()
      return Queue.offer(queue, events)
    }),
    Effect.raceFirst(cut),
    Queue.into(queue)
  )

/** The events after the first: the rest, then `[DONE]`, or the error in their place. */
const remaining = (queue: Events, exchange: Exchange.Exchange) =>
  Stream.fromQueue(queue).pipe(
    Stream.concat(Stream.succeed(done)),
    Stream.catchCause((cause) => Stream.fromEffect(Effect.as(reportDefect(cause), errorEvent(cause, exchange))))
  )

const reportDefect = (cause: Cause.Cause<Failure>) =>
  Cause.hasDies(cause) ? Effect.logError("a stream failed with a defect", cause) : Effect.void

const errorEvent = (cause: Cause.Cause<Failure>, exchange: Exchange.Exchange): string => {
  const error = ErrorResponse.fromCause(cause)
  Exchange.fail(exchange, error)
  return event(error.body)
}

/** Offers a comment whenever nothing was sent for a whole interval. */
const beat = (queue: Events, wasQuiet: () => boolean) =>
  Effect.sleep(keepAliveInterval).pipe(
    Effect.andThen(Effect.suspend(() => wasQuiet() ? Queue.offer(queue, keepAlive) : Effect.void)),
    Effect.forever
  )

const encoder = new TextEncoder()

const stream = Effect.fnUntraced(function*(
  model: Model,
  request: ChatRequest,
  exchange: Exchange.Exchange,
  cut: Cut
) {
  const queue: Events = yield* Queue.bounded<string, Failure | Cause.Done>(capacity)
  let quiet = true
  const wasQuiet = () => {
    const was = quiet
    quiet = true
    return was
  }
  yield* Effect.forkScoped(produce(queue, model.stream(request), exchange, cut, () => quiet = false))
  yield* Effect.forkScoped(beat(queue, wasQuiet))
  const first = yield* Queue.take(queue).pipe(Effect.catchIf(Cause.isDone, () => Effect.succeed("")))
  const body = Stream.concat(Stream.succeed(first), remaining(queue, exchange)).pipe(
    Stream.mapArray((events) => [encoder.encode(events.join(""))])
  )
  return HttpServerResponse.stream(body, { headers })
})

const complete = (model: Model, request: ChatRequest, exchange: Exchange.Exchange) =>
  Effect.map(model.complete(request), (completion) => {
    exchange.usage = completion.usage
    return HttpServerResponse.jsonUnsafe(completion)
  })

/**
 * Answers the current request by a call to the model. A stream that has begun when `cut` fails ends with that error.
 *
 * @category handlers
 * @since 0.1.0
 */
export const handle = (model: Model, cut: Cut = Effect.never) =>
(
  exchange: Exchange.Exchange,
  request: HttpServerRequest
): Effect.Effect<HttpServerResponse.HttpServerResponse, Failure, Scope.Scope> =>
  Effect.flatMap(ChatBody.read(request), (body) => {
    exchange.model = body.model
    if (body.stream !== true) return complete(model, body, exchange)
    exchange.stream = true
    return stream(model, body, exchange, cut)
  })
