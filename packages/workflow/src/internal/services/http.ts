/** Services over HTTP. */
import * as RetryAfter from "@ballast/resilience/RetryAfter"
import * as Effect from "effect/Effect"
import { constTrue } from "effect/Function"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpTraceContext from "effect/http/HttpTraceContext"
import * as Stream from "effect/Stream"
import * as Template from "../template.ts"
import { type CallContext, type Evaluate, fail, parseJson, ServiceError } from "./contract.ts"
import type { Http } from "./settings.ts"

/** Bytes of an answer. */
const maxAnswer = 16 * 1024 * 1024

/** Answers that may be others the next time. */
const isPassing = (status: number): boolean => status >= 500 || [408, 409, 425, 429].includes(status)

const readBody = Effect.fnUntraced(function*<E>(stream: Stream.Stream<Uint8Array, E>) {
  const parts: Array<Uint8Array> = []
  let size = 0
  yield* Stream.runForEach(stream, (part) => {
    size += part.length
    parts.push(part)
    return size > maxAnswer ? fail(`its answer is longer than ${maxAnswer} bytes`) : Effect.void
  })
  return new TextDecoder().decode(Buffer.concat(parts))
})

/** The code of the system, such as ECONNREFUSED, from whatever it is wrapped in. */
const codeOf = (error: unknown): string | undefined => {
  for (let depth = 0, at = error; depth < 5 && typeof at === "object" && at !== null; depth++) {
    if ("code" in at && typeof at.code === "string") return at.code
    at = "cause" in at ? at.cause : undefined
  }
  return undefined
}

/** Where a redirect leads; a path or a query of it may hold a secret. */
const redirectOf = (url: string, status: number, location: string | undefined): string => {
  const to = status >= 300 && status < 400 && location !== undefined ? URL.parse(location, url) : null
  return to === null ? "" : `: a redirect to ${to.host}, which is not followed; its url must be where that leads`
}

/** What an answer says it is, where that is not JSON. */
const typeOf = (contentType: string | undefined): string => {
  const [, type] = /^\s*([\w.+/-]{1,100})/.exec(contentType ?? "") ?? []
  return type === undefined || /\bjson$/i.test(type) ? "" : `, but ${type}`
}

const requestOf = Effect.fnUntraced(function*(
  settings: typeof Http.Type,
  evaluate: Evaluate,
  input: unknown,
  { idempotencyKey }: CallContext
) {
  const url = Template.text(yield* evaluate(settings.url))
  if (!URL.canParse(url) || !/^https?:/.test(url)) return yield* fail("its url is no http or https URL")
  const headers: Record<string, string> = { accept: "application/json", "idempotency-key": idempotencyKey }
  for (const [name, value] of Object.entries(settings.headers ?? {})) {
    headers[name.toLowerCase()] = Template.text(yield* evaluate(value))
  }
  const request = HttpClientRequest.make(settings.method ?? "POST")(url, { headers })
  if (settings.method === "GET") return request
  const body = settings.body === undefined ? input : yield* evaluate(settings.body)
  return HttpClientRequest.bodyText(request, JSON.stringify(body ?? null), "application/json")
})

/** The request in a span of our own: one of the client's would show the URL, whose path or query may hold a secret. */
const execute = (
  http: HttpClient.HttpClient,
  request: HttpClientRequest.HttpClientRequest,
  lost: (reason: { readonly _tag: string }) => ServiceError
) => {
  const { hostname, port, protocol } = new URL(request.url)
  return Effect.currentSpan.pipe(
    Effect.orDie,
    Effect.flatMap((span) => http.execute(HttpClientRequest.setHeaders(request, HttpTraceContext.toHeaders(span)))),
    Effect.mapError(({ reason }) => lost(reason)),
    Effect.tap(({ status }) => Effect.annotateCurrentSpan("http.response.status_code", status)),
    Effect.withSpan(request.method, {
      kind: "client",
      attributes: {
        "http.request.method": request.method,
        "server.address": hostname.replace(/^\[|\]$/g, ""),
        "server.port": Number(port || (protocol === "https:" ? 443 : 80))
      }
    }, { captureStackTrace: false }),
    Effect.provideService(HttpClient.TracerDisabledWhen, constTrue),
    // The headers would go on to wherever the service says.
    Effect.provideService(FetchHttpClient.RequestInit, { redirect: "manual" })
  )
}

export const callHttp = Effect.fnUntraced(function*(
  settings: typeof Http.Type,
  http: HttpClient.HttpClient,
  evaluate: Evaluate,
  input: unknown,
  context: CallContext
) {
  const request = yield* requestOf(settings, evaluate, input, context)
  // The client's own texts could show a header; a path or a query may hold a secret.
  const lost = (what: string, reason: { readonly _tag: string }) =>
    new ServiceError({
      detail: `${new URL(request.url).host} ${what} (${codeOf(reason) ?? reason._tag})`,
      retryable: true
    })
  const response = yield* execute(http, request, (reason) => lost("can not be reached", reason))
  if (response.status < 200 || response.status > 299) {
    const { "retry-after": date, "retry-after-ms": millis } = response.headers
    const retryAfter = yield* RetryAfter.fromHeaders({ "retry-after": date, "retry-after-ms": millis })
    return yield* new ServiceError({
      detail: `it answered with status ${response.status}${
        redirectOf(request.url, response.status, response.headers["location"])
      }`,
      retryable: isPassing(response.status),
      ...retryAfter && { retryAfter }
    })
  }
  const text = yield* Effect.catch(readBody(response.stream), (error) => {
    if (error instanceof ServiceError) return Effect.fail(error)
    // A client may not take an answer without a body, such as one of status 204, for an empty one.
    return error.reason._tag === "EmptyBodyError"
      ? Effect.succeed("")
      : Effect.fail(lost("broke off its answer", error.reason))
  })
  const answer = text === ""
    ? null
    : yield* Effect.mapError(
      parseJson(text, "its answer"),
      ({ detail }) => new ServiceError({ detail: detail + typeOf(response.headers["content-type"]), retryable: false })
    )
  return settings.output === undefined ? answer : yield* evaluate(settings.output, answer)
}, Effect.scoped)
