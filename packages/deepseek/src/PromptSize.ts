/**
 * The size of a request in tokens, before it is sent.
 *
 * By default it is estimated by the documented ratios: 0.3 token per character and 0.6 per Chinese one, 1,024 for an image at most, and what the
 * service adds by itself (measured: 4, 26 more for thinking, 240 for tools). What a call really used is in its `usage`.
 *
 * @see {@link https://api-docs.deepseek.com/quick_start/token_usage}
 * @since 0.1.0
 */
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import { hasProperty } from "effect/Predicate"
import { choices } from "./internal/request.ts"

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

/** A request that is only passed on may hold anything in any place: what is not there counts as nothing. */
const fieldOf = (value: unknown, name: string): unknown => hasProperty(value, name) ? value[name] : undefined

const listOf = (value: unknown): ReadonlyArray<unknown> => Array.isArray(value) ? value : []

const textOf = (value: unknown): number => typeof value === "string" ? ofText(value) : 0

/** A part that is no text is an image, at its highest price. */
const ofContent = (content: unknown): number => {
  let tokens = textOf(content)
  for (const part of listOf(content)) {
    tokens += fieldOf(part, "type") === "text"
      ? textOf(fieldOf(part, "text"))
      : perImage
  }
  return tokens
}

const ofFunction = (call: unknown, ...fields: ReadonlyArray<string>): number => {
  const named = fieldOf(call, "function")
  return fields.reduce((tokens, field) => tokens + textOf(fieldOf(named, field)), 0)
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
  const tools = listOf(request.tools)
  let tokens = hidden.always + (isThinking(request) ? hidden.thinking : 0)
  for (const message of listOf(request.messages)) {
    tokens += perMessage + ofContent(fieldOf(message, "content"))
    if (fieldOf(message, "role") !== "assistant") continue
    if (tools.length > 0) tokens += textOf(fieldOf(message, "reasoning_content"))
    for (const call of listOf(fieldOf(message, "tool_calls"))) tokens += ofFunction(call, "name", "arguments")
  }
  if (tools.length > 0) tokens += hidden.tools
  for (const tool of tools) {
    const parameters = fieldOf(fieldOf(tool, "function"), "parameters")
    tokens += ofFunction(tool, "name", "description") + ofText(JSON.stringify(parameters ?? {}))
  }
  return Math.ceil(tokens)
}

/**
 * The most tokens that the answer may have, reasoning included: `max_tokens`, or the service's default, for each of its choices (`n`).
 *
 * @category accessors
 * @since 0.1.0
 */
export const ofAnswer = (request: ChatRequest): number => {
  const { max_tokens: most, reasoning_effort: effort } = request
  const usual = !isThinking(request) ? 8_192 : effort === "max" ? 131_072 : 65_536
  return Math.ceil(typeof most === "number" && most > 0 ? most : usual) * choices(request)
}
