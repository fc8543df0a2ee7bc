/** Reads answers of Messages as chat. What has another type than documented is read as missing, and can't cost the answer. */
import type * as ChatChunk from "../../ChatChunk.ts"
import type { ChatCompletion } from "../../ChatCompletion.ts"
import type { ToolCall } from "../../ChatRequest.ts"
import { limits } from "../../Limits.ts"
import * as Native from "../../Native.ts"
import type { Usage } from "../../Usage.ts"
import { Unreadable } from "../../WireText.ts"
import { isObject, type Json, parse } from "../read.ts"

const protocol = "messages"

const textOf = (u: unknown): string => typeof u === "string" ? u : ""

const numberOf = (u: unknown): number => typeof u === "number" ? u : 0

const reasons: Readonly<Record<string, string>> = {
  end_turn: "stop",
  stop_sequence: "stop",
  max_tokens: "length",
  model_context_window_exceeded: "length",
  tool_use: "tool_calls",
  refusal: "content_filter"
}

const finishReason = (u: unknown): string | null =>
  typeof u !== "string" || u === "" ? null : Object.hasOwn(reasons, u) ? reasons[u] ?? u : u

const usageOf = (usage: Json): Usage => {
  const hit = numberOf(usage["cache_read_input_tokens"])
  const miss = numberOf(usage["input_tokens"]) + numberOf(usage["cache_creation_input_tokens"])
  const completion = numberOf(usage["output_tokens"])
  const details = usage["output_tokens_details"]
  return {
    prompt_tokens: hit + miss,
    completion_tokens: completion,
    total_tokens: hit + miss + completion,
    prompt_tokens_details: { cached_tokens: hit },
    prompt_cache_hit_tokens: hit,
    prompt_cache_miss_tokens: miss,
    ...(isObject(details) && typeof details["thinking_tokens"] === "number"
      ? { completion_tokens_details: { reasoning_tokens: details["thinking_tokens"] } }
      : undefined)
  }
}

const headOf = (message: Json) => ({
  id: textOf(message["id"]),
  model: textOf(message["model"])
})

/** Blocks that chat has no words for are named, so that an answer of them is not taken for an empty one. */
const other = (type: unknown): Other => ({ native_block: textOf(type) })

interface Other {
  readonly native_block: string
}

type Delta = ChatChunk.Delta & Partial<Other>

export const whole = (text: string): ChatCompletion | Unreadable => {
  const json = parse(text)
  if (json instanceof Unreadable) return json
  const { content } = json
  if (!Array.isArray(content)) return new Unreadable(json, "JSON without content")
  const said: Array<string> = []
  const thought: Array<string> = []
  const calls: Array<ToolCall> = []
  let further: Other | undefined
  for (const block of content) {
    if (!isObject(block)) continue
    switch (block["type"]) {
      case "text":
        said.push(textOf(block["text"]))
        break
      case "thinking":
        thought.push(textOf(block["thinking"]))
        break
      case "tool_use":
        calls.push(callOf(block, calls.length))
        break
      default:
        further = other(block["type"])
    }
  }
  if (calls.length > limits.toolCalls) return new Unreadable(json, `more than ${limits.toolCalls} tool calls`)
  const { usage } = json
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
        ...further
      },
      finish_reason: finishReason(json["stop_reason"])
    }],
    ...(isObject(usage) ? { usage: usageOf(usage) } : undefined)
  }
  return Native.attachText(completion, protocol, text)
}

export const count = (text: string): ChatCompletion | Unreadable => {
  const json = parse(text)
  if (json instanceof Unreadable) return json
  if (typeof json["input_tokens"] !== "number") return new Unreadable(json, "JSON without input_tokens")
  const nothing: ChatCompletion = { choices: [{ index: 0, message: { role: "assistant", content: "" } }] }
  return Native.attachText(nothing, "countTokens", text)
}

const callOf = (block: Json, index: number): ToolCall => ({
  index,
  id: textOf(block["id"]),
  type: "function",
  function: { name: textOf(block["name"]), arguments: JSON.stringify(block["input"] ?? {}) }
})

/** A block that has begun. */
interface Open {
  readonly type: unknown
  /** Of a tool's call, its place among the calls. */
  readonly call: number | undefined
  /** Input that came whole, as long as no piece of it has come. */
  input: object | undefined
}

/** JSON without line ends, which are blank space there: each would begin a new line of an event. */
const oneLine = (text: string): string => /[\r\n]/.test(text) ? text.replace(/[\r\n]/g, " ") : text

/** Reads the events of one stream. */
class Reader {
  readonly open = new Map<unknown, Open>()
  calls = 0
  head: { readonly id: string; readonly model: string } | undefined
  usage: Json = {}

  readonly read = (data: string): ChatChunk.ChatChunk | Unreadable | undefined => {
    const json = parse(data)
    if (json instanceof Unreadable) return json
    const { type } = json
    if (type === "ping") return undefined
    if (typeof type !== "string" || !/^[\w.]{1,64}$/.test(type)) return new Unreadable(json, "JSON without a type")
    const choice = this.choiceOf(type, json)
    if (choice instanceof Unreadable) return choice
    const chunk: ChatChunk.ChatChunk = {
      ...this.head,
      object: "chat.completion.chunk",
      choices: [{ index: 0, delta: choice.delta, finish_reason: choice.finish ?? null }],
      ...(type === "message_delta" ? { usage: usageOf(this.usage) } : undefined)
    }
    return Native.attachText(chunk, protocol, `event: ${type}\ndata: ${oneLine(data)}\n\n`)
  }

  private choiceOf(
    type: string,
    json: Json
  ): { readonly delta: Delta; readonly finish?: string | null } | Unreadable {
    const { delta, index, message } = json
    switch (type) {
      case "message_start":
        if (isObject(message)) this.start(message)
        return { delta: { role: "assistant" } }
      case "content_block_start":
        if (this.open.size > limits.toolCalls) return new Unreadable(json, `more than ${limits.toolCalls} open blocks`)
        return { delta: isObject(json["content_block"]) ? this.begin(index, json["content_block"]) : {} }
      case "content_block_delta":
        return { delta: isObject(delta) ? this.add(this.open.get(index), delta) : {} }
      case "content_block_stop": {
        const block = this.open.get(index)
        this.open.delete(index)
        return { delta: block?.input === undefined ? {} : argumentsOf(block, JSON.stringify(block.input)) }
      }
      case "message_delta":
        if (isObject(json["usage"])) this.count(json["usage"])
        return { delta: {}, finish: finishReason(isObject(delta) ? delta["stop_reason"] : undefined) }
      default:
        return { delta: {} }
    }
  }

  private start(message: Json): void {
    this.head = headOf(message)
    if (isObject(message["usage"])) this.count(message["usage"])
  }

  /** Counts are of the whole stream so far; one that is missing is as it was. */
  private count(usage: Json): void {
    for (const name in usage) if (usage[name] != null) this.usage[name] = usage[name]
  }

  private begin(index: unknown, block: Json): Delta {
    const { input, type } = block
    const isCall = type === "tool_use"
    const call = this.calls
    if (isCall) this.calls++
    this.open.set(index, {
      type,
      call: isCall ? call : undefined,
      input: isCall && isObject(input) && Object.keys(input).length > 0 ? input : undefined
    })
    switch (type) {
      case "text":
        return { content: textOf(block["text"]) }
      case "thinking":
        return { reasoning_content: textOf(block["thinking"]) }
      case "tool_use":
        return {
          tool_calls: [{
            index: call,
            id: textOf(block["id"]),
            type: "function",
            function: { name: textOf(block["name"]), arguments: "" }
          }]
        }
      default:
        return other(type)
    }
  }

  private add(block: Open | undefined, delta: Json): Delta {
    switch (delta["type"]) {
      case "text_delta":
        return { content: textOf(delta["text"]) }
      case "thinking_delta":
        return { reasoning_content: textOf(delta["thinking"]) }
      case "input_json_delta": {
        if (block === undefined) return {}
        const piece = textOf(delta["partial_json"])
        if (piece !== "") block.input = undefined
        return argumentsOf(block, piece)
      }
      default:
        return {}
    }
  }
}

const argumentsOf = ({ call, type }: Open, piece: string): Delta =>
  call === undefined ? other(type) : { tool_calls: [{ index: call, function: { arguments: piece } }] }

export const events = (): (data: string) => ChatChunk.ChatChunk | Unreadable | undefined => new Reader().read
