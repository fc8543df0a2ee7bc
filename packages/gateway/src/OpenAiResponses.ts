/**
 * The dialect of OpenAI's Responses.
 *
 * A service that speaks Responses gets the request as it came, but for the model, and its answer goes back as it came; for others both are
 * translated (`ResponsesChat` says what that loses). Checked is only what the gateway relies on: a JSON object with a `model` of a sane
 * length, an `input` or `instructions` without references to stored items, and a sane `stream`.
 *
 * A stream that fails on its way ends in `response.failed` and `error`, which go on counting `sequence_number`. There is no `[DONE]`.
 *
 * @see {@link https://platform.openai.com/docs/api-reference/responses}
 * @since 0.1.0
 */
import * as Native from "@ballast/chat/Native"
import * as ResponsesChat from "@ballast/chat/ResponsesChat"
import * as WireText from "@ballast/chat/WireText"
import * as Result from "effect/Result"
import type { Dialect, Events } from "./Dialect.ts"
import type { ErrorResponse } from "./ErrorResponse.ts"
import * as envelope from "./internal/envelope.ts"

const problemOf = ({ input, instructions }: envelope.Fields): envelope.Problem | undefined => {
  if (input != null && typeof input !== "string" && !Array.isArray(input)) {
    return { param: "input", detail: "`input` must be a text or an array of items." }
  }
  if (input == null && instructions == null) {
    return { param: "input", detail: "`input` must be there: a text, or the conversation as an array of items." }
  }
  const reference = Array.isArray(input) ? input.findIndex(isReference) : -1
  return reference === -1 ? undefined : {
    param: `input.${reference}`,
    detail:
      `\`input.${reference}\` refers to an item of an earlier answer, and no answers are stored. Send the item itself: ` +
      "with the AI SDK, set the option `store` of the provider to false."
  }
}

const isReference = (item: unknown): boolean => envelope.isObject(item) && item["type"] === "item_reference"

/** Clients know some errors by the names that OpenAI has for them. */
const codes: Readonly<Record<string, string>> = {
  insufficient_balance: "insufficient_quota",
  concurrency_exceeded: "rate_limit_exceeded",
  upstream_overloaded: "server_is_overloaded"
}

const eventsOf = (request: object): Events => {
  const writer = ResponsesChat.writer(request)
  return {
    chunk: writer.chunk,
    end: writer.end,
    error: ({ body: { error: { message } }, code }: ErrorResponse) =>
      writer.fail({ code: codes[code] ?? code, message }),
    ping: ": keep-alive\n\n"
  }
}

/**
 * @category dialects
 * @since 0.1.0
 */
export const dialect: Dialect = {
  decode: ({ json, text }) =>
    Result.map(envelope.check(json, problemOf), (body) => ({
      request: ResponsesChat.attach(WireText.attach(body, text)),
      completion: (completion) =>
        Native.textOf(completion, "responses") ?? JSON.stringify(ResponsesChat.fromCompletion(completion, body)),
      events: body["stream"] === true ? eventsOf(body) : undefined
    })),
  error: ({ body }) => JSON.stringify(body)
}
