/**
 * The dialect of Anthropic's Messages, and that of counting their tokens.
 *
 * A service that speaks Messages gets the request as it came, but for the model and what DeepSeek would refuse, with its `anthropic-version` and
 * `anthropic-beta`, and its answer goes back as it came; for others both are translated (`MessagesChat` says what that loses). Checked is only what the gateway relies on: a JSON object with a `model` of a sane length,
 * turns with a role and content, and a sane `stream`.
 *
 * Clients ask for models of Anthropic's. A name that the settings don't have is another one by the table `messages.models` of the
 * settings.
 *
 * @see {@link https://docs.anthropic.com/en/api/messages}
 * @since 0.1.0
 */
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as MessagesChat from "@ballast/chat/MessagesChat"
import * as Native from "@ballast/chat/Native"
import * as WireText from "@ballast/chat/WireText"
import * as PromptSize from "@ballast/deepseek/PromptSize"
import * as Result from "effect/Result"
import type { Dialect, Events } from "./Dialect.ts"
import type { ErrorResponse, Failure } from "./ErrorResponse.ts"
import * as envelope from "./internal/envelope.ts"

const roles: ReadonlySet<unknown> = new Set(["user", "assistant", "system"])

const problemOfTurn = (turn: unknown, param: string): envelope.Problem | undefined => {
  if (!envelope.isObject(turn)) {
    return { param, detail: `\`${param}\` must be an object with \`role\` and \`content\`.` }
  }
  if (!roles.has(turn["role"])) {
    return { param: `${param}.role`, detail: `\`${param}.role\` must be "user", "assistant" or "system".` }
  }
  if (typeof turn["content"] !== "string" && !Array.isArray(turn["content"])) {
    return { param: `${param}.content`, detail: `\`${param}.content\` must be a text or an array of blocks.` }
  }
  return undefined
}

const problemOf = (body: envelope.Fields): envelope.Problem | undefined => {
  const { messages } = body
  for (const [index, turn] of (Array.isArray(messages) ? messages : []).entries()) {
    const problem = problemOfTurn(turn, `messages.${index}`)
    if (problem !== undefined) return problem
  }
  return envelope.problemOfMessages(body)
}

/** The types that Anthropic's errors have, by status. */
const types: Readonly<Record<number, string>> = {
  401: "authentication_error",
  402: "billing_error",
  403: "permission_error",
  404: "not_found_error",
  408: "timeout_error",
  413: "request_too_large",
  429: "rate_limit_error",
  503: "overloaded_error",
  504: "timeout_error",
  529: "overloaded_error"
}

const typeOf = (status: number): string =>
  types[status] ?? (status >= 400 && status < 500 ? "invalid_request_error" : "api_error")

/** Clients that shorten a conversation by themselves know that they have to by these words. */
const messageOf = ({ body, code }: ErrorResponse): string =>
  code === "context_length_exceeded" ? `prompt is too long: ${body.error.message}` : body.error.message

const error = (response: ErrorResponse): string =>
  JSON.stringify({ type: "error", error: { type: typeOf(response.status), message: messageOf(response) } })

const makeEvents = (request: ChatRequest): Events => ({
  ...MessagesChat.writer(() => PromptSize.ofPrompt(request)),
  error: (failure) => `event: error\ndata: ${error(failure)}\n\n`,
  ping: "event: ping\ndata: {\"type\": \"ping\"}\n\n"
})

/** Headers that say how a request is to be read. */
const passed = ["anthropic-version", "anthropic-beta"]

const maxHeaderLength = 2_048

const headersOf = (headers: Readonly<Record<string, string | undefined>>): Record<string, string> =>
  Object.fromEntries(passed.flatMap((name) => {
    const value = headers[name]
    return value !== undefined && value.length <= maxHeaderLength && /^[\x20-\x7e]+$/.test(value) ? [[name, value]] : []
  }))

/**
 * Which model a name asks for.
 *
 * @category models
 * @since 0.1.0
 */
export type Rename = (model: string) => string

/** Whether a name is the one of a pattern; a `*` at its end stands for any ending. */
const matches = (pattern: string, name: string): boolean =>
  pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern

/**
 * Renames by a table of patterns, the first that matches, where there is no model of the name, but one of the other.
 *
 * @category constructors
 * @since 0.1.0
 */
export const renames = (
  table: Readonly<Record<string, string>>,
  models: Readonly<Record<string, unknown>>,
  others: string
): Rename => {
  const rows = Object.entries(table)
  return (model) => {
    if (Object.hasOwn(models, model)) return model
    const to = rows.find(([pattern]) => matches(pattern, model))?.[1]
    return to !== undefined && (Object.hasOwn(models, to) || Object.hasOwn(models, others)) ? to : model
  }
}

const decode = (
  protocol: "messages" | "countTokens",
  rename: Rename
): Dialect["decode"] =>
({ json, text }, headers) =>
  Result.map(envelope.check(json, problemOf), (fields) => {
    const chat = MessagesChat.toChat(fields)
    const request = Native.attach({ ...chat, model: rename(chat.model) }, {
      protocol,
      body: WireText.attach(fields, text),
      headers: headersOf(headers),
      only: protocol === "countTokens"
    })
    return {
      request,
      completion: (completion) => {
        const native = Native.textOf(completion, protocol)
        return native ?? JSON.stringify(MessagesChat.fromCompletion(completion))
      },
      events: protocol === "messages" && fields["stream"] === true ? makeEvents(request) : undefined,
      ...(protocol === "countTokens" ? { recover: estimated(request) } : undefined)
    }
  })

/** Where no service can count. */
const estimated = (request: ChatRequest) => (failure: Failure): string | undefined =>
  failure._tag === "ClientError" && failure.reason._tag === "NotFound"
    ? JSON.stringify({ input_tokens: PromptSize.ofPrompt(request) })
    : undefined

const common = {
  error,
  headers: (requestId: string) => ({ "request-id": requestId })
}

/**
 * `POST /v1/messages`.
 *
 * @category dialects
 * @since 0.1.0
 */
export const messages = (rename: Rename): Dialect => ({ ...common, decode: decode("messages", rename) })

/**
 * `POST /v1/messages/count_tokens`. Where no service can count, the answer is an estimate (`PromptSize`).
 *
 * @category dialects
 * @since 0.1.0
 */
export const countTokens = (rename: Rename): Dialect => ({ ...common, decode: decode("countTokens", rename) })
