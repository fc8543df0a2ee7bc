/** Answers as the parts of `effect/ai`. */
import type { ChatChunk } from "@ballast/chat/ChatChunk"
import type { ChatCompletion } from "@ballast/chat/ChatCompletion"
import type { Usage } from "@ballast/chat/Usage"
import type * as Response from "effect/ai/Response"
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import { argumentsOf } from "./prompt.ts"

const reasons: Readonly<Record<string, Response.FinishReason>> = {
  stop: "stop",
  length: "length",
  content_filter: "content-filter",
  tool_calls: "tool-calls"
}

const finishReason = (reason: string | null | undefined): Response.FinishReason =>
  reason == null ? "unknown" : Object.hasOwn(reasons, reason) ? reasons[reason] ?? "other" : "other"

const usageOf = (usage: Usage | null | undefined): typeof Response.Usage.Encoded => {
  if (usage == null) return { inputTokens: {}, outputTokens: {} }
  const cached = usage.prompt_cache_hit_tokens ?? usage.prompt_tokens_details?.cached_tokens ?? undefined
  const reasoning = usage.completion_tokens_details?.reasoning_tokens ?? undefined
  return {
    inputTokens: {
      total: usage.prompt_tokens,
      cacheRead: cached,
      uncached: usage.prompt_cache_miss_tokens ?? (cached === undefined ? undefined : usage.prompt_tokens - cached)
    },
    outputTokens: {
      total: usage.completion_tokens,
      reasoning,
      text: reasoning === undefined ? undefined : usage.completion_tokens - reasoning
    }
  }
}

type Head = Pick<ChatCompletion, "id" | "model" | "created">

const metadata = ({ created, id, model }: Head): Response.ResponseMetadataPartEncoded => ({
  type: "response-metadata",
  id: id ?? undefined,
  modelId: model ?? undefined,
  timestamp: created == null
    ? undefined
    : Option.getOrUndefined(Option.map(DateTime.make(created * 1000), DateTime.formatIso))
})

const finish = (
  reason: string | null | undefined,
  usage: Usage | null | undefined
): Response.FinishPartEncoded => ({ type: "finish", reason: finishReason(reason), usage: usageOf(usage) })

/** The parts of a whole answer. `text` stands in place of the answer's text and calls. */
export const whole = (completion: ChatCompletion, text?: string): Array<Response.PartEncoded> => {
  const { choices: [{ finish_reason, message }], usage } = completion
  const parts: Array<Response.PartEncoded> = [metadata(completion)]
  if (message.reasoning_content) parts.push({ type: "reasoning", text: message.reasoning_content })
  const said = text ?? message.content
  if (said) parts.push({ type: "text", text: said })
  for (const { function: { arguments: given, name }, id } of text === undefined ? message.tool_calls ?? [] : []) {
    parts.push({ type: "tool-call", id, name, params: argumentsOf(given) })
  }
  // An answer that was asked for by a tool is a text to the caller.
  parts.push(finish(text === undefined ? finish_reason : "stop", usage))
  return parts
}

type Parts = Array<Response.StreamPartEncoded>

/** The answer of a stream, part by part. */
export class Arriving {
  private begun = false
  /** The part that texts are added to. */
  private open: "reasoning" | "text" | undefined
  private count = 0
  private id = ""
  private readonly calls = new Map<number, { readonly id: string; readonly name: string; arguments: string }>()
  private reason: string | undefined
  private usage: Usage | undefined

  /** What a chunk adds. */
  add(chunk: ChatChunk): Parts {
    const parts: Parts = []
    if (!this.begun) {
      this.begun = true
      parts.push(metadata(chunk))
    }
    this.usage = chunk.usage ?? this.usage
    const choice = chunk.choices.find(({ index }) => (index ?? 0) === 0)
    if (choice === undefined) return parts
    const { delta, finish_reason } = choice
    if (delta.reasoning_content) this.say("reasoning", delta.reasoning_content, parts)
    if (delta.content) this.say("text", delta.content, parts)
    for (const { function: named, id, index } of delta.tool_calls ?? []) {
      this.close(parts)
      this.call(index, id ?? "", named?.name ?? "", named?.arguments ?? "", parts)
    }
    this.reason = finish_reason ?? this.reason
    return parts
  }

  /** What ends the answer. */
  end(): Parts {
    const parts: Parts = []
    this.close(parts)
    for (const { id, name, arguments: given } of this.calls.values()) {
      parts.push({ type: "tool-params-end", id })
      parts.push({ type: "tool-call", id, name, params: argumentsOf(given) })
    }
    parts.push(finish(this.reason, this.usage))
    return parts
  }

  private say(kind: "reasoning" | "text", delta: string, parts: Parts): void {
    if (this.open !== kind) {
      this.close(parts)
      this.open = kind
      this.id = String(this.count++)
      parts.push({ type: `${kind}-start`, id: this.id })
    }
    parts.push({ type: `${kind}-delta`, id: this.id, delta })
  }

  private close(parts: Parts): void {
    if (this.open === undefined) return
    parts.push({ type: `${this.open}-end`, id: this.id })
    this.open = undefined
  }

  private call(index: number, id: string, name: string, delta: string, parts: Parts): void {
    let call = this.calls.get(index)
    if (call === undefined) {
      this.calls.set(index, call = { id, name, arguments: "" })
      parts.push({ type: "tool-params-start", id, name })
    }
    if (delta === "") return
    call.arguments += delta
    parts.push({ type: "tool-params-delta", id: call.id, delta })
  }
}
