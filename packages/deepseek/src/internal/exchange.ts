import * as Layered from "@ballast/resilience/Layered"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Cookies from "effect/http/Cookies"
import * as Headers from "effect/http/Headers"
import * as HttpBody from "effect/http/HttpBody"
import { DecodeError, HttpClientError, StatusCodeError, TransportError } from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as UrlParams from "effect/http/UrlParams"
import * as Inspectable from "effect/Inspectable"
import * as Option from "effect/Option"
import { pipeArguments } from "effect/Pipeable"
import type * as Pull from "effect/Pull"
import type * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import type { Socket } from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import { Readable } from "node:stream"
import * as Undici from "undici"
import { codingsOf, Inflate } from "./inflate.ts"
import * as stop from "./stop.ts"

type Resume = (effect: Effect.Effect<HttpClientResponse.HttpClientResponse, HttpClientError>) => void
type ResponseHeaders = Record<string, string | Array<string> | undefined>

/** Responses such as `102` and `103` that may come before the real one. Services send one or two. */
const maxInformational = 16

/** The code of the error of a body that is larger than `Bounds.body`. */
export const bodyTooLarge = "BODY_TOO_LARGE"

/** In the place of what holds the fiber that waited for the response. */
const ignore = (): void => {}

/** Why this client itself says that an exchange failed. */
class ExchangeError extends Error {
  readonly code: string
  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

/** Bounds of what is held, in bytes. */
export interface Bounds {
  /** Of a body that waits for a slow consumer. */
  readonly buffer: number
  /** Of a body that is read whole, decoded. */
  readonly body: number
}

/** Where a request goes, as undici takes it. */
export interface Target {
  readonly href: string
  readonly origin: string
  readonly path: string
}

export const targetOf = ({ href, origin, pathname, search }: URL): Target => ({
  href: href.split("#", 1)[0] ?? "",
  origin,
  path: pathname + search
})

/**
 * One request and its response, as undici's callbacks tell it. What has arrived of the body waits in `chunks`, decoded where the service has
 * compressed it; a reader that finds none leaves a callback in `wake`.
 */
export class Exchange implements Undici.Dispatcher.DispatchHandler {
  /** Without its body, once the response has begun. */
  request: HttpClientRequest.HttpClientRequest
  readonly target: Target
  readonly bounds: Bounds
  private resume: Resume
  informational = 0
  codings: ReadonlyArray<string> = []
  inflate: Inflate | undefined
  broken: Error | undefined
  controller: Undici.Dispatcher.DispatchController | undefined
  response: UndiciResponse | undefined
  aborted = false
  interrupted = false
  ended = false
  failure: HttpClientError | undefined
  collecting = false
  chunks: Array<Uint8Array> = []
  size = 0
  wake: (() => void) | undefined
  waking = false

  constructor(request: HttpClientRequest.HttpClientRequest, target: Target, bounds: Bounds, resume: Resume) {
    this.request = request
    this.target = target
    this.bounds = bounds
    this.resume = resume
  }

  readonly abort: Effect.Effect<void> = Effect.sync(() => this.abortNow())

  private abortNow(): void {
    if (this.ended || this.aborted) return
    this.aborted = true
    // Without a connection yet, `onRequestStart` aborts.
    this.controller?.abort(new Undici.errors.RequestAbortedError())
    this.inflate?.destroy()
  }

  /** Aborts the request and interrupts whoever reads its body, now or next. */
  readonly interrupt = (): void => {
    this.interrupted = true
    this.abortNow()
    this.wakeNow()
  }

  onRequestStart(controller: Undici.Dispatcher.DispatchController): void {
    this.controller = controller
    if (this.aborted) controller.abort(new Undici.errors.RequestAbortedError())
  }

  onResponseStart(controller: Undici.Dispatcher.DispatchController, status: number, headers: ResponseHeaders): void {
    if (status < 200) {
      if (++this.informational > maxInformational) {
        controller.abort(new ExchangeError("TOO_MANY_INFORMATIONAL", `more than ${maxInformational} responses of 1xx`))
      }
      return
    }
    this.codings = codingsOf(headers["content-encoding"])
    this.request = withoutBody(this.request)
    const response = this.response = new UndiciResponse(this, status, headers)
    // Undici keeps a buffer for each name and value.
    controller.rawHeaders = null
    const { resume } = this
    this.resume = ignore
    // A short body has come with the head, and is here by then.
    queueMicrotask(() => resume(Effect.succeed(response)))
  }

  onResponseData(_: Undici.Dispatcher.DispatchController, chunk: Uint8Array): void {
    const [first] = chunk
    if (this.codings.length === 0 || first === undefined) return this.take(chunk)
    this.inflate ??= this.makeInflate(first)
    this.inflate.write(chunk)
  }

  private makeInflate(first: number): Inflate {
    return new Inflate(this.codings, first, {
      onBytes: (bytes) => this.take(bytes),
      onEnd: () => {
        if (this.broken !== undefined) this.fail(this.broken)
        this.end()
      },
      onError: (cause) => this.breakOff(cause),
      onFull: () => this.controller?.pause(),
      onDrain: () => this.controller?.resume()
    })
  }

  private take(chunk: Uint8Array): void {
    if (this.ended) return
    this.chunks.push(chunk)
    this.size += chunk.byteLength
    if (!this.collecting) {
      if (this.size >= this.bounds.buffer) (this.inflate ?? this.controller)?.pause()
    } else if (this.size > this.bounds.body) {
      this.chunks = []
      return this.breakOff(new ExchangeError(bodyTooLarge, `a body larger than ${this.bounds.body} bytes`))
    }
    this.wakeReader()
  }

  private more(): void {
    ;(this.inflate ?? this.controller)?.resume()
  }

  /** Fails the body's reader and releases the connection. */
  private breakOff(cause: Error): void {
    this.fail(cause)
    this.abortNow()
    this.end()
  }

  private fail(cause: Error): void {
    const { request, response } = this
    if (response === undefined) {
      this.resume(Effect.fail(new HttpClientError({ reason: new TransportError({ request, cause }) })))
    } else {
      this.failure ??= new HttpClientError({ reason: new DecodeError({ request, response, cause }) })
    }
  }

  onResponseEnd(): void {
    if (this.inflate === undefined) this.end()
    else this.inflate.end()
  }

  onResponseError(_: Undici.Dispatcher.DispatchController | null, cause: Error): void {
    if (this.ended) return
    // Undici means an invalid argument, as a header of the request would be.
    if (cause.message.startsWith("Proxy Authentication Required")) {
      this.fail(new ExchangeError("PROXY_AUTHENTICATION_REQUIRED", cause.message))
      return this.end()
    }
    if (this.inflate !== undefined && !this.aborted) {
      // What has come before is decoded first.
      this.broken = cause
      return this.inflate.end()
    }
    this.fail(cause)
    this.end()
  }

  private end(): void {
    this.ended = true
    this.wakeReader()
  }

  /** Undici tells of each piece in a read of the socket by itself. The reader is woken once, when all of the read is there. */
  private wakeReader(): void {
    if (this.waking || this.wake === undefined) return
    this.waking = true
    queueMicrotask(this.wakeNow)
  }

  private readonly wakeNow = (): void => {
    const wake = this.wake
    this.waking = false
    this.wake = undefined
    wake?.()
  }

  /** Waits for the next callback of undici that changes something for a reader, then goes on. An interrupted reader aborts the request. */
  private afterArrival<A, E>(next: Effect.Effect<A, E>, arrived: () => boolean): Effect.Effect<A, E> {
    return Effect.callback((resume) => {
      // The fiber may have yielded since it looked, and nobody wakes a reader that doesn't wait yet.
      if (arrived()) return resume(next)
      const others = this.wake
      // V8 puts a function that is written where a field is set among old objects at once, and all that it refers to stays until the next
      // full collection.
      const wake = () => {
        others?.()
        resume(next)
      }
      this.wake = wake
      return this.abort
    })
  }

  /** The chunks that have arrived, or else the next one. */
  readonly pull: Pull.Pull<Arr.NonEmptyReadonlyArray<Uint8Array>, HttpClientError> = Effect.suspend(() => {
    if (this.interrupted) return Effect.interrupt
    const chunks = this.chunks
    if (Arr.isArrayNonEmpty(chunks)) {
      this.chunks = []
      this.size = 0
      this.more()
      return Effect.succeed(chunks)
    }
    if (this.failure !== undefined) return Effect.fail(this.failure)
    return this.ended ? Cause.done() : this.nextPull
  })

  private readonly nextPull = this.afterArrival(
    this.pull,
    () => this.chunks.length > 0 || this.ended || this.interrupted
  )

  /** All of the body. It can be read again. */
  get bytes(): Effect.Effect<Uint8Array, HttpClientError> {
    return Effect.suspend(() => {
      if (this.failure !== undefined) return Effect.fail(this.failure)
      if (!this.ended) {
        this.collecting = true
        this.more()
        return this.afterArrival(this.bytes, () => this.ended)
      }
      const [first] = this.chunks
      if (first !== undefined && this.chunks.length === 1) return Effect.succeed(first)
      const whole = Buffer.concat(this.chunks)
      this.chunks = [whole]
      return Effect.succeed(whole)
    })
  }

  dispatch(dispatcher: Pick<Undici.Dispatcher, "dispatch">): void {
    const { body, method } = this.request
    const headers = headersOf(this.request)
    dispatcher.dispatch({
      origin: this.target.origin,
      path: this.target.path,
      // undici's type names the common methods only, and takes any.
      method: method as Undici.Dispatcher.HttpMethod,
      headers,
      body: toUndiciBody(body)
    }, this)
  }
}

/** Bytes from which on a body is not kept until the response has ended. It costs 4 µs of CPU to give one so. */
const largeBody = 4 * 1024

const isLarge = (body: HttpBody.HttpBody): boolean => body._tag === "Uint8Array" && body.contentLength >= largeBody

const headersOf = ({ body, headers }: HttpClientRequest.HttpClientRequest): Headers.Headers => {
  if (body._tag === "FormData") return Headers.remove(headers, "content-type")
  return body._tag === "Uint8Array" && isLarge(body)
    ? Headers.set(headers, "content-length", String(body.contentLength))
    : headers
}

const withoutBody = (request: HttpClientRequest.HttpClientRequest): HttpClientRequest.HttpClientRequest => {
  if (request.body._tag !== "Uint8Array") return request
  const { hash, headers, method, url, urlParams } = request
  return HttpClientRequest.makeWith(method, url, urlParams, hash, headers, HttpBody.empty)
}

/** Gives a body once. Undici keeps what it was given until the response has ended, which of a stream may take minutes. */
const once = (body: string | Uint8Array): Iterable<string | Uint8Array> => {
  let left: string | Uint8Array | undefined = body
  const next = () => {
    const value = left
    left = undefined
    return value === undefined ? { done: true as const, value } : { done: false as const, value }
  }
  return { [Symbol.iterator]: () => ({ next }) }
}

type UndiciBody = Exclude<Undici.Dispatcher.DispatchOptions["body"], undefined>

const toUndiciBody = (body: HttpBody.HttpBody): UndiciBody => {
  switch (body._tag) {
    case "Empty":
      return null
    case "Uint8Array":
      // Undici takes an iterable, which its type does not say.
      return isLarge(body) ? once(body.text ?? body.body) as Iterable<unknown> as UndiciBody : body.text ?? body.body
    case "Raw":
      // A raw body is by definition what the client at hand understands.
      return body.body as UndiciBody
    case "Stream":
      return Readable.from(Stream.toAsyncIterable(body.stream))
    case "FormData": {
      const form = new Undici.FormData()
      for (const [name, value] of body.formData) form.append(name, value)
      return form
    }
  }
}

class UndiciResponse extends Inspectable.Class implements HttpClientResponse.HttpClientResponse {
  readonly [HttpIncomingMessage.TypeId]: typeof HttpIncomingMessage.TypeId = HttpIncomingMessage.TypeId
  readonly [HttpClientResponse.TypeId]: typeof HttpClientResponse.TypeId = HttpClientResponse.TypeId
  readonly exchange: Exchange
  readonly status: number
  readonly rawHeaders: ResponseHeaders
  cachedHeaders: Headers.Headers | undefined

  constructor(exchange: Exchange, status: number, rawHeaders: ResponseHeaders) {
    super()
    this.exchange = exchange
    this.status = status
    this.rawHeaders = rawHeaders
  }

  get request() {
    return this.exchange.request
  }

  get url() {
    return this.exchange.target.href
  }

  get headers(): Headers.Headers {
    return this.cachedHeaders ??= Headers.fromInput(this.rawHeaders)
  }

  get cookies(): Cookies.Cookies {
    const header = this.rawHeaders["set-cookie"]
    return header === undefined ? Cookies.empty : Cookies.fromSetCookie(header)
  }

  get remoteAddress(): Option.Option<string> {
    return Option.none()
  }

  get stream(): Stream.Stream<Uint8Array, HttpClientError> {
    const { exchange } = this
    return Layered.stream((scope) =>
      Effect.withFiber((fiber) => {
        const release = stop.claim(fiber, exchange.interrupt)
        const abort = release === undefined
          ? exchange.abort
          : Effect.andThen(exchange.abort, Effect.sync(release))
        return Effect.as(Scope.addFinalizer(scope, abort), exchange.pull)
      })
    )
  }

  get arrayBuffer(): Effect.Effect<ArrayBuffer, HttpClientError> {
    return Effect.map(this.exchange.bytes, (bytes) => new Uint8Array(bytes).buffer)
  }

  get text(): Effect.Effect<string, HttpClientError> {
    return Effect.map(this.exchange.bytes, decodeText)
  }

  get json(): Effect.Effect<Schema.Json, HttpClientError> {
    return this.decode(this.text, (text) => text === "" ? null : JSON.parse(text))
  }

  get urlParamsBody(): Effect.Effect<UrlParams.UrlParams, HttpClientError> {
    return this.decode(this.text, (text) => UrlParams.fromInput(new URLSearchParams(text)))
  }

  get formData(): Effect.Effect<FormData, HttpClientError> {
    return Effect.flatMap(this.arrayBuffer, (body) =>
      Effect.tryPromise({
        try: () => new Response(body, { headers: this.headers }).formData(),
        catch: (cause) => this.undecodable(cause)
      }))
  }

  get upgrade(): Effect.Effect<Socket, HttpClientError> {
    const { request } = this
    return Effect.fail(
      new HttpClientError({
        reason: new StatusCodeError({ request, response: this, description: "upgrades are not supported" })
      })
    )
  }

  private decode<A, B>(body: Effect.Effect<A, HttpClientError>, f: (body: A) => B): Effect.Effect<B, HttpClientError> {
    return Effect.flatMap(body, (body) => Effect.try({ try: () => f(body), catch: (cause) => this.undecodable(cause) }))
  }

  private undecodable(cause: unknown): HttpClientError {
    return new HttpClientError({ reason: new DecodeError({ request: this.request, response: this, cause }) })
  }

  toJSON(): unknown {
    return HttpIncomingMessage.inspect(this, {
      _id: "effect/http/HttpClientResponse",
      request: this.request.toJSON(),
      status: this.status
    })
  }

  pipe() {
    return pipeArguments(this, arguments)
  }
}

const decoder = new TextDecoder()
const decodeText = (bytes: Uint8Array): string => decoder.decode(bytes)
