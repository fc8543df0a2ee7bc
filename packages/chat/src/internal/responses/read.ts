/** Reads answers of Responses as chat. What has another type than documented is read as missing, and can't cost the answer. */
import type * as ChatChunk from "../../ChatChunk.ts"
import type { ChatCompletion } from "../../ChatCompletion.ts"
import type { ToolCall } from "../../ChatRequest.ts"
import { limits } from "../../Limits.ts"
import * as Native from "../../Native.ts"
import type { Usage } from "../../Usage.ts"
import { Unreadable } from "../../WireText.ts"
import { isObject, type Json, parse } from "../read.ts"

const protocol = "responses"

const textOf = (u: unknown): string => typeof u === "string" ? u : ""

const numberOf = (u: unknown): number => typeof u === "number" ? u : 0

const detailOf = (u: unknown, name: string): number => isObject(u) ? numberOf(u[name]) : 0

const usageOf = (usage: Json): Usage => {
  const prompt = numberOf(usage["input_tokens"])
  const completion = numberOf(usage["output_tokens"])
  const hit = Math.min(prompt, detailOf(usage["input_tokens_details"], "cached_tokens"))
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: hit },
    completion_tokens_details: { reasoning_tokens: detailOf(usage["output_tokens_details"], "reasoning_tokens") },
    prompt_cache_hit_tokens: hit,
    prompt_cache_miss_tokens: prompt - hit
  }
}

const headOf = (response: Json) => ({
  id: textOf(response["id"]),
  created: numberOf(response["created_at"]),
  model: textOf(response["model"])
})

/** The error that an answer states. One that failed without a word did so all the same. */
const failureOf = ({ error, status }: Json): Unreadable | undefined => {
  if (isObject(error)) return new Unreadable({ error: { type: "server_error", ...error } }, "an error")
  return status !== "failed" && status !== "cancelled"
    ? undefined
    : new Unreadable({ error: { code: "server_error", message: `The response has ${status}` } }, "an error")
}

const finishReason = ({ incomplete_details, status }: Json, called: boolean): string | null => {
  if (status === "incomplete") {
    return isObject(incomplete_details) && incomplete_details["reason"] === "content_filter"
      ? "content_filter"
      : "length"
  }
  return status === "completed" ? called ? "tool_calls" : "stop" : null
}

/** Items that chat has no words for are named, so that an answer of them is not taken for an empty one. */
interface Other {
  readonly native_item: string
}

const textsIn = (parts: unknown): string =>
  Array.isArray(parts)
    ? parts.map((part) => isObject(part) ? textOf(part["text"]) || textOf(part["refusal"]) : "").join("")
    : ""

/** A custom tool's call as one of a function: its input is the one argument. */
const callOf = (item: Json, index: number): ToolCall => ({
  index,
  id: textOf(item["call_id"]),
  type: "function",
  function: {
    name: textOf(item["name"]),
    arguments: item["type"] === "custom_tool_call"
      ? JSON.stringify({ input: textOf(item["input"]) })
      : textOf(item["arguments"])
  }
})

export const whole = (text: string): ChatCompletion | Unreadable => {
  const json = parse(text)
  if (json instanceof Unreadable) return json.json === undefined ? json : failureOf(Object(json.json)) ?? json
  const { output, usage } = json
  if (!Array.isArray(output)) return new Unreadable(json, "JSON without output")
  const failure = failureOf(json)
  if (failure !== undefined) return failure
  const said: Array<string> = []
  const thought: Array<string> = []
  const calls: Array<ToolCall> = []
  let other: Other | undefined
  for (const item of output) {
    if (!isObject(item)) continue
    switch (item["type"]) {
      case "message":
        said.push(textsIn(item["content"]))
        break
      case "reasoning":
        thought.push(textsIn(item["content"]) || textsIn(item["summary"]))
        break
      case "function_call":
      case "custom_tool_call":
        calls.push(callOf(item, calls.length))
        break
      default:
        other = { native_item: textOf(item["type"]) }
    }
  }
  if (calls.length > limits.toolCalls) return new Unreadable(json, `more than ${limits.toolCalls} tool calls`)
  const completion: ChatCompletion = {
    ...headOf(json),
    object: "chat.completion",
    choices: [{
      index: 0,
      message: {
        role: "assistant",
        content: said.join(""),
        ...(thought.length > 0 ? { reasoning_content: thought.join("") } : undefined),
        ...(calls.length > 0 ? { tool_calls: calls } : undefined),
        ...other
      },
      finish_reason: finishReason(json, calls.length > 0)
    }],
    ...(isObject(usage) ? { usage: usageOf(usage) } : undefined)
  }
  return Native.attachText(completion, protocol, text)
}

type Delta = ChatChunk.Delta & Partial<Other>

const nothing: Delta = {}

/** JSON without line ends, which are blank space there: each would begin a new line of an event. */
const oneLine = (text: string): string => /[\r\n]/.test(text) ? text.replace(/[\r\n]/g, " ") : text

/** The text of a JSON string, without its quotes: pieces of it may be joined. */
const escaped = (text: string): string => JSON.stringify(text).slice(1, -1)

const inputBegins = "{\"input\":\""

interface Call {
  readonly index: number
  readonly isCustom: boolean
  /** Whether a piece of its input has come. */
  begun: boolean
}

/** Reads the events of one stream. */
class Reader {
  /** By the place of their item in the output. */
  readonly calls = new Map<unknown, Call>()
  head: ReturnType<typeof headOf> | undefined

  read(data: string): ChatChunk.ChatChunk | Unreadable {
    const json = parse(data)
    if (json instanceof Unreadable) return json
    const { response, type } = json
    if (typeof type !== "string") return new Unreadable(json, "JSON without a type")
    if (type === "error") {
      const { code, message, param } = json
      return new Unreadable({ error: { type: "server_error", code, message, param } }, "an error")
    }
    if (!isObject(response)) return this.chunk(type, data, this.deltaOf(type, json))
    this.head ??= headOf(response)
    const failure = failureOf(type === "response.failed" ? { ...response, status: "failed" } : response)
    if (failure !== undefined) return failure
    const ends = type === "response.completed" || type === "response.incomplete"
    return this.chunk(type, data, nothing, ends ? response : undefined)
  }

  private chunk(type: string, data: string, delta: Delta | Unreadable, end?: Json): ChatChunk.ChatChunk | Unreadable {
    if (delta instanceof Unreadable) return delta
    const usage = end?.["usage"]
    const chunk: ChatChunk.ChatChunk = {
      ...this.head,
      object: "chat.completion.chunk",
      choices: [{
        index: 0,
        delta,
        finish_reason: end === undefined ? null : finishReason(end, this.calls.size > 0) ?? "stop"
      }],
      ...(isObject(usage) ? { usage: usageOf(usage) } : undefined)
    }
    return Native.attachText(chunk, protocol, `event: ${oneLine(type)}\ndata: ${oneLine(data)}\n\n`)
  }

  private deltaOf(type: string, json: Json): Delta | Unreadable {
    const { delta, item, output_index: place } = json
    switch (type) {
      case "response.output_text.delta":
      case "response.refusal.delta":
        return { content: textOf(delta) }
      case "response.reasoning_text.delta":
      case "response.reasoning_summary_text.delta":
        return { reasoning_content: textOf(delta) }
      case "response.output_item.added":
        return isObject(item) ? this.begin(item, place, json) : nothing
      case "response.function_call_arguments.delta":
        return this.piece(place, textOf(delta))
      case "response.custom_tool_call_input.delta": {
        const call = this.calls.get(place)
        const text = (call?.begun === false ? inputBegins : "") + escaped(textOf(delta))
        if (call !== undefined) call.begun = true
        return this.piece(place, text)
      }
      case "response.output_item.done":
        return isObject(item) ? this.end(item, place) : nothing
      default:
        return nothing
    }
  }

  private begin(item: Json, place: unknown, json: Json): Delta | Unreadable {
    const { type } = item
    if (type === "message" || type === "reasoning") return nothing
    if (type !== "function_call" && type !== "custom_tool_call") return { native_item: textOf(type) }
    if (this.calls.size >= limits.toolCalls) return new Unreadable(json, `more than ${limits.toolCalls} tool calls`)
    const call: Call = { index: this.calls.size, isCustom: type === "custom_tool_call", begun: false }
    this.calls.set(place, call)
    const { function: { name }, id } = callOf(item, call.index)
    return { tool_calls: [{ index: call.index, id, type: "function", function: { name, arguments: "" } }] }
  }

  private piece(place: unknown, text: string): Delta {
    const call = this.calls.get(place)
    if (call === undefined) return nothing
    call.begun = true
    return { tool_calls: [{ index: call.index, function: { arguments: text } }] }
  }

  /** What of a call has not come in pieces. */
  private end(item: Json, place: unknown): Delta {
    const call = this.calls.get(place)
    if (call === undefined) return nothing
    if (!call.begun) return this.piece(place, callOf(item, call.index).function.arguments)
    return call.isCustom ? this.piece(place, "\"}") : nothing
  }
}

export const events = (): (data: string) => ChatChunk.ChatChunk | Unreadable => {
  const reader = new Reader()
  return (data) => reader.read(data)
}
