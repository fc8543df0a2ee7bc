/** Writes answers of chat as Messages: `MessagesChat.fromCompletion` says how, and what is lost. */
import type { ChatChunk, ToolCallDelta } from "../../ChatChunk.ts"
import type { ChatCompletion, Choice } from "../../ChatCompletion.ts"
import type { ToolCall } from "../../ChatRequest.ts"
import type * as Messages from "../../Messages.ts"
import * as Native from "../../Native.ts"
import type { Usage } from "../../Usage.ts"
import * as WireText from "../../WireText.ts"
import { isObject } from "../read.ts"

export const whole = ({ choices: [choice], id, model, usage }: ChatCompletion): Messages.Answer => ({
  ...headOf(id, model),
  content: blocksOf(choice.message),
  stop_reason: stopReason(choice.finish_reason, (choice.message.tool_calls?.length ?? 0) > 0),
  stop_sequence: null,
  usage: usageOf(usage)
})

const headOf = (id: string | null | undefined, model: string | null | undefined) => ({
  id: `msg_${id ?? ""}`,
  type: "message" as const,
  role: "assistant" as const,
  model: model ?? ""
})

const blocksOf = ({ content, reasoning_content, tool_calls }: Choice["message"]): ReadonlyArray<Messages.Block> => [
  ...(reasoning_content ? [{ type: "thinking" as const, thinking: reasoning_content, signature: "" }] : []),
  ...(content ? [{ type: "text" as const, text: content }] : []),
  ...(tool_calls ?? []).map((call) => ({
    type: "tool_use" as const,
    id: call.id,
    name: call.function.name,
    input: inputOf(call)
  }))
]

/** @see {@link https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/fine-grained-tool-streaming} for `INVALID_JSON` */
const inputOf = ({ function: { arguments: text } }: ToolCall): object => {
  if (text.trim() === "") return {}
  try {
    const input = WireText.parse(text)
    if (isObject(input)) return input
  } catch {
    // It is passed on as it came.
  }
  return { INVALID_JSON: text }
}

const reasons: Readonly<Record<string, string>> = {
  stop: "end_turn",
  length: "max_tokens",
  tool_calls: "tool_use",
  content_filter: "refusal"
}

const stopReason = (reason: string | null | undefined, hasCalls: boolean): string =>
  hasCalls && (reason == null || reason === "stop") ? "tool_use" : reasons[reason ?? "stop"] ?? "end_turn"

const usageOf = (usage: Usage | null | undefined): Messages.Usage => {
  const hit = usage?.prompt_cache_hit_tokens ?? usage?.prompt_tokens_details?.cached_tokens ?? 0
  const thinking = usage?.completion_tokens_details?.reasoning_tokens
  return {
    input_tokens: Math.max(0, (usage?.prompt_tokens ?? 0) - hit),
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: hit,
    output_tokens: usage?.completion_tokens ?? 0,
    ...(thinking == null ? undefined : { output_tokens_details: { thinking_tokens: thinking } })
  }
}

const event = (value: Messages.Event): string => `event: ${value.type}\ndata: ${JSON.stringify(value)}\n\n`

type Kind = "text" | "thinking"

class Writer {
  private readonly inputTokens: () => number

  constructor(inputTokens: () => number) {
    this.inputTokens = inputTokens
  }

  /** Whether events of the service itself are written, and whether the last of them was. */
  private isNative = false
  private begun = false
  private stopped = false
  /** The index of the next block. */
  private next = 0
  private current: { readonly kind: Kind | "tool_use"; readonly index: number } | undefined
  /** The indexes of the blocks of calls. */
  private readonly calls = new Map<number, number>()
  private finish: string | null | undefined
  private usage: Usage | null | undefined

  readonly chunk = (chunk: ChatChunk): string => {
    const text = Native.textOf(chunk, "messages")
    if (text !== undefined) {
      this.isNative = true
      if (text.startsWith("event: message_stop\n")) this.stopped = true
      return text
    }
    // The usage of an answer that failed; the error comes next.
    if (this.isNative) return ""
    this.usage = chunk.usage ?? this.usage
    let written = this.begin(chunk)
    for (const { delta, finish_reason, index } of chunk.choices) {
      if (index != null && index !== 0) continue
      if (delta.reasoning_content) written += this.say("thinking", delta.reasoning_content)
      if (delta.content) written += this.say("text", delta.content)
      for (const call of delta.tool_calls ?? []) written += this.call(call)
      this.finish = finish_reason ?? this.finish
    }
    return written
  }

  readonly end = (): string => {
    if (this.isNative) return this.stopped ? "" : event({ type: "message_stop" })
    return this.begin(undefined) + this.close() +
      event({
        type: "message_delta",
        delta: { stop_reason: stopReason(this.finish, this.calls.size > 0), stop_sequence: null },
        usage: usageOf(this.usage)
      }) +
      event({ type: "message_stop" })
  }

  private begin(chunk: ChatChunk | undefined): string {
    if (this.begun) return ""
    this.begun = true
    return event({
      type: "message_start",
      message: {
        ...headOf(chunk?.id, chunk?.model),
        content: [],
        stop_reason: null,
        stop_sequence: null,
        usage: { ...usageOf(undefined), input_tokens: this.inputTokens() }
      }
    })
  }

  private say(kind: Kind, text: string): string {
    const opened = this.current?.kind === kind ? "" : this.open(kind, emptyOf(kind))
    return opened + this.delta(
      this.current?.index ?? 0,
      kind === "text" ? { type: "text_delta", text } : { type: "thinking_delta", thinking: text }
    )
  }

  private call({ function: called, id, index }: ToolCallDelta): string {
    let block = this.calls.get(index)
    let opened = ""
    if (block === undefined) {
      opened = this.open("tool_use", {
        type: "tool_use",
        id: id || `toolu_${index}`,
        name: called?.name ?? "",
        input: {}
      })
      this.calls.set(index, block = this.next - 1)
    }
    const piece = called?.arguments
    return piece ? opened + this.delta(block, { type: "input_json_delta", partial_json: piece }) : opened
  }

  private open(kind: Kind | "tool_use", content_block: Messages.Block): string {
    const closed = this.close()
    this.current = { kind, index: this.next++ }
    return closed + event({ type: "content_block_start", index: this.current.index, content_block })
  }

  private close(): string {
    const { current } = this
    this.current = undefined
    return current === undefined ? "" : event({ type: "content_block_stop", index: current.index })
  }

  private delta(index: number, delta: Messages.Delta): string {
    return event({ type: "content_block_delta", index, delta })
  }
}

const emptyOf = (kind: Kind): Messages.Block =>
  kind === "text" ? { type: "text", text: "" } : { type: "thinking", thinking: "", signature: "" }

export const make = (inputTokens: () => number): Writer => new Writer(inputTokens)
