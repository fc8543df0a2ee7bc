/**
 * The dialect of text completions, with a suffix or without (FIM).
 *
 * Request and answer go on as they came, but for the model. Only a service that has such an endpoint can answer. Checked is what the gateway
 * relies on: a JSON object with a `model` of a sane length, a `prompt`, and a sane `stream`.
 *
 * @see {@link https://api-docs.deepseek.com/api/create-completion}
 * @since 0.1.0
 */
import * as ChatChunk from "@ballast/chat/ChatChunk"
import * as Completions from "@ballast/chat/Completions"
import * as Native from "@ballast/chat/Native"
import * as WireText from "@ballast/chat/WireText"
import * as Result from "effect/Result"
import type { Dialect, Events } from "./Dialect.ts"
import type { ErrorResponse } from "./ErrorResponse.ts"
import * as envelope from "./internal/envelope.ts"

const problemOf = ({ prompt }: envelope.Fields): envelope.Problem | undefined =>
  typeof prompt === "string" ? undefined : { param: "prompt", detail: "`prompt` must be a text." }

const event = (json: string): string => `data: ${json}\n\n`

const error = ({ body }: ErrorResponse): string => JSON.stringify(body)

const eventsOf = (wantsUsage: boolean): Events => ({
  chunk: (chunk) =>
    !wantsUsage && ChatChunk.isUsageOnly(chunk)
      ? ""
      : Native.textOf(chunk, "completions") ?? event(JSON.stringify(Completions.fromChunk(chunk))),
  end: () => event("[DONE]"),
  error: (failure) => event(error(failure)),
  ping: ": keep-alive\n\n"
})

const wantsUsage = ({ stream_options: options }: envelope.Fields): boolean =>
  envelope.isObject(options) && options["include_usage"] === true

/**
 * @category dialects
 * @since 0.1.0
 */
export const dialect: Dialect = {
  decode: ({ json, text }) =>
    Result.map(envelope.check(json, problemOf), (body) => ({
      request: Completions.attach(WireText.attach(body, text)),
      completion: (completion) =>
        Native.textOf(completion, "completions") ?? JSON.stringify(Completions.fromCompletion(completion)),
      events: body["stream"] === true ? eventsOf(wantsUsage(body)) : undefined
    })),
  error
}
