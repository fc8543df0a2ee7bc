/**
 * The road of every chat call, whole or streamed: reads the body, lets the dialect decode it, calls the model within the client's deadline,
 * and answers as the dialect encodes.
 *
 * **Whole answers** have the status that the call deserves, and nothing is sent before it ended. **Streams** are `EventStream`'s.
 *
 * When the client goes away, the call upstream is interrupted at once in both cases. When the gateway stops and cuts a stream off, that is an
 * error like any other.
 *
 * @since 0.1.0
 */
import * as AnswerMemory from "@ballast/chat/AnswerMemory"
import type { ChatChunk } from "@ballast/chat/ChatChunk"
import type { ChatCompletion } from "@ballast/chat/ChatCompletion"
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as WireText from "@ballast/chat/WireText"
import type { CallError } from "@ballast/deepseek/Lane"
import * as CallInfo from "@ballast/resilience/CallInfo"
import type { Lookup } from "@ballast/router/AnswerCache"
import * as CallContext from "@ballast/router/CallContext"
import * as RouteInfo from "@ballast/router/RouteInfo"
import type * as Arr from "effect/Array"
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { hasProperty } from "effect/Predicate"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Bodies } from "./Body.ts"
import * as Client from "./Client.ts"
import * as ClientDeadline from "./ClientDeadline.ts"
import type { ClientLimits } from "./ClientLimits.ts"
import type { Costs } from "./Costs.ts"
import * as Defer from "./Defer.ts"
import type * as Dialect from "./Dialect.ts"
import type { Failure } from "./ErrorResponse.ts"
import * as ErrorResponse from "./ErrorResponse.ts"
import type * as EventStream from "./EventStream.ts"
import * as Exchange from "./Exchange.ts"
import { cachedFirst, paid } from "./internal/paid.ts"
import type { Rejection } from "./Rejection.ts"

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly model: ChatModel<CallError>
  /** What caches of the model have. */
  readonly cached: Lookup
  readonly dialect: Dialect.Dialect
  readonly bodies: Bodies
  readonly costs: Costs
  readonly limits: ClientLimits
  readonly streams: EventStream.EventStreams<Rejection>
  /** The account that files belong to: a call that names one goes there. Default: any. */
  readonly filesPlace?: (() => CallContext.Place | undefined) | undefined
  /** Where the events of a request go. */
  readonly out: (request: HttpServerRequest) => EventStream.Out
}

const isFile = (part: unknown): boolean =>
  hasProperty(part, "file") && hasProperty(part.file, "file_id") && typeof part.file.file_id === "string"

/** Whether a request names a file that was uploaded. One that was only passed on may hold anything in the place of a message. */
const namesFile = ({ messages }: ChatRequest): boolean =>
  messages.some((message: unknown) =>
    hasProperty(message, "content") && Array.isArray(message.content) && message.content.some(isFile)
  )

/**
 * What an answer is whose bytes, headers included, have been written here.
 *
 * @category constants
 * @since 0.1.0
 */
export const written: HttpServerResponse.HttpServerResponse = HttpServerResponse.empty({ status: 200 })

/**
 * Answers a request by a call to the model.
 *
 * @category handlers
 * @since 0.1.0
 */
export const make = (options: Options) =>
(
  exchange: Exchange.Exchange,
  request: HttpServerRequest
): Effect.Effect<HttpServerResponse.HttpServerResponse, Failure, Scope.Scope> =>
  options.bodies.use(request, (body) => {
    const decoded = options.dialect.decode(body, request.headers)
    if (Result.isFailure(decoded)) return Effect.fail(decoded.failure)
    const { events, request: chat } = decoded.success
    const { begun } = body
    exchange.model = chat.model
    const call = exchange.call = CallInfo.make()
    if (!Client.mayUse(exchange.client, chat.model)) {
      return Effect.fail(Client.modelRefused(exchange.client, chat.model))
    }
    const deadline = ClientDeadline.read(request.headers)
    const until = Defer.read(request.headers, exchange.began)
    if (Result.isFailure(until)) return Effect.fail(until.failure)
    const place = exchange.place = RouteInfo.make()
    const { client } = exchange
    const answer = (model: ChatModel<Failure>) =>
      events === undefined
        ? complete(options, model, exchange, decoded.success, deadline, options.out(request))
        : stream(options, model, exchange, chat, deadline, events, options.out(request), () => {
          WireText.forget(chat)
          begun()
        })
    const admitted = Effect.flatMapEager(
      options.limits.admit(exchange, chat),
      () =>
        Effect.contextWith((context: Context.Context<Scope.Scope>) =>
          answer(modelFor(options, exchange, chat, until.success, Context.get(context, Scope.Scope)))
        )
    )
    // Added to what is there: providing a context of its own would copy all services for each request.
    return Effect.updateContext(admitted, (context: Context.Context<Scope.Scope>) => {
      if (until.success === undefined) exchange.calledAt = Exchange.now(context)
      return context.pipe(
        Context.add(CallInfo.Current, call),
        Context.add(RouteInfo.Current, place),
        Context.add(CallContext.Current, {
          client,
          headers: request.headers,
          place: namesFile(chat) ? options.filesPlace?.() : undefined
        })
      )
    })
  })

/** The model as a client may ask it: after its call is paid for, and when it is cheaper, where it can wait. */
const modelFor = (
  options: Options,
  exchange: Exchange.Exchange,
  request: ChatRequest,
  until: number | undefined,
  scope: Scope.Scope
): ChatModel<Failure> => {
  const payable = paid(options, exchange, request, scope)
  return until === undefined
    ? payable
    : cachedFirst(options.cached, after(putOff(options.costs.cheaper(request.model, until), exchange), payable))
}

/** Waits, and notes when the call is made: that is when it is priced. */
const putOff = (wait: Effect.Effect<void>, exchange: Exchange.Exchange): Effect.Effect<void> =>
  Effect.flatMap(wait, () => Effect.map(Clock.currentTimeMillis, (now) => void (exchange.madeAt = now)))

/** A model whose calls wait first. */
const after = <E>(wait: Effect.Effect<void>, model: ChatModel<E>): ChatModel<E> => ({
  complete: (request) => Effect.andThen(wait, model.complete(request)),
  stream: (request) => Stream.unwrap(Effect.as(wait, model.stream(request)))
})

const complete = (
  { costs, dialect }: Options,
  model: ChatModel<Failure>,
  exchange: Exchange.Exchange,
  { completion: encode, recover, request }: Dialect.Call,
  { beginning }: ClientDeadline.ClientDeadline,
  out: EventStream.Out
): Effect.Effect<HttpServerResponse.HttpServerResponse, Failure, Scope.Scope> => {
  const call = model.complete(request)
  const bounded: Effect.Effect<ChatCompletion, Failure> = beginning === Infinity
    ? call
    : ClientDeadline.whole(beginning)(call)
  const answer = Effect.flatMap(bounded, (completion) => {
    exchange.usage = completion.usage
    costs.note(exchange)
    return json(encode(completion), exchange, dialect, out)
  })
  return recover === undefined ? answer : Effect.catch(answer, (failure) => {
    const text = recover(failure)
    return text === undefined ? Effect.fail(failure) : json(text, exchange, dialect, out)
  })
}

const contentType = "application/json"

/** Characters of an answer that is counted until its client has taken it. */
const large = 1024 * 1024

const json = (text: string, exchange: Exchange.Exchange, dialect: Dialect.Dialect, out: EventStream.Out) => {
  if (text.length >= large) return kept(text)
  Exchange.begin(exchange, 200)
  if (!out.destroyed) {
    // The engine copies an object quickly where it comes first.
    out.writeHead(200, {
      ...headersOf(exchange, dialect),
      "content-type": contentType,
      "content-length": String(Buffer.byteLength(text))
    })
    out.end(text)
  }
  return Effect.succeed(written)
}

/** A large answer is encoded piece by piece, as its client takes it: the whole in bytes would be kept beside the text. */
const kept = (text: string) => {
  const contentLength = Buffer.byteLength(text)
  const kept = Effect.flatMap(
    Effect.scope,
    (scope) => Effect.flatMap(AnswerMemory.Current, (memory) => memory.keep(scope, contentLength))
  )
  return Effect.as(
    kept,
    HttpServerResponse.stream(Stream.fromIterable(pieces(text), { chunkSize: 1 }), { contentType, contentLength })
  )
}

function* pieces(text: string): Iterable<Uint8Array> {
  for (let start = 0, end = 0; start < text.length; start = end) {
    end = start + piece
    if (isHighSurrogate(text.charCodeAt(end - 1))) end++
    yield Buffer.from(text.slice(start, end))
  }
}

/** Characters that are encoded at once. */
const piece = 64 * 1024

/** Whether a character has its other half in the next one. */
const isHighSurrogate = (code: number): boolean => code >= 0xd800 && code < 0xdc00

const headersOf = (exchange: Exchange.Exchange, dialect: Dialect.Dialect) => ({
  ...Exchange.headers(exchange),
  ...dialect.headers?.(exchange.id)
})

/** A stream begins by a ping at the latest then. */
const firstPing = 15_000

type Chunks = Stream.Stream<ChatChunk, Failure>

const within = (source: Chunks, { beginning, whole }: ClientDeadline.ClientDeadline): Chunks => {
  const bounded: Chunks = whole === Infinity ? source : ClientDeadline.whole(whole).stream(source)
  return beginning < whole && beginning < firstPing ? ClientDeadline.beginning(beginning).stream(bounded) : bounded
}

const stream = (
  { costs, dialect, streams }: Options,
  model: ChatModel<Failure>,
  exchange: Exchange.Exchange,
  request: ChatRequest,
  deadline: ClientDeadline.ClientDeadline,
  events: Dialect.Events,
  out: EventStream.Out,
  begun: () => void
) =>
  Effect.withFiber((fiber) => {
    exchange.stream = true
    const clock = fiber.getRef(Clock.Clock)
    const write = streams.write<ChatChunk, Failure>(out, within(model.stream(request), deadline), {
      headers: () => {
        Exchange.begin(exchange, 200)
        return headersOf(exchange, dialect)
      },
      items: (chunks: Arr.NonEmptyReadonlyArray<ChatChunk>) => {
        if (exchange.firstAt === undefined) {
          exchange.firstAt = clock.currentTimeMillisUnsafe()
          begun()
        }
        exchange.items = (exchange.items ?? 0) + chunks.length
        let text = ""
        for (const chunk of chunks) {
          if (chunk.usage == null) text += events.chunk(chunk)
          else {
            exchange.usage = chunk.usage
            costs.note(exchange)
            text += events.chunk(chunk, exchange.cost)
          }
        }
        return text
      },
      end: events.end,
      error: (cause: Cause.Cause<Failure>) => {
        const error = ErrorResponse.fromCause(cause)
        Exchange.fail(exchange, error, cause)
        return events.error(error)
      },
      ping: events.ping
    })
    return Effect.as(write, written)
  })
