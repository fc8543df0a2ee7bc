import {
  chunk,
  completion,
  done,
  event,
  last,
  opening,
  thought,
  token,
  traceId,
  usage
} from "../../../../test/support/wire.ts"
import type { Reply } from "./scripted.ts"

export { chunk, completion, done, event, last, opening, thought, token, traceId, usage }

/** A good answer to `complete`. */
export const good: Reply = { headers: { "x-ds-trace-id": traceId }, body: [JSON.stringify(completion())] }

/** A streamed answer of the given pieces. */
export const sse = (body: NonNullable<Reply["body"]>, end: Reply["end"] = "clean"): Reply => ({
  headers: { "content-type": "text/event-stream", "x-ds-trace-id": traceId },
  body,
  end
})

/** A good answer to `stream`. */
export const goodStream = sse([opening, thought("Hmm"), token("Hel"), token("lo"), last, done])

export const failure = (status: number, error: object, headers: Record<string, string> = {}): Reply => ({
  status,
  headers: { "content-type": "application/json", "x-ds-trace-id": traceId, ...headers },
  body: [JSON.stringify({ error: { param: null, ...error } })]
})

export const busy = failure(503, {
  message: "Service is too busy. We advise users to temporarily switch to alternative LLM API service providers.",
  type: "service_unavailable_error",
  code: "service_unavailable_error"
})
