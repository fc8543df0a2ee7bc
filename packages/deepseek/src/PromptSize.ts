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
import * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import { choices } from "./internal/request.ts"
import type { Tokenizer, TokenizerUnavailable } from "./Tokenizer.ts"

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

/** What a prompt is counted by: its texts, and the tokens of all else. */
interface Parts {
  readonly texts: Array<string>
  tokens: number
}

const addText = ({ texts }: Parts, value: unknown): void => {
  if (typeof value === "string") texts.push(value)
}

/** A part that is no text is an image, at its highest price. */
const addContent = (parts: Parts, content: unknown): void => {
  addText(parts, content)
  for (const part of listOf(content)) {
    if (fieldOf(part, "type") === "text") addText(parts, fieldOf(part, "text"))
    else parts.tokens += perImage
  }
}

const addFunction = (parts: Parts, call: unknown, ...fields: ReadonlyArray<string>): void => {
  const named = fieldOf(call, "function")
  for (const field of fields) addText(parts, fieldOf(named, field))
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

const partsOf = (request: ChatRequest): Parts => {
  const tools = listOf(request.tools)
  const parts: Parts = { texts: [], tokens: hidden.always + (isThinking(request) ? hidden.thinking : 0) }
  for (const message of listOf(request.messages)) {
    parts.tokens += perMessage
    addContent(parts, fieldOf(message, "content"))
    if (fieldOf(message, "role") !== "assistant") continue
    if (tools.length > 0) addText(parts, fieldOf(message, "reasoning_content"))
    for (const call of listOf(fieldOf(message, "tool_calls"))) addFunction(parts, call, "name", "arguments")
  }
  if (tools.length > 0) parts.tokens += hidden.tools
  for (const tool of tools) {
    addFunction(parts, tool, "name", "description")
    addText(parts, JSON.stringify(fieldOf(fieldOf(tool, "function"), "parameters") ?? {}))
  }
  return parts
}

/**
 * The estimated tokens of a request's prompt.
 *
 * @category accessors
 * @since 0.1.0
 */
export const ofPrompt = (request: ChatRequest): number => {
  const { texts, tokens } = partsOf(request)
  return Math.ceil(texts.reduce((sum, text) => sum + ofText(text), tokens))
}

/**
 * The most tokens that a request's prompt can have: DeepSeek's vocabulary has a token for each byte, so a text has no more tokens than bytes of UTF-8.
 * Of English that is four times the tokens, of Chinese five times; there are texts that come near it.
 *
 * @category accessors
 * @since 0.1.0
 */
export const mostOfPrompt = (request: ChatRequest): number => {
  const { texts, tokens } = partsOf(request)
  return texts.reduce((sum, text) => sum + Buffer.byteLength(text), tokens)
}

/**
 * The tokens of a request's prompt, its texts counted with DeepSeek's vocabulary.
 *
 * @category accessors
 * @since 0.1.0
 */
export const counted = (
  request: ChatRequest,
  tokenizer: Tokenizer
): Effect.Effect<number, TokenizerUnavailable> =>
  Effect.suspend(() => {
    const { texts, tokens } = partsOf(request)
    return Effect.map(tokenizer.count(texts), (counted) => counted + tokens)
  })

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
