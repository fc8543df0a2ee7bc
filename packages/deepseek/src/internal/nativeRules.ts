/** What DeepSeek would surely refuse of requests in other protocols than chat. What has another type is left to the service to tell. */
import type * as Native from "@ballast/chat/Native"
import { hasProperty, isNumber, isString } from "effect/Predicate"
import type { Problem } from "../Preflight.ts"

type Body = Native.Native["body"]

const above = (body: Body, name: string, most: number): Problem | undefined => {
  const value = body[name]
  return isNumber(value) && !(value >= 0 && value <= most)
    ? { path: name, detail: `must be from 0 to ${most}, got ${value}` }
    : undefined
}

const ofCompletions = (body: Body): Problem | undefined => {
  const { echo, logprobs, stop, suffix } = body
  if (echo === true && suffix != null) return { path: "echo", detail: "can not be used with suffix" }
  if (echo === true && logprobs != null) return { path: "echo", detail: "can not be used with logprobs" }
  if (Array.isArray(stop) && stop.length > 16) {
    return { path: "stop", detail: `must have at most 16 texts, got ${stop.length}` }
  }
  return above(body, "logprobs", 20) ?? above(body, "temperature", 2)
}

/** The one custom tool that DeepSeek knows. */
const custom = "apply_patch"

const ofResponses = (body: Body): Problem | undefined => {
  const { tools } = body
  const unknown = Array.isArray(tools)
    ? tools.findIndex((tool: unknown) =>
      hasProperty(tool, "type") && tool.type === "custom" && hasProperty(tool, "name") && isString(tool.name) &&
      tool.name !== custom
    )
    : -1
  return unknown === -1
    ? above(body, "top_logprobs", 20) ?? above(body, "temperature", 2)
    : { path: `tools[${unknown}]`, detail: `must be a function: of custom tools DeepSeek takes ${custom} alone` }
}

export const problem = ({ body, protocol }: Native.Native): Problem | undefined =>
  protocol === "completions" ? ofCompletions(body) : protocol === "responses" ? ofResponses(body) : undefined

const isAssistant = (item: unknown): boolean =>
  hasProperty(item, "type") && (item.type === "function_call" || item.type === "custom_tool_call") ||
  hasProperty(item, "role") && item.role === "assistant"

const isReasoning = (item: unknown): item is object => hasProperty(item, "type") && item.type === "reasoning"

const saysText = (part: unknown): boolean => hasProperty(part, "text") && isString(part.text) && part.text !== ""

/** Whether thinking is in it: as text, or as what a client carries. */
const hasThought = (item: object): boolean =>
  hasProperty(item, "content") && Array.isArray(item.content) && item.content.some(saysText) ||
  hasProperty(item, "encrypted_content") && isString(item.encrypted_content) && item.encrypted_content !== ""

/** The service takes no empty thinking here. */
const blank = { content: [{ type: "reasoning_text", text: " " }] }

const mendItems = (items: ReadonlyArray<unknown>): ReadonlyArray<unknown> | undefined => {
  let changed = false
  let inTurn = false
  const mended = items.flatMap((item) => {
    if (isReasoning(item)) {
      inTurn = true
      if (hasThought(item)) return [item]
      changed = true
      const { encrypted_content: _, ...rest } = { encrypted_content: undefined, ...item }
      return [{ ...rest, ...blank }]
    }
    const wasInTurn = inTurn
    inTurn = isAssistant(item)
    if (!inTurn || wasInTurn) return [item]
    changed = true
    return [{ type: "reasoning", summary: [], ...blank }, item]
  })
  return changed ? mended : undefined
}

/**
 * Puts blank thinking where a turn of the assistant has lost its own, which the service wants back beside tools; the very same body where
 * nothing is lost.
 */
export const mendResponses = (body: Body): Body => {
  const { input, reasoning, tools } = body
  const thinks = !(hasProperty(reasoning, "effort") && reasoning.effort === "none")
  if (!thinks || !Array.isArray(tools) || tools.length === 0 || !Array.isArray(input)) return body
  const mended = mendItems(input)
  return mended === undefined ? body : { ...body, input: mended }
}
