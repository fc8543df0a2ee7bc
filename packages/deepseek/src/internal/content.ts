/** Messages as OpenTelemetry's conventions have them in attributes of spans: JSON of roles with parts. */
import type { ChatCompletion } from "@ballast/chat/ChatCompletion"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Content from "@ballast/telemetry/Content"

interface Part {
  readonly type: string
  readonly content?: string
}

/** A request that was only passed on may hold anything in the place of a message. */
const partsOf = (content: Content.Content, given: unknown): ReadonlyArray<Part> => {
  if (typeof given === "string") return [{ type: "text", content: Content.kept(content, given) }]
  if (!Array.isArray(given)) return []
  return given.map((part): Part =>
    typeof part?.text === "string"
      ? { type: "text", content: Content.kept(content, part.text) }
      : { type: typeof part?.type === "string" ? part.type : "other" }
  )
}

/** At most this many messages, the last ones, are kept. */
const maxMessages = 32

/** The messages that were asked. */
export const input = (content: Content.Content, request: ChatRequest): string =>
  JSON.stringify(
    request.messages.slice(-maxMessages).map(({ content: given, role }) => ({
      role,
      parts: partsOf(content, given)
    }))
  )

/** The message that was answered. */
export const output = (content: Content.Content, text: string, finishReason: string | undefined): string =>
  JSON.stringify([{ role: "assistant", parts: partsOf(content, text), finish_reason: finishReason }])

/** The text of a whole answer. */
export const textOf = (completion: ChatCompletion): string => completion.choices[0].message.content ?? ""
