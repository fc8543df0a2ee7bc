/** A completion in the shapes of Messages: one message, or events of its blocks, and no `[DONE]`. */
import type { Usage } from "@ballast/chat/Usage"
import type { Answer } from "./answer.ts"
import type { Encoding } from "./chatReply.ts"
import type { Call } from "./completion.ts"

type Fields = Record<string, unknown>

const inputTokens = ({ prompt_cache_hit_tokens, prompt_cache_miss_tokens }: Usage): Fields => ({
  input_tokens: prompt_cache_miss_tokens,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: prompt_cache_hit_tokens
})

const usageOf = (usage: Usage): Fields => ({ ...inputTokens(usage), output_tokens: usage.completion_tokens })

const reasons: Record<string, string> = {
  stop: "end_turn",
  length: "max_tokens",
  tool_calls: "tool_use",
  content_filter: "refusal"
}

const message = ({ head }: Answer, rest: Fields): Fields => ({
  id: head.id,
  type: "message",
  role: "assistant",
  model: head.model,
  stop_sequence: null,
  ...rest
})

const inputOf = (call: Call): unknown => {
  try {
    return JSON.parse(call.arguments.join(""))
  } catch {
    return {}
  }
}

interface Block {
  readonly whole: Fields
  readonly empty: Fields
  readonly deltas: ReadonlyArray<Fields>
}

/** A signature is not checked when it comes back. */
const blocksOf = ({ completion: { calls, content, reasoning }, head }: Answer): ReadonlyArray<Block> => [
  ...(reasoning === undefined ? [] : [{
    whole: { type: "thinking", thinking: reasoning.join(""), signature: head.id },
    empty: { type: "thinking", thinking: "", signature: "" },
    deltas: [
      ...reasoning.map((thinking) => ({ type: "thinking_delta", thinking })),
      { type: "signature_delta", signature: head.id }
    ]
  }]),
  ...(content.length === 0 ? [] : [{
    whole: { type: "text", text: content.join("") },
    empty: { type: "text", text: "" },
    deltas: content.map((text) => ({ type: "text_delta", text }))
  }]),
  ...calls.map((call) => {
    const named = { type: "tool_use", id: call.id, name: call.name }
    return {
      whole: { ...named, input: inputOf(call) },
      empty: { ...named, input: {} },
      deltas: call.arguments.map((partial_json) => ({ type: "input_json_delta", partial_json }))
    }
  })
]

const stopReason = ({ completion: { finish } }: Answer): string => reasons[finish] ?? finish

export const encoding: Encoding = {
  whole: (answer) =>
    message(answer, {
      content: blocksOf(answer).map(({ whole }) => whole),
      stop_reason: stopReason(answer),
      usage: usageOf(answer.usage)
    }),
  events: function*(answer) {
    // What is no token comes together with the next one.
    let waiting = ""
    const event = (type: string, fields: Fields) => {
      waiting += `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`
    }
    const flush = () => {
      const text = waiting
      waiting = ""
      return text
    }
    event("message_start", {
      message: message(answer, {
        content: [],
        stop_reason: null,
        usage: { ...inputTokens(answer.usage), output_tokens: 0 }
      })
    })
    yield flush()
    for (const [index, { deltas, empty }] of blocksOf(answer).entries()) {
      event("content_block_start", { index, content_block: empty })
      for (const delta of deltas) {
        event("content_block_delta", { index, delta })
        yield flush()
      }
      event("content_block_stop", { index })
    }
    event("message_delta", {
      delta: { stop_reason: stopReason(answer), stop_sequence: null },
      usage: usageOf(answer.usage)
    })
    event("message_stop", {})
    yield flush()
  }
}
