import * as ChatError from "@ballast/chat/ChatError"
import * as RetryAfter from "@ballast/resilience/RetryAfter"
import { hasProperty, isNumber, isString } from "effect/Predicate"

/** An answer that is not the one asked for. */
export interface Answer {
  readonly status: number
  readonly headers: { readonly [name: string]: string }
  /** The key that was sent, which nothing may show. */
  readonly secret: string
  readonly body: string
}

/** Takes keys out of a text: the one that was sent, what looks like one, and the last four characters that the service quotes. */
const mask = (text: string, secret: string): string =>
  text.replaceAll(secret, "****").replace(/\bsk-[\w-]{4,}/g, "sk-****").replace(/\*{2,}[\w-]+/g, "****")
    .replace(/\bbearer +[\w.~+/=-]{8,}/gi, "Bearer ****")

/** The beginning of a text of the service, for people. */
const excerpt = (text: string, secret: string): string => mask(text, secret).trim().slice(0, 500)

/** The error that an answer with a status other than 2xx means. `now` is the Unix time in milliseconds. */
export const fromAnswer = (answer: Answer, now: number): ChatError.ChatError => {
  const { body, headers, secret, status } = answer
  if (status < 400) return malformed("no answer", answer)
  const stated = statedError(parse(body))
  const detail = stated?.message ?? titleOf(body) ?? (body.trim() === "" ? `status ${status} without a body` : body)
  return fromStatus(status, { status, headers, secret, detail, stated: stated?.isMessage ?? false }, now)
}

/** The error that a JSON body, or the data of an event, states after a status of 200; nothing when it states none. */
export const fromStated = (
  json: unknown,
  answer: Omit<Answer, "body">,
  now: number
): ChatError.ChatError | undefined => {
  const stated = statedError(json)
  if (stated === undefined) return undefined
  const { headers, secret, status } = answer
  const told = { status, headers, secret, detail: stated.message, stated: stated.isMessage }
  return fromStatus(impliedStatus(stated), told, now)
}

export const malformed = (
  detail: string,
  { body, headers, secret, status }: Answer,
  json = false
): ChatError.ProtocolError =>
  new ChatError.ProtocolError({
    reason: new ChatError.MalformedBody({
      ...(status === 200 ? { detail } : { detail: `status ${status}, ${detail}`, status }),
      excerpt: excerpt(body, secret),
      ...(json ? { json } : undefined),
      ...optionalTraceId(headers["x-ds-trace-id"])
    })
  })

export const optionalTraceId = (traceId: string | undefined) => traceId === undefined ? undefined : { traceId }

/** What a page of HTML is about: proxies answer with them. */
const titleOf = (body: string) => /<title>([^<]+)<\/title>/i.exec(body)?.[1]

const parse = (body: string): unknown => {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}

interface Stated {
  readonly message: string
  /** Whether it stood where the service puts its message. */
  readonly isMessage: boolean
  readonly words: ReadonlyArray<string>
}

const statedError = (json: unknown): Stated | undefined => {
  if (!hasProperty(json, "error") || json.error == null) return undefined
  const { error } = json
  const message = hasProperty(error, "message") && isWords(error.message) ? error.message : undefined
  return {
    message: message ?? (isWords(error) ? error : JSON.stringify(error)),
    isMessage: message !== undefined,
    words: ["code", "type"].flatMap((name) =>
      hasProperty(error, name) && (isString(error[name]) || isNumber(error[name])) ? [String(error[name])] : []
    )
  }
}

const isWords = (u: unknown): u is string => isString(u) && u.trim() !== ""

// `code` is `invalid_request_error` for nearly everything, so what says more comes first.
const statuses: ReadonlyArray<readonly [RegExp, number]> = [
  [/authentication/, 401],
  [/insufficient.?balance/, 402],
  [/rate.?limit/, 429],
  [/service_unavailable|overloaded/, 503],
  [/server_error|internal/, 500],
  [/invalid_request/, 400]
]

/** The status that the service would have sent, had it known sooner. */
const impliedStatus = ({ message, words }: Stated): number => {
  const code = Number(words[0])
  if (code >= 400 && code < 600) return code
  const text = `${words.join(" ")} ${message}`.toLowerCase()
  return statuses.find(([pattern]) => pattern.test(text))?.[1] ?? 500
}

interface Told extends Omit<Answer, "body"> {
  readonly detail: string
  readonly stated: boolean
}

const fromStatus = (status: number, told: Told, now: number): ChatError.ChatError => {
  const { "retry-after": date, "retry-after-ms": millis } = told.headers
  const retryAfter = RetryAfter.parse({ "retry-after": date, "retry-after-ms": millis }, now)
  const fields = {
    status: told.status,
    detail: excerpt(told.detail, told.secret),
    stated: told.stated,
    ...optionalTraceId(told.headers["x-ds-trace-id"]),
    ...(retryAfter === undefined ? undefined : { retryAfter })
  }
  if (status < 500) return new ChatError.ClientError({ reason: clientReason(status, told.detail, fields) })
  switch (status) {
    case 503:
    case 529:
      return new ChatError.ServerError({ reason: new ChatError.Overloaded(fields) })
    case 502:
    case 504:
      return new ChatError.ServerError({ reason: new ChatError.GatewayError(fields) })
    default:
      return new ChatError.ServerError({ reason: new ChatError.InternalError(fields) })
  }
}

type Fields = Omit<ConstructorParameters<typeof ChatError.InvalidRequest>[0], "_tag">

const clientReason = (status: number, text: string, fields: Fields): ChatError.ClientError["reason"] => {
  switch (status) {
    case 401:
    case 403:
      return new ChatError.Unauthorized(fields)
    case 402:
      return new ChatError.InsufficientBalance(fields)
    case 404:
    case 405:
      return new ChatError.NotFound(fields)
    case 408:
    case 409:
    case 425:
      return new ChatError.TemporarilyRefused(fields)
    case 429:
      return limitReason(text, fields)
    default:
      return refusalReason(text, fields)
  }
}

/**
 * A low balance lowers the limit of concurrent requests, and says so in the same words that mean an empty wallet elsewhere. Both wait for
 * a top-up, but only what names a concurrency limit leaves some calls.
 */
const limitReason = (text: string, fields: Fields): ChatError.ClientError["reason"] => {
  const lowBalance = /(?<!load[\s-])\bbalance\b/i.test(text)
  if (/concurren/i.test(text)) {
    return new ChatError.ConcurrencyExceeded({
      ...fields,
      ...numberField("current", /current concurrency is (\d+)/i, text),
      ...numberField("limit", /concurrency limit of (\d+)/i, text),
      lowBalance
    })
  }
  return lowBalance ? new ChatError.InsufficientBalance(fields) : new ChatError.RateLimited(fields)
}

const refusalReason = (text: string, fields: Fields): ChatError.ClientError["reason"] => {
  const unknownModel = /supported API model names are (.+?),? but you passed|model not exist/i.exec(text)
  if (unknownModel !== null) {
    const supported = unknownModel[1]?.split(/\s*(?:,|\bor\b|\band\b)\s*/).filter((name) => name !== "") ?? []
    return new ChatError.UnknownModel({ ...fields, supported })
  }
  if (/maximum context length/i.test(text)) {
    return new ChatError.ContextLengthExceeded({
      ...fields,
      ...numberField("limit", /maximum context length is (\d+)/i, text),
      ...numberField("requested", /(?:requested|resolved to) (\d+)/i, text)
    })
  }
  return /content exists risk/i.test(text)
    ? new ChatError.ContentRejected(fields)
    : new ChatError.InvalidRequest(fields)
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
  "UND_ERR_CONNECT"
])

const certificateCode = /^(ERR_TLS_|CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH)/

/** The code deepest in the causes of an error, where the platform says what went wrong. */
export const codeOf = (error: unknown, depth = 0): string | undefined => {
  if (depth === 5 || typeof error !== "object" || error === null) return undefined
  const inner = hasProperty(error, "cause") ? codeOf(error.cause, depth + 1) : undefined
  return inner ?? (hasProperty(error, "code") && isString(error.code) ? error.code : undefined)
}

/** The error of a connection that could not be made, or broke. */
export const fromTransport = (error: unknown): ChatError.TransportError => {
  const code = codeOf(error)
  if (code !== undefined && (connectCodes.has(code) || certificateCode.test(code))) {
    return new ChatError.TransportError({ reason: new ChatError.ConnectFailed({ detail: code }) })
  }
  return connectionLost(code ?? "the connection ended early")
}

const connectionLost = (detail: string): ChatError.TransportError =>
  new ChatError.TransportError({ reason: new ChatError.ConnectionLost({ detail }) })
