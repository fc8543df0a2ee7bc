/**
 * The dialect of OpenAI's chat completions.
 *
 * Only what the gateway itself relies on is checked: a JSON object with a `model` of a sane length, `messages` and a sane `stream`.
 * Everything else, unknown fields included, goes to the service as it came; the service knows best what it accepts, and its text comes back.
 * A request is changed only where clients have habits that the service refuses:
 *
 * | a client sends | the service gets |
 * |---|---|
 * | a message of the role `developer` | the role `system` |
 * | `max_completion_tokens` without `max_tokens` | `max_tokens` |
 *
 * Chunks and answers are sent as the service wrote them. Usage that the client did not ask for, and that comes in a chunk without
 * choices, is left out. Clients that ask for usage get the cost in it: `cost`, a number, and `cost_currency`.
 *
 * @since 0.1.0
 */
import * as ChatChunk from "@ballast/chat/ChatChunk"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as WireText from "@ballast/chat/WireText"
import type { Cost } from "@ballast/deepseek/Pricing"
import * as BigDecimal from "effect/BigDecimal"
import * as Result from "effect/Result"
import type { Dialect, Events } from "./Dialect.ts"
import type { ErrorResponse } from "./ErrorResponse.ts"
import * as envelope from "./internal/envelope.ts"

const isDeveloper = (message: unknown): message is envelope.Fields =>
  envelope.isObject(message) && message["role"] === "developer"

/** What clients send that the service refuses, and what it gets instead. A habit that a request doesn't have costs a look. */
const habits: ReadonlyArray<(request: envelope.Fields) => envelope.Fields> = [
  (request) => {
    const messages = request["messages"]
    if (!Array.isArray(messages) || !messages.some(isDeveloper)) return request
    return { ...request, messages: messages.map((one) => isDeveloper(one) ? { ...one, role: "system" } : one) }
  },
  (request) => {
    if (request["max_completion_tokens"] == null || request["max_tokens"] != null) return request
    const { max_completion_tokens, ...rest } = request
    return { ...rest, max_tokens: max_completion_tokens }
  }
]

const withoutHabits = (request: ChatRequest): ChatRequest =>
  // Each keeps the shape.
  habits.reduce<envelope.Fields>(
    (request, habit) => habit(request),
    request as object as envelope.Fields
  ) as object as ChatRequest

const event = (json: string): string => `data: ${json}\n\n`

const error = ({ body }: ErrorResponse): string => JSON.stringify(body)

/** Quotes inside a string are escaped, so this is a key. */
const usageKey = /"usage"\s*:\s*\{/g

/** The chunk with the cost in its usage; all else stays as it came. One whose usage can not be found for sure stays as it is. */
const withCost = (chunk: ChatChunk.ChatChunk, { currency, total }: Cost): string => {
  const text = WireText.stringify(chunk)
  const [found, another] = text.matchAll(usageKey)
  if (found === undefined || another !== undefined) return text
  const at = found.index + found[0].length
  const comma = /^\s*\}/.test(text.slice(at, at + 16)) ? "" : ","
  return `${text.slice(0, at)}"cost":${BigDecimal.format(total)},"cost_currency":"${currency}"${comma}${text.slice(at)}`
}

const eventsOf = (wantsUsage: boolean): Events => ({
  chunk: (chunk, cost) =>
    !wantsUsage && ChatChunk.isUsageOnly(chunk)
      ? ""
      : event(wantsUsage && cost !== undefined ? withCost(chunk, cost) : WireText.stringify(chunk)),
  end: () => event("[DONE]"),
  error: (failure) => event(error(failure)),
  ping: ": keep-alive\n\n"
})

const withUsage = eventsOf(true)
const withoutUsage = eventsOf(false)

/**
 * @category dialects
 * @since 0.1.0
 */
export const dialect: Dialect = {
  decode: ({ json, text }) =>
    Result.map(envelope.check(json, envelope.problemOfMessages), (body) => {
      // The type promises more than is checked. That is meant: fields of the inside are only passed on, never read.
      const chat = body as object as ChatRequest
      const events = chat.stream !== true
        ? undefined
        : chat.stream_options?.include_usage === true
        ? withUsage
        : withoutUsage
      return { request: withoutHabits(WireText.attach(chat, text)), completion: WireText.stringify, events }
    }),
  error
}
