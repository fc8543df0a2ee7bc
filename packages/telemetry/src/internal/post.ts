/**
 * Posts by Node's own client. `fetch` copies a body several times and to outside of V8's heap, and V8 answers such growth by collecting all of the
 * heap. Of an answer only the status and `retry-after` are read.
 */
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Http from "node:http"
import * as Https from "node:https"

type Answered = Effect.Effect<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError>

const failed = (request: HttpClientRequest.HttpClientRequest, cause: unknown) =>
  new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) })

const answered = (request: HttpClientRequest.HttpClientRequest, answer: Http.IncomingMessage): Answered =>
  Effect.try({
    try: () => {
      const { headers: { "retry-after": retryAfter }, statusCode = 0 } = answer
      const headers = new Headers(retryAfter === undefined ? {} : { "retry-after": retryAfter })
      return HttpClientResponse.fromWeb(request, new Response(null, { status: statusCode, headers }))
    },
    // A status that HTTP does not have.
    catch: (cause) => failed(request, cause)
  })

export const client: HttpClient.HttpClient = HttpClient.make((request, url, signal) =>
  Effect.callback((resume) => {
    const { body, headers, method } = request
    const fail = (cause: Error) => resume(Effect.fail(failed(request, cause)))
    const { request: open } = url.protocol === "https:" ? Https : Http
    const post = open(url, { method, headers, signal }).on("error", fail).on("response", (answer) => {
      answer.on("error", fail).on("end", () => resume(answered(request, answer))).resume()
    })
    // Sent alone: Node would copy the text behind them.
    post.flushHeaders()
    post.end(body._tag === "Uint8Array" ? body.text ?? body.body : undefined)
  })
)
