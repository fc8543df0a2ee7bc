/** What DeepSeek would surely refuse of requests in other protocols than chat. What has another type is left to the service to tell. */
import type * as Native from "@ballast/chat/Native"
import { hasProperty, isNumber, isString } from "effect/Predicate"
import type { Problem } from "../Preflight.ts"
import * as messages from "./mendMessages.ts"
import * as responses from "./mendResponses.ts"
import { namesJson } from "./namesJson.ts"

type Body = Native.Native["body"]

const at = (path: string, detail: string): Problem => ({ path, detail })

const range = (body: Body, name: string, least: number, most: number): Problem | undefined => {
  const value = body[name]
  return isNumber(value) && !(value >= least && value <= most)
    ? at(name, `must be from ${least} to ${most}, got ${value}`)
    : undefined
}

const share = ({ top_p: value }: Body): Problem | undefined =>
  isNumber(value) && !(value > 0 && value <= 1)
    ? at("top_p", `must be above 0, and at most 1, got ${value}`)
    : undefined

const texts = (body: Body, name: string): Problem | undefined => {
  const value = body[name]
  return Array.isArray(value) && value.length > 16
    ? at(name, `must have at most 16 texts, got ${value.length}`)
    : undefined
}

const sampling = (body: Body): Problem | undefined => range(body, "temperature", 0, 2) ?? share(body)

const maxTokens = 393_216

const ofCompletions = (body: Body): Problem | undefined => {
  const { echo, logprobs, suffix } = body
  if (echo === true && suffix != null) return at("echo", "can not be used with suffix")
  if (echo === true && logprobs != null) return at("echo", "can not be used with logprobs")
  return texts(body, "stop") ?? range(body, "logprobs", 0, 20) ?? sampling(body)
}

const list = (u: unknown): ReadonlyArray<unknown> => Array.isArray(u) ? u : []

const text = (u: unknown, name: string): string | undefined => {
  const value = hasProperty(u, name) ? u[name] : undefined
  return isString(value) ? value : undefined
}

/** The results of tools that nothing before them has called. */
const orphan = (
  all: ReadonlyArray<readonly [path: string, item: unknown]>,
  calls: ReadonlySet<string>,
  results: ReadonlySet<string>,
  ids: { readonly call: string; readonly result: string }
): Problem | undefined => {
  const called = new Set<string>()
  for (const [path, item] of all) {
    const type = text(item, "type") ?? ""
    const id = text(item, calls.has(type) ? ids.call : ids.result)
    if (id === undefined) continue
    if (calls.has(type)) called.add(id)
    if (results.has(type) && !called.has(id)) return at(path, `must follow the call that it answers, ${id}`)
  }
  return undefined
}

const ofMessages = (body: Body): Problem | undefined => {
  const problem = range(body, "max_tokens", 1, maxTokens) ?? sampling(body) ?? texts(body, "stop_sequences")
  if (problem !== undefined) return problem
  if (messages.isForced(body) && messages.isThinking(body)) {
    return at("tool_choice", "can not force a call while thinking; set thinking: { type: \"disabled\" }, or \"auto\"")
  }
  const blocks = list(body["messages"]).flatMap((turn, index) =>
    list(hasProperty(turn, "content") ? turn.content : undefined).map((block, part) =>
      [`messages[${index}].content[${part}]`, block] as const
    )
  )
  return orphan(blocks, new Set(["tool_use"]), new Set(["tool_result"]), { call: "id", result: "tool_use_id" })
}

/** The one custom tool that DeepSeek knows. */
const custom = "apply_patch"

const isUnknown = (tool: unknown): boolean => {
  const name = text(tool, "name")
  return text(tool, "type") === "custom" && name !== undefined && name !== custom
}

/** Whether a function or a custom tool must be called; other types are for the service to judge. */
const isForced = (choice: unknown): boolean =>
  choice === "required" || ["function", "custom"].includes(text(choice, "type") ?? "")

const format = ({ input, instructions, text: said }: Body): Problem | undefined =>
  hasProperty(said, "format") && text(said.format, "type") === "json_object" && !namesJson([input, instructions])
    ? at("input", "must have the word \"json\" somewhere when text.format is json_object")
    : undefined

const calls = new Set(["function_call", "custom_tool_call"])
const outputs = new Set(["function_call_output", "custom_tool_call_output"])

const ofResponses = (body: Body): Problem | undefined => {
  const tools = list(body["tools"])
  const unknown = tools.findIndex(isUnknown)
  if (unknown !== -1) {
    return at(`tools[${unknown}]`, `must be a function: of custom tools DeepSeek takes ${custom} alone`)
  }
  if (tools.length > 0 && isForced(body["tool_choice"]) && responses.isThinking(body)) {
    return at("tool_choice", "can not force a call while thinking; set reasoning: { effort: \"none\" }, or \"auto\"")
  }
  const items = list(body["input"]).map((item, index) => [`input[${index}]`, item] as const)
  return range(body, "max_output_tokens", 1, maxTokens) ?? range(body, "top_logprobs", 0, 20) ?? sampling(body) ??
    format(body) ?? orphan(items, calls, outputs, { call: "call_id", result: "call_id" })
}

const rules: { readonly [P in Native.Protocol]?: (body: Body) => Problem | undefined } = {
  messages: ofMessages,
  responses: ofResponses,
  completions: ofCompletions
}

export const problem = (protocol: Native.Protocol, body: Body): Problem | undefined => rules[protocol]?.(body)
