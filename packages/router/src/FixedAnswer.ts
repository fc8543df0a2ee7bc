/**
 * A model that gives the same text to every request, as a whole answer or as a stream. It asks no service and costs no tokens.
 *
 * @since 0.1.0
 */
import type { ChatChunk } from "@ballast/chat/ChatChunk"
import type { ChatCompletion } from "@ballast/chat/ChatCompletion"
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"

const usage = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 }

const headOf = ({ model }: ChatRequest) =>
  Effect.map(Effect.zip(Clock.currentTimeMillis, Random.next), ([now, chance]) => ({
    id: `fixed-${Math.floor(chance * 2 ** 48).toString(16).padStart(12, "0")}`,
    created: Math.floor(now / 1000),
    model
  }))

/**
 * Answers with a text.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (content: string): ChatModel<never> => ({
  complete: (request) =>
    Effect.map(headOf(request), (head): ChatCompletion => ({
      ...head,
      object: "chat.completion",
      choices: [{ index: 0, message: { role: "assistant", content }, finish_reason: "stop" }],
      usage
    })),
  stream: (request) =>
    Stream.unwrap(Effect.map(headOf(request), (head) => {
      const chunk = (rest: Pick<ChatChunk, "choices" | "usage">): ChatChunk => ({
        ...head,
        object: "chat.completion.chunk",
        ...rest
      })
      return Stream.make(
        chunk({ choices: [{ index: 0, delta: { role: "assistant", content }, finish_reason: null }] }),
        chunk({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }], usage })
      )
    }))
})
