/**
 * The API of Kubernetes over any `HttpClient`: one request, and one watch.
 *
 * An answer that is no success is a {@link KubernetesError} with the status and the server's `reason`. Nothing is tried again here: the
 * callers know what they may repeat. The token is read before each request, because Kubernetes replaces its file.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constTrue } from "effect/Function"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { codeOf, send } from "./internal/http.ts"

/**
 * A request that the API server refused, or did not answer (`status` 0).
 *
 * @category errors
 * @since 0.1.0
 */
export class KubernetesError extends Schema.TaggedError<KubernetesError>()("KubernetesError", {
  request: Schema.String,
  status: Schema.Int,
  /** Kubernetes' own word, such as `Conflict`, `Expired`, `NotFound`. */
  reason: Schema.String,
  detail: Schema.String,
  /** In seconds. */
  retryAfter: Schema.optional(Schema.Finite)
}) {
  override get message(): string {
    return `${this.request}: ${this.status === 0 ? "" : `${this.status} `}${this.reason}${
      this.detail && `: ${this.detail}`
    }`
  }
}

/**
 * @category models
 * @since 0.1.0
 */
export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE"

/**
 * @category options
 * @since 0.1.0
 */
export interface RequestOptions {
  readonly query?: Readonly<Record<string, string>> | undefined
  /** For `PATCH` a merge patch. */
  readonly body?: unknown
  /** Default: 15 seconds. */
  readonly timeout?: Duration.Input | undefined
}

/**
 * One line of a watch.
 *
 * @category models
 * @since 0.1.0
 */
export interface WatchEvent {
  readonly type: string
  readonly object: unknown
}

/**
 * @category models
 * @since 0.1.0
 */
export interface KubernetesClient {
  /** The answer's JSON; undefined when it has none. */
  readonly request: (method: Method, path: string, options?: RequestOptions) => Effect.Effect<unknown, KubernetesError>
  /** Ends when the server ends it, which it does after `timeoutSeconds` of the query. */
  readonly watch: (
    path: string,
    query: Readonly<Record<string, string>>
  ) => Stream.Stream<WatchEvent, KubernetesError>
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Address of the API server, without a path. */
  readonly url: string
  /** Read before each request. Default: none is sent. */
  readonly token?: Effect.Effect<Redacted.Redacted<string>> | undefined
}

const maximumSize = 64 * 1_048_576

const Status = Schema.Struct({
  message: Schema.optional(Schema.String),
  reason: Schema.optional(Schema.String),
  code: Schema.optional(Schema.Int)
})
const decodeStatus = Schema.decodeUnknownOption(Status)

/** The error that a `Status` object tells of, as an answer's body or as an event of a watch. */
const errorOf = (request: string, status: number, body: unknown, retryAfter?: string): KubernetesError => {
  const told = decodeStatus(body)
  const { code = status, message = "", reason = "" } = told._tag === "Some" ? told.value : {}
  const seconds = Number(retryAfter)
  return new KubernetesError({
    request,
    status: code,
    reason: reason || "Unknown",
    detail: message.slice(0, 500),
    ...(retryAfter !== undefined && Number.isFinite(seconds) && seconds >= 0 && { retryAfter: seconds })
  })
}

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const Line = Schema.fromJsonString(Schema.Struct({ type: Schema.String, object: Schema.Unknown }))
const decodeLine = Schema.decodeUnknownEffect(Line)

/**
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options) {
  const client = yield* HttpClient.HttpClient
  const base = options.url.replace(/\/+$/, "")

  const prepare = Effect.fnUntraced(function*(method: Method, path: string, { body, query }: RequestOptions) {
    let request = HttpClientRequest.make(method)(`${base}${path}`).pipe(
      HttpClientRequest.setUrlParams(query ?? {}),
      HttpClientRequest.acceptJson
    )
    if (options.token !== undefined) {
      request = HttpClientRequest.bearerToken(request, yield* options.token)
    }
    if (body === undefined) return request
    const type = method === "PATCH" ? "application/merge-patch+json" : "application/json"
    return HttpClientRequest.bodyText(request, JSON.stringify(body), type)
  })

  const request: KubernetesClient["request"] = Effect.fnUntraced(function*(method, path, requestOptions = {}) {
    const name = `${method} ${path}`
    const answer = yield* send(client, yield* prepare(method, path, requestOptions), {
      time: requestOptions.timeout ?? "15 seconds",
      size: maximumSize,
      fail: (reason) => new KubernetesError({ request: name, status: 0, reason, detail: "" })
    })
    const body = answer.text === "" ? undefined : parse(answer.text)
    if (answer.status < 200 || answer.status > 299) {
      return yield* errorOf(name, answer.status, body, answer.retryAfter)
    }
    return body
  })

  const watch: KubernetesClient["watch"] = (path, query) => {
    const name = `WATCH ${path}`
    const unreachable = (error: unknown): KubernetesError =>
      new KubernetesError({ request: name, status: 0, reason: "the connection was lost", detail: codeOf(error) })
    return Stream.unwrap(Effect.gen(function*() {
      const response = yield* client.execute(yield* prepare("GET", path, { query: { ...query, watch: "true" } })).pipe(
        Effect.mapError(unreachable),
        Effect.timeoutOrElse({ duration: "15 seconds", orElse: () => Effect.fail(unreachable(undefined)) })
      )
      if (response.status !== 200) {
        const text = yield* Effect.orElseSucceed(response.text, () => "")
        return yield* errorOf(name, response.status, parse(text), response.headers["retry-after"])
      }
      return response.stream.pipe(
        Stream.decodeText,
        Stream.splitLines,
        Stream.mapError(unreachable),
        Stream.filter((line) => line !== ""),
        Stream.mapEffect((line) => Effect.mapError(decodeLine(line), () => errorOf(name, 0, undefined))),
        Stream.mapEffect((event) =>
          event.type === "ERROR" ? Effect.fail(errorOf(name, 500, event.object)) : Effect.succeed(event)
        )
      )
    })).pipe(Stream.provideService(HttpClient.TracerDisabledWhen, constTrue))
  }

  const made: KubernetesClient = { request, watch }
  return made
})
