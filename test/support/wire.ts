import type { ChatCompletion } from "@ballast/chat"

export const usage = {
  prompt_tokens: 374,
  completion_tokens: 60,
  total_tokens: 434,
  prompt_tokens_details: { cached_tokens: 256 },
  completion_tokens_details: { reasoning_tokens: 16 },
  prompt_cache_hit_tokens: 256,
  prompt_cache_miss_tokens: 118
}

export const traceId = "0123456789abcdef0123456789abcdef"
const head = { id: "930c60df-bf64-41c9-a88e-3ec75f81e00e", created: 1789805239, model: "deepseek-flash" }

export const completion = (
  message: Partial<ChatCompletion.AssistantMessage> = { content: "Hello" },
  finish: string | null = "stop",
  more: object = {}
): ChatCompletion.ChatCompletion => ({
  ...head,
  object: "chat.completion",
  choices: [{ index: 0, message: { role: "assistant", ...message }, logprobs: null, finish_reason: finish }],
  usage,
  ...more
})

export const chunk = (delta: object, finish: string | null = null, more: object = {}) => ({
  ...head,
  object: "chat.completion.chunk",
  choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }],
  ...more
})

export const event = (data: unknown) => `data: ${JSON.stringify(data)}\n\n`

export const opening = event(chunk({ role: "assistant", content: null, reasoning_content: "" }))
export const token = (content: string) => event(chunk({ content, reasoning_content: null }))
export const thought = (reasoning_content: string) => event(chunk({ content: null, reasoning_content }))
export const last = event(chunk({ content: "" }, "stop", { usage }))
export const done = "data: [DONE]\n\n"
