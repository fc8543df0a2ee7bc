/**
 * The dialect of OpenAI's embeddings.
 *
 * Request and answer go on as they came, but for the model. Only a service that has such an endpoint can answer, so give the model a target of
 * its own. Checked is what the gateway relies on: a JSON object with a `model` of a sane length, and an `input`.
 *
 * @see {@link https://platform.openai.com/docs/api-reference/embeddings}
 * @since 0.1.0
 */
import * as Embeddings from "@ballast/chat/Embeddings"
import * as Native from "@ballast/chat/Native"
import * as WireText from "@ballast/chat/WireText"
import * as Result from "effect/Result"
import type { Dialect } from "./Dialect.ts"
import * as envelope from "./internal/envelope.ts"

const problemOf = ({ input }: envelope.Fields): envelope.Problem | undefined =>
  (typeof input === "string" || Array.isArray(input)) && input.length > 0
    ? undefined
    : { param: "input", detail: "`input` must be a text, or an array of texts." }

/**
 * @category dialects
 * @since 0.1.0
 */
export const dialect: Dialect = {
  decode: ({ json, text }) =>
    Result.map(envelope.check(json, problemOf), (body) => ({
      request: Embeddings.attach(WireText.attach(body, text)),
      completion: (completion) => Native.textOf(completion, "embeddings") ?? "{\"object\":\"list\",\"data\":[]}",
      events: undefined
    })),
  error: ({ body }) => JSON.stringify(body)
}
