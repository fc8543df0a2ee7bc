/**
 * Puts right what of a request of Responses DeepSeek would refuse.
 *
 * | in the request | becomes | why |
 * |---|---|---|
 * | a turn of the assistant without thinking, while thinking and with `tools` | the same with blank thinking in front | the service wants the thinking of every earlier turn back, and takes no empty one |
 * | an effort that is an alias | the effort that it stands for | the service refuses some aliases |
 */
import type * as Native from "@ballast/chat/Native"
import { hasProperty, isString } from "effect/Predicate"
import type { Model } from "../Provider.ts"
import { effortOf } from "./efforts.ts"

type Body = Native.Native["body"]

/** Whether the model thinks before it answers such a request. */
export const isThinking = ({ reasoning }: Body): boolean =>
  !(hasProperty(reasoning, "effort") && reasoning.effort === "none")

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

/** The very same body where nothing has to change. */
export const mend = (body: Body, { efforts }: Model): Body => {
  const { reasoning } = body
  const effort = hasProperty(reasoning, "effort") ? effortOf(reasoning.effort, efforts) : undefined
  return mendInput(effort === undefined ? body : { ...body, reasoning: { ...Object(reasoning), effort } })
}

const mendInput = (body: Body): Body => {
  const { input, tools } = body
  if (!isThinking(body) || !Array.isArray(tools) || tools.length === 0 || !Array.isArray(input)) return body
  const mended = mendItems(input)
  return mended === undefined ? body : { ...body, input: mended }
}
