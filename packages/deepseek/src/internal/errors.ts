import * as ChatError from "@ballast/chat/ChatError"
import * as RetryAfter from "@ballast/resilience/RetryAfter"
import { HttpClientError } from "effect/http/HttpClientError"
import { hasProperty, isNumber, isString } from "effect/Predicate"
import { cut, masked, maxExcerpt } from "./mask.ts"
import { find, impliedStatuses, type Name } from "./meanings.ts"
import { type Stated, stated } from "./stated.ts"

/** An answer that is not the one asked for. */
export interface Answer {
  readonly status: number
  readonly headers: { readonly [name: string]: string }
  /** The key that was sent, which nothing may show. */
  readonly secret: string
  readonly body: string
}

/** The error that an answer with a status other than 2xx means. `now` is the Unix time in milliseconds. */
export const fromAnswer = (answer: Answer, now: number): ChatError.ChatError => {
  const { body, status } = answer
  if (status < 400) return malformed("no answer", answer)
  const said = stated(parse(body) ?? parse(eventIn(body)), true)
  if (said !== undefined) return fromSaid(said, answer, now)
  if (isPage(body)) return make(answer, now, { detail: titleOf(body) ?? body })
  // Plain text may mean something where the service refuses; what a proxy says of a failure does not.
  return make(answer, now, { detail: bodyOf(answer), speaks: status < 500 })
}

/** The error that a JSON body, or the data of an event, states after a status of 200; nothing when it states none. */
export const fromStated = (json: unknown, answer: Answer, now: number): ChatError.ChatError | undefined => {
  const said = stated(json, false)
  return said && fromSaid(said, answer, now)
}

/** The error that stands for an answer that is not what it should be. */
export const malformed = (detail: string, answer: Answer, lasting = false): ChatError.ProtocolError =>
  new ChatError.ProtocolError({
    reason: new ChatError.MalformedBody({
      ...(answer.status === 200 ? { detail } : { detail: `status ${answer.status}, ${detail}`, status: answer.status }),
      excerpt: masked(answer.body, answer.secret, maxExcerpt),
      ...(lasting ? { lasting } : undefined),
      ...optionalTraceId(answer.headers["x-ds-trace-id"])
    })
  })

/** A header, which may be as long as all headers may. */
export const optionalTraceId = (traceId: string | undefined) =>
  traceId === undefined ? undefined : { traceId: traceId.slice(0, 128) }

const bodyOf = ({ body, status }: Answer): string => cut(body, 1) === "" ? `status ${status} without a body` : body

const isPage = (body: string): boolean => cut(body, 1) === "<"

/** What a page of HTML is about: proxies answer with them. */
const titleOf = (body: string) => /<title>([^<]+)<\/title>/i.exec(cut(body))?.[1]

const parse = (body: string): unknown => {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}

/** The data of an event in the place of a body: some services that were asked for a stream answer so, whatever the status. */
const eventIn = (body: string): string =>
  /^(?:(?:id|event|retry)?:[^\n]{0,200}\n){0,4}data: ?(\{[^\n]*\})/.exec(cut(body))?.[1] ?? ""

const fromSaid = ({ codes, message }: Stated, answer: Answer, now: number): ChatError.ChatError =>
  message === undefined
    ? make(answer, now, { detail: bodyOf(answer), codes })
    : make(answer, now, { detail: message, codes, speaks: true, stated: true })

interface Told {
  readonly detail: string
  readonly codes?: ReadonlyArray<string>
  /** Whether the detail's words may say what is meant. */
  readonly speaks?: boolean
  /** Whether the detail is the service's own text, which may be shown to the caller. */
  readonly stated?: boolean
}

const make = ({ headers, secret, status: answered }: Answer, now: number, told: Told): ChatError.ChatError => {
  const { codes = [], speaks = false } = told
  const { "retry-after": date, "retry-after-ms": millis, "x-should-retry": shouldRetry } = headers
  const retryAfter = RetryAfter.parse({ "retry-after": date, "retry-after-ms": millis }, now)
  const words = masked(told.detail, secret)
  const fields: Fields = {
    status: answered,
    detail: words.slice(0, maxExcerpt),
    stated: told.stated ?? false,
    ...optionalTraceId(headers["x-ds-trace-id"]),
    ...(retryAfter === undefined ? undefined : { retryAfter }),
    ...(shouldRetry === "false" ? { spent: true } : undefined)
  }
  const status = statusOf(answered, codes)
  return fromName(find(status, codes, speaks ? words : undefined) ?? nameOf(status, codes), fields, words)
}

/** The status that counts: the answer's, or one that the error states after a 200, or a refusal that it states under a 5xx. */
const statusOf = (status: number, codes: ReadonlyArray<string>): number => {
  const code = codes.map(Number).find((code) => code >= 400 && code < 600)
  return code !== undefined && (status < 400 || (status >= 500 && code < 500)) ? code : status
}

const impliedBy = (codes: ReadonlyArray<string>): number =>
  impliedStatuses.find(([pattern]) => codes.some((code) => pattern.test(code)))?.[1] ?? 500

const nameOf = (status: number, codes: ReadonlyArray<string>): Name | "GatewayError" => {
  switch (status) {
    case 401:
    case 403:
      return "Unauthorized"
    case 402:
      return "InsufficientBalance"
    case 404:
    case 405:
      return "NotFound"
    case 408:
    case 409:
    case 425:
      return "TemporarilyRefused"
    case 429:
      return "RateLimited"
    case 502:
    case 504:
      return "GatewayError"
    case 503:
    case 529:
      return "Overloaded"
    default:
      if (status < 400) return nameOf(impliedBy(codes), codes)
      return status < 500 ? "InvalidRequest" : "InternalError"
  }
}

type Fields = Omit<ConstructorParameters<typeof ChatError.InvalidRequest>[0], "_tag">

const failures = {
  InternalError: ChatError.InternalError,
  Overloaded: ChatError.Overloaded,
  GatewayError: ChatError.GatewayError
}

/** Those whose fields are the answer's alone. */
const refusals = {
  InvalidRequest: ChatError.InvalidRequest,
  ContentRejected: ChatError.ContentRejected,
  Unauthorized: ChatError.Unauthorized,
  InsufficientBalance: ChatError.InsufficientBalance,
  NotFound: ChatError.NotFound,
  TemporarilyRefused: ChatError.TemporarilyRefused,
  RateLimited: ChatError.RateLimited
}

const fromName = (name: Name | "GatewayError", fields: Fields, words: string): ChatError.ChatError => {
  switch (name) {
    case "InternalError":
    case "Overloaded":
    case "GatewayError":
      return new ChatError.ServerError({ reason: new failures[name](fields) })
    case "ConcurrencyExceeded":
      return refused(
        new ChatError.ConcurrencyExceeded({
          ...fields,
          ...numberField("current", /current concurrency is (\d{1,9})/i, words),
          ...numberField("limit", /concurrency limit (?:of|is|:) ?(\d{1,9})/i, words),
          lowBalance: /\bbalance\b|余额/i.test(words)
        })
      )
    case "ContextLengthExceeded":
      return refused(
        new ChatError.ContextLengthExceeded({
          ...fields,
          ...numberField(
            "limit",
            /(?:maximum context length (?:is|of)|max_seq_len \(|available context size \() ?(\d{1,12})/i,
            words
          ),
          ...numberField("requested", /(?:requested|resolved to|prompt_tokens \(|request \() ?(\d{1,12})/i, words)
        })
      )
    case "UnknownModel":
      return refused(new ChatError.UnknownModel({ ...fields, supported: supportedIn(words) }))
    default:
      return refused(new refusals[name](fields))
  }
}

const refused = (reason: ChatError.ClientError["reason"]) => new ChatError.ClientError({ reason })

/** The names that the service lists where it does not know one. */
const supportedIn = (words: string): ReadonlyArray<string> => {
  const listed = /supported API model names are (.{1,2000}?),? but you passed/i.exec(words)?.[1] ?? ""
  return listed.split(/,|\bor\b|\band\b/).map((name) => name.trim()).filter((name) => name !== "")
}

const numberField = <K extends string>(key: K, pattern: RegExp, text: string) => {
  const digits = pattern.exec(text)?.[1]
  // The computed key is K, which TypeScript widens to string.
  return digits === undefined ? undefined : { [key]: Number(digits) } as { readonly [P in K]: number }
}

const connectCodes = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EADDRNOTAVAIL",
  "EPROTO",
  "UND_ERR_CONNECT_TIMEOUT",
  "UND_ERR_CONNECT",
  "UND_ERR_PRX_TLS",
  "PROXY_AUTHENTICATION_REQUIRED"
])

const certificateCode = /^(ERR_TLS_|ERR_SSL_|CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH)/

/** The error deepest in the causes that has a code, where the platform says what went wrong. */
const codedIn = (error: unknown, depth = 0): { readonly code: string } | undefined => {
  if (depth === 5 || typeof error !== "object" || error === null) return undefined
  const inner = hasProperty(error, "cause") ? codedIn(error.cause, depth + 1) : undefined
  return inner ?? (hasProperty(error, "code") && isString(error.code) ? { ...error, code: error.code } : undefined)
}

export const codeOf = (error: unknown): string | undefined => codedIn(error)?.code

/** A proxy that refuses to open a tunnel: undici says its status in the message alone. */
const tunnelRefused = ({ cause }: HttpClientError["reason"]): string | undefined =>
  cause instanceof Error ? /^Proxy response \((\d{3})\)/.exec(cause.message.slice(0, 100))?.[1] : undefined

/** The address of the end that refused, where it is not the one asked for: a proxy's, or one that a name stands for. */
const addressIn = (error: object | undefined): string | undefined =>
  hasProperty(error, "address") && isString(error.address) && hasProperty(error, "port") && isNumber(error.port)
    ? `${error.address.includes(":") ? `[${error.address}]` : error.address}:${error.port}`
    : undefined

/** The error of a connection that could not be made, or broke. It names the host, and nothing else of the URL, which may hold secrets. */
export const fromTransport = (error: HttpClientError | HttpClientError["reason"]): ChatError.TransportError => {
  const reason = error instanceof HttpClientError ? error.reason : error
  const host = URL.parse(reason.request.url)?.host
  const refused = tunnelRefused(reason)
  const coded = codedIn(reason)
  const address = addressIn(coded)
  const what = refused === undefined ? coded?.code ?? "the connection ended early" : `the proxy answered ${refused}`
  const where = host === undefined
    ? ""
    : ` at ${host}${address === undefined || address === host ? "" : ` (${address})`}`
  const isConnect = coded !== undefined && (connectCodes.has(coded.code) || certificateCode.test(coded.code))
  return new ChatError.TransportError({
    reason: refused !== undefined || isConnect
      ? new ChatError.ConnectFailed({ detail: what + where })
      : new ChatError.ConnectionLost({ detail: what + where })
  })
}
