/**
 * The size of a request in tokens, before it is sent.
 *
 * By default it is estimated by the documented ratios: 0.3 token per character and 0.6 per Chinese one, 1,024 for an image at most, and what the
 * service adds by itself (measured: 4, 26 more for thinking, 240 for tools). What a call really used is in its `usage`.
 *
 * @see {@link https://api-docs.deepseek.com/quick_start/token_usage}
 * @since 0.1.0
 */
import type { ChatRequest, Content } from "@ballast/chat/ChatRequest"

const isChinese = (code: number): boolean => code >= 0x2e80 && code <= 0x9fff || code >= 0xf900 && code <= 0xffef

/**
 * Tokens of a text by the ratios; linear in its length.
 *
 * @category accessors
 * @since 0.1.0
 */
export const ofText = (text: string): number => {
  let tenths = 0
  for (let i = 0; i < text.length; i++) tenths += isChinese(text.charCodeAt(i)) ? 6 : 3
  return tenths / 10
}

const perImage = 1024
const perMessage = 3
const hidden = { always: 4, thinking: 26, tools: 240 }

/** A part that is no text is an image, at its highest price. */
const ofContent = (content: Content | null | undefined): number => {
  if (content == null) return 0
  if (typeof content === "string") return ofText(content)
  let tokens = 0
  for (const part of content) tokens += part.type === "text" ? ofText(part.text) : perImage
  return tokens
}

/**
 * Whether a model thinks before it answers: unless it is told not to.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isThinking = (
  { reasoning_effort, thinking }: Pick<ChatRequest, "thinking" | "reasoning_effort">
): boolean => thinking?.type !== "disabled" && reasoning_effort !== "none"

/**
 * The estimated tokens of a request's prompt.
 *
 * @category accessors
 * @since 0.1.0
 */
export const ofPrompt = (request: ChatRequest): number => {
  const { messages, tools } = request
  const hasTools = tools != null && tools.length > 0
  let tokens = hidden.always + (isThinking(request) ? hidden.thinking : 0)
  for (const message of messages) {
    tokens += perMessage + ofContent(message.content)
    if (message.role !== "assistant") continue
    if (hasTools) tokens += ofText(message.reasoning_content ?? "")
    for (const { function: called } of message.tool_calls ?? []) tokens += ofText(called.name + called.arguments)
  }
  if (hasTools) {
    tokens += hidden.tools
    for (const { function: { description, name, parameters } } of tools) {
      tokens += ofText(name + (description ?? "") + JSON.stringify(parameters ?? {}))
    }
  }
  return Math.ceil(tokens)
}

/**
 * The most tokens that the answer may have, reasoning included: `max_tokens`, or the service's default.
 *
 * @category accessors
 * @since 0.1.0
 */
export const ofAnswer = (request: ChatRequest): number =>
  request.max_tokens ??
    (!isThinking(request) ? 8_192 : request.reasoning_effort === "max" ? 131_072 : 65_536)
