/** The service's error answers: what each status carries. */

/** An error answer. Plain text has no `Content-Type`, as the service sends it. */
export interface Refusal {
  readonly status: number
  readonly contentType: string | undefined
  readonly body: (requestId: string) => string
}

const quotesRequestId = new Set([400, 401])

const json = (status: number, message: string, type: string, code: string): Refusal => ({
  status,
  contentType: "application/json",
  body: (requestId) => {
    const suffix = quotesRequestId.has(status) ? ` (request_id: ${requestId})` : ""
    return JSON.stringify({ error: { message: message + suffix, type, param: null, code } })
  }
})

const verbatim = (status: number, contentType: string | undefined, body: string): Refusal => ({
  status,
  contentType,
  body: () => body
})

const page = (status: number, reason: string): Refusal =>
  verbatim(
    status,
    "text/html",
    `<html>\r\n<head><title>${status} ${reason}</title></head>\r\n<body>\r\n<center><h1>${status} ${reason}</h1></center>\r\n` +
      "<hr><center>openresty</center>\r\n</body>\r\n</html>\r\n"
  )

export const invalid = (message: string): Refusal =>
  json(400, message, "invalid_request_error", "invalid_request_error")

export const noAuthorization = verbatim(401, undefined, "Authentication Fails (governor)")

export const malformedAuthorization = verbatim(
  401,
  undefined,
  "Authentication Fails (auth header format should be Bearer sk-...)"
)

export const wrongKey = (key: string): Refusal =>
  json(
    401,
    `Authentication Fails, Your api key: ****${key.slice(-4)} is invalid`,
    "authentication_error",
    "invalid_request_error"
  )

export const insufficientBalance = json(402, "Insufficient Balance", "unknown_error", "invalid_request_error")

export const notFound = json(404, "Not Found", "invalid_request_error", "invalid_request_error")

export const noFile = (id: string): Refusal =>
  json(404, `No such file: ${id.slice(0, 256)}`, "invalid_request_error", "invalid_request_error")

export const tooLarge = page(413, "Request Entity Too Large")

const tooMany = (message: string): Refusal => json(429, message, "rate_limit_error", "invalid_request_error")

export const concurrency = (current: number, limit: number): Refusal =>
  tooMany(
    `Too many requests. Your current concurrency is ${current}, which exceeds your concurrency limit of ${limit}.`
  )

export const lowBalance = (current: number, limit: number): Refusal =>
  tooMany(
    `Too many requests. Your current concurrency is ${current}, which exceeds your concurrency limit of ${limit} based on your ` +
      "remaining balance. Please top up your balance to restore your concurrency."
  )

export const rate = tooMany("Rate limit reached for TPM")

const tooBusy = json(
  503,
  "Service is too busy. We advise users to temporarily switch to alternative LLM API service providers.",
  "service_unavailable_error",
  "service_unavailable_error"
)

const bodiless: ReadonlySet<number> = new Set([204, 205, 304])

/** Whether a status has a body of its own in place of the answer: an error, a redirect, or none at all. */
export const replaces = (status: number): boolean => status >= 300 || bodiless.has(status)

/** What the service answers with a status, where the request gives no reason for it. */
export const ofStatus = (status: number): Refusal => {
  if (bodiless.has(status)) return verbatim(status, undefined, "")
  switch (status) {
    case 301:
      return page(301, "Moved Permanently")
    case 302:
      return page(302, "Found")
    case 303:
      return page(303, "See Other")
    case 307:
      return page(307, "Temporary Redirect")
    case 308:
      return page(308, "Permanent Redirect")
    case 400:
      return invalid("Content Exists Risk")
    case 401:
      return wrongKey("sk-simulated")
    case 402:
      return insufficientBalance
    case 404:
      return notFound
    case 413:
      return tooLarge
    case 422:
      return json(422, "Invalid parameters", "invalid_request_error", "invalid_request_error")
    case 429:
      return concurrency(2_501, 2_500)
    case 500:
      return page(500, "Internal Server Error")
    case 502:
      return page(502, "Bad Gateway")
    case 503:
      return tooBusy
    case 504:
      return page(504, "Gateway Time-out")
    default:
      return status >= 400 && status < 500
        ? json(status, `Simulated status ${status}`, "invalid_request_error", "invalid_request_error")
        : page(status, status < 400 ? "Simulated Redirect" : "Simulated Error")
  }
}

/** An answer with a status and, where that can have one, a body of the user's own. */
export const withBody = (status: number, body: string): Refusal =>
  bodiless.has(status)
    ? ofStatus(status)
    : verbatim(status, /^\s*[[{]/.test(body) ? "application/json" : undefined, body)

/** The error object of a stream that fails on the way. */
export const inStream: string = tooBusy.body("")
