import { Clock, Duration, Effect, Layer, Stream } from "effect"
import { HttpClient, HttpClientError, type HttpClientRequest, HttpClientResponse } from "effect/http"

/** One answer of a scripted service: pieces of a body, each after a pause, and how it ends. */
export interface Reply {
  readonly status?: number
  readonly headers?: Record<string, string>
  readonly body?: ReadonlyArray<string | Uint8Array | Duration.Duration>
  readonly end?: "clean" | "cut" | "large" | "stall"
}

/** A connection that is never made. */
export interface Refusal {
  readonly code: string
}

export interface Seen {
  readonly at: number
  readonly method: string
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: unknown
}

export interface Script {
  readonly layer: Layer.Layer<HttpClient.HttpClient>
  readonly seen: Array<Seen>
  /** Requests that were aborted, by their number from zero. */
  readonly aborted: Array<number>
}

const encoder = new TextEncoder()

class CodedError extends Error {
  readonly code: string
  constructor(code: string) {
    super(code)
    this.code = code
  }
}

/** An `HttpClient` that answers the first request with the first reply, and so on; the last reply serves all further ones. */
export const make = (...replies: ReadonlyArray<Reply | Refusal>): Script => {
  const seen: Array<Seen> = []
  const aborted: Array<number> = []
  const client = HttpClient.make((request, url, signal, fiber) => {
    const number = seen.length
    seen.push({
      at: fiber.getRef(Clock.Clock).currentTimeMillisUnsafe(),
      method: request.method,
      url: url.href,
      headers: { ...request.headers },
      body: request.body._tag === "Uint8Array" ? JSON.parse(new TextDecoder().decode(request.body.body)) : undefined
    })
    const reply = replies[Math.min(number, replies.length - 1)]
    if (reply === undefined) return Effect.die(new Error("the script is empty"))
    if ("code" in reply) {
      const cause = new TypeError("fetch failed", { cause: new CodedError(reply.code) })
      return Effect.fail(
        new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) })
      )
    }
    let ended = false
    signal.addEventListener("abort", () => ended || aborted.push(number))
    return Effect.succeed(respond(request, reply, () => ended = true))
  })
  return { layer: Layer.succeed(HttpClient.HttpClient, client), seen, aborted }
}

const respond = (request: HttpClientRequest.HttpClientRequest, reply: Reply, onEnd: () => void) => {
  const { body = [], end = "clean", headers = { "content-type": "application/json" }, status = 200 } = reply
  const base = HttpClientResponse.fromWeb(request, new Response(null, { status, headers }))
  const lost = (code: string) =>
    new HttpClientError.HttpClientError({
      reason: new HttpClientError.DecodeError({ request, response: base, cause: new CodedError(code) })
    })
  const pieces = Stream.fromIterable(body).pipe(
    Stream.flatMap((piece) =>
      Duration.isDuration(piece)
        ? Stream.fromEffectDrain(Effect.sleep(piece))
        : Stream.succeed(typeof piece === "string" ? encoder.encode(piece) : piece)
    )
  )
  const broken = (code: string) =>
    Stream.fromEffectDrain(Effect.andThen(Effect.sync(onEnd), Effect.suspend(() => Effect.fail(lost(code)))))
  const ending = {
    clean: Stream.fromEffectDrain(Effect.sync(onEnd)),
    cut: broken("UND_ERR_SOCKET"),
    large: broken("BODY_TOO_LARGE"),
    stall: Stream.never
  }[end]
  const stream: Stream.Stream<Uint8Array, HttpClientError.HttpClientError> = Stream.concat(pieces, ending)
  const text = Stream.mkString(Stream.decodeText(stream))
  return Object.create(base, { stream: { value: stream }, text: { value: text } })
}
