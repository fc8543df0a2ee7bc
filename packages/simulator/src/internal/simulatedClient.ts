/** `HttpClient` without a network: a request goes to the engine, its answer comes back as a response. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Cookies from "effect/http/Cookies"
import * as Headers from "effect/http/Headers"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as UrlParams from "effect/http/UrlParams"
import * as Inspectable from "effect/Inspectable"
import * as Option from "effect/Option"
import { pipeArguments } from "effect/Pipeable"
import type * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Simulator, SimulatorResponse } from "./service.ts"

const cutOff = (request: HttpClientRequest.HttpClientRequest) =>
  new HttpClientError.HttpClientError({
    reason: new HttpClientError.TransportError({ request, description: "The connection was destroyed" })
  })

const encoder = new TextEncoder()

interface Sent {
  readonly body: Uint8Array
  /** Of a form: names the boundary of its parts. */
  readonly contentType?: string | undefined
}

const encodeError = (request: HttpClientRequest.HttpClientRequest) => (cause: unknown) =>
  new HttpClientError.HttpClientError({ reason: new HttpClientError.EncodeError({ request, cause }) })

const rawBytes = (body: unknown): Uint8Array =>
  typeof body === "string" ? encoder.encode(body) : body instanceof Uint8Array ? body : new Uint8Array()

/** A request's body as it would be sent. */
const sentBody = (
  request: HttpClientRequest.HttpClientRequest
): Effect.Effect<Sent, HttpClientError.HttpClientError> => {
  const { body } = request
  switch (body._tag) {
    case "Empty":
      return Effect.succeed({ body: new Uint8Array() })
    case "FormData":
      return Effect.tryPromise({
        try: async () => {
          const form = new Response(body.formData)
          return {
            body: new Uint8Array(await form.arrayBuffer()),
            contentType: form.headers.get("content-type") ?? undefined
          }
        },
        catch: encodeError(request)
      })
    case "Uint8Array":
      return Effect.succeed({ body: body.body })
    case "Raw":
      return Effect.sync(() => ({ body: rawBytes(body.body) }))
    case "Stream":
      return Stream.mkUint8Array(body.stream).pipe(
        Effect.mapBoth({ onSuccess: (body) => ({ body }), onFailure: encodeError(request) })
      )
  }
}

/** The scope of a request closes with its body, its failure or its abortion, whichever comes first. */
export const execute = Effect.fnUntraced(function*(
  answer: Simulator["Service"]["answer"],
  request: HttpClientRequest.HttpClientRequest,
  url: URL,
  signal: AbortSignal
) {
  const { body, contentType } = yield* sentBody(request)
  const headers = contentType === undefined ? request.headers : { ...request.headers, "content-type": contentType }
  const scope = yield* Scope.make()
  const close = Scope.close(scope, Exit.void)
  signal.addEventListener("abort", () => Effect.runFork(close), { once: true })
  const response = yield* answer({ method: request.method, path: url.pathname + url.search, headers, body }).pipe(
    Scope.provide(scope),
    Effect.mapError(() => cutOff(request)),
    Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
  )
  return new SimulatedResponse(request, url, response, close)
})

class SimulatedResponse extends Inspectable.Class implements HttpClientResponse.HttpClientResponse {
  readonly [HttpIncomingMessage.TypeId] = HttpIncomingMessage.TypeId
  readonly [HttpClientResponse.TypeId] = HttpClientResponse.TypeId
  readonly request: HttpClientRequest.HttpClientRequest
  readonly url: string
  readonly status: number
  readonly headers: Headers.Headers
  readonly cookies = Cookies.empty
  readonly remoteAddress = Option.none<string>()
  readonly stream: Stream.Stream<Uint8Array, HttpClientError.HttpClientError>

  constructor(
    request: HttpClientRequest.HttpClientRequest,
    url: URL,
    response: SimulatorResponse,
    close: Effect.Effect<void>
  ) {
    super()
    this.request = request
    this.url = url.href
    this.status = response.status
    this.headers = Headers.fromInput(response.headers)
    this.stream = response.body.pipe(
      Stream.mapError(() => cutOff(request)),
      Stream.ensuring(close)
    )
  }

  private bytes: Effect.Effect<ArrayBuffer, HttpClientError.HttpClientError> | undefined
  get arrayBuffer(): Effect.Effect<ArrayBuffer, HttpClientError.HttpClientError> {
    return this.bytes ??= Effect.runSync(Effect.cached(Stream.mkArrayBuffer(this.stream)))
  }

  get text(): Effect.Effect<string, HttpClientError.HttpClientError> {
    return Effect.map(this.arrayBuffer, (bytes) => new TextDecoder().decode(bytes))
  }

  get json(): Effect.Effect<Schema.Json, HttpClientError.HttpClientError> {
    return Effect.flatMap(this.text, (text) => this.decode((): Schema.Json => text === "" ? null : JSON.parse(text)))
  }

  get urlParamsBody(): Effect.Effect<UrlParams.UrlParams, HttpClientError.HttpClientError> {
    return Effect.flatMap(this.text, (text) => this.decode(() => UrlParams.fromInput(new URLSearchParams(text))))
  }

  get formData(): Effect.Effect<FormData, HttpClientError.HttpClientError> {
    return this.decode(() => {
      throw new TypeError("The simulator sends no forms")
    })
  }

  get upgrade(): Effect.Effect<never, HttpClientError.HttpClientError> {
    return Effect.fail(
      new HttpClientError.HttpClientError({
        reason: new HttpClientError.StatusCodeError({
          request: this.request,
          response: this,
          description: "The simulator upgrades no connections"
        })
      })
    )
  }

  private decode<A>(run: () => A): Effect.Effect<A, HttpClientError.HttpClientError> {
    return Effect.try({
      try: run,
      catch: (cause) =>
        new HttpClientError.HttpClientError({
          reason: new HttpClientError.DecodeError({ request: this.request, response: this, cause })
        })
    })
  }

  override toJSON(): unknown {
    return HttpIncomingMessage.inspect(this, {
      _id: "@ballast/simulator/Response",
      request: this.request.toJSON(),
      status: this.status
    })
  }

  pipe() {
    return pipeArguments(this, arguments)
  }
}
