/** Writes chat answers as Responses: one object, or events. */
import type { ChatChunk, ToolCallDelta } from "../../ChatChunk.ts"
import type { ChatCompletion } from "../../ChatCompletion.ts"
import { limits } from "../../Limits.ts"
import * as Native from "../../Native.ts"
import type {
  Answer,
  FunctionCall,
  OutputItem,
  OutputMessage,
  Reasoning,
  Said,
  Status,
  Usage
} from "../../Responses.ts"
import type { Usage as ChatUsage } from "../../Usage.ts"
import { isObject, type Json } from "../read.ts"
import * as sealed from "./sealed.ts"
import { customTools } from "./toChat.ts"

const usageOf = (usage: ChatUsage): Usage => ({
  input_tokens: usage.prompt_tokens,
  input_tokens_details: {
    cached_tokens: usage.prompt_cache_hit_tokens ?? usage.prompt_tokens_details?.cached_tokens ?? 0
  },
  output_tokens: usage.completion_tokens,
  output_tokens_details: { reasoning_tokens: usage.completion_tokens_details?.reasoning_tokens ?? 0 },
  total_tokens: usage.total_tokens ?? usage.prompt_tokens + usage.completion_tokens
})

/** What a request decides about its answer. */
interface Asked {
  /** The fields that the answer repeats. */
  readonly repeated: Json
  readonly customTools: ReadonlySet<string>
  /** Whether the client wants the thinking as a text to carry. */
  readonly carries: boolean
}

const askedBy = (request: Json): Asked => {
  const { include } = request
  return {
    repeated: {
      instructions: request["instructions"] ?? null,
      max_output_tokens: request["max_output_tokens"] ?? null,
      metadata: request["metadata"] ?? {},
      parallel_tool_calls: request["parallel_tool_calls"] ?? true,
      previous_response_id: null,
      reasoning: request["reasoning"] ?? { effort: null, summary: null },
      store: false,
      temperature: request["temperature"] ?? null,
      text: request["text"] ?? { format: { type: "text" } },
      tool_choice: request["tool_choice"] ?? "auto",
      tools: request["tools"] ?? [],
      top_p: request["top_p"] ?? null,
      truncation: "disabled"
    },
    customTools: customTools(request),
    carries: Array.isArray(include) && include.includes("reasoning.encrypted_content")
  }
}

interface Head {
  readonly id: string
  readonly created: number
  readonly model: string
}

const headOf = ({ created, id, model }: Pick<ChatCompletion, "id" | "created" | "model">, request: Json): Head => ({
  id: id ?? "",
  created: created ?? 0,
  model: model ?? String(request["model"] ?? "")
})

interface End {
  readonly status: Status
  readonly reason: string | undefined
}

const endOf = (finishReason: string | null | undefined): End => {
  switch (finishReason) {
    case "length":
      return { status: "incomplete", reason: "max_output_tokens" }
    case "content_filter":
      return { status: "incomplete", reason: "content_filter" }
    default:
      return { status: "completed", reason: undefined }
  }
}

const answerOf = (
  head: Head,
  { repeated }: Asked,
  state: Pick<Answer, "status" | "output"> & Partial<Answer>
): Answer => ({
  id: `resp_${head.id}`,
  object: "response",
  created_at: head.created,
  completed_at: null,
  model: head.model,
  error: null,
  incomplete_details: null,
  usage: null,
  ...repeated,
  ...state
})

const reasoningOf = (id: string, text: string, { carries }: Asked): Reasoning => ({
  type: "reasoning",
  id,
  summary: [],
  content: [{ type: "reasoning_text", text }],
  ...(carries ? { encrypted_content: sealed.seal(text) } : undefined),
  status: "completed"
})

const messageOf = (id: string, text: string, status: Status): OutputMessage => ({
  type: "message",
  id,
  role: "assistant",
  content: [{ type: "output_text", text, annotations: [], logprobs: [] }],
  status
})

/** The one argument that a custom tool was translated to; the arguments themselves where the model did not keep to it. */
const inputOf = (text: string): string => {
  try {
    const json: unknown = JSON.parse(text)
    return isObject(json) && typeof json["input"] === "string" ? json["input"] : text
  } catch {
    return text
  }
}

interface Called {
  readonly call_id: string
  readonly name: string
  readonly arguments: string
}

const callOf = (id: string, { arguments: given, ...call }: Called, { customTools }: Asked): OutputItem =>
  customTools.has(call.name)
    ? { type: "custom_tool_call", id, ...call, input: inputOf(given), status: "completed" }
    : { type: "function_call", id, ...call, arguments: given, status: "completed" }

const prefixes = { reasoning: "rs", message: "msg", function_call: "fc", custom_tool_call: "ctc" } as const

const idOf = (type: keyof typeof prefixes, head: Head, index: number): string => `${prefixes[type]}_${head.id}_${index}`

export const whole = (completion: ChatCompletion, request: Json): Answer => {
  const asked = askedBy(request)
  const head = headOf(completion, request)
  const { finish_reason, message } = completion.choices[0]
  const { reason, status } = endOf(finish_reason)
  const output: Array<OutputItem> = []
  const next = (type: keyof typeof prefixes) => idOf(type, head, output.length)
  if (message.reasoning_content) output.push(reasoningOf(next("reasoning"), message.reasoning_content, asked))
  if (message.content) output.push(messageOf(next("message"), message.content, status))
  for (const { function: { arguments: given, name }, id } of message.tool_calls ?? []) {
    const type = asked.customTools.has(name) ? "custom_tool_call" : "function_call"
    output.push(callOf(next(type), { call_id: id, name, arguments: given }, asked))
  }
  return answerOf(head, asked, {
    status,
    completed_at: head.created,
    incomplete_details: reason === undefined ? null : { reason },
    output,
    usage: completion.usage == null ? null : usageOf(completion.usage)
  })
}

/** A text or thinking on its way. */
interface OpenText {
  readonly kind: "output_text" | "reasoning_text"
  readonly id: string
  readonly place: number
  readonly pieces: Array<string>
}

/** A call on its way. */
interface OpenCall {
  readonly id: string
  readonly place: number
  readonly isCustom: boolean
  readonly call_id: string
  readonly name: string
  readonly pieces: Array<string>
}

/** Writes the events of one stream. */
export class Writer {
  private readonly request: Json
  private readonly asked: Asked
  private head: Head | undefined
  private readonly output: Array<OutputItem | undefined> = []
  private text: OpenText | undefined
  private readonly calls = new Map<number, OpenCall>()
  private finish: string | null | undefined
  private usage: ChatUsage | undefined
  private sequence = 0
  /** Characters that are kept for the events that repeat them. */
  private kept = 0
  private events: Array<Said & { readonly sequence_number: number }> = []
  /** Whether events of the service's own were written, so that those here would only disturb. */
  private isNative = false
  private firstNative = ""
  private lastNative = ""

  constructor(request: Json) {
    this.request = request
    this.asked = askedBy(request)
  }

  chunk(chunk: ChatChunk): string {
    const native = Native.textOf(chunk, "responses")
    if (native !== undefined) {
      this.isNative = true
      this.firstNative ||= native
      return this.lastNative = native
    }
    if (this.isNative) return ""
    this.begin(chunk)
    if (chunk.usage != null) this.usage = chunk.usage
    const [choice] = chunk.choices
    if (choice !== undefined) {
      const { content, reasoning_content, tool_calls } = choice.delta
      if (reasoning_content) this.say("reasoning_text", reasoning_content)
      if (content) this.say("output_text", content)
      for (const fragment of tool_calls ?? []) this.call(fragment)
      this.finish = choice.finish_reason ?? this.finish
    }
    return this.take()
  }

  end(): string {
    if (this.isNative) return ""
    const head = this.begin({})
    this.endText()
    for (const call of this.calls.values()) this.endCall(call)
    const { reason, status } = endOf(this.finish)
    this.add({
      type: status === "incomplete" ? "response.incomplete" : "response.completed",
      response: answerOf(head, this.asked, {
        status,
        completed_at: head.created,
        incomplete_details: reason === undefined ? null : { reason },
        output: this.whole(),
        usage: this.usage === undefined ? null : usageOf(this.usage)
      })
    })
    return this.take()
  }

  /** The events of an answer that has failed on its way. */
  fail(error: { readonly code: string; readonly message: string }): string {
    const response = this.isNative ? this.nativeResponse() : answerOf(this.begin({}), this.asked, {
      status: "failed",
      output: this.whole()
    })
    if (this.isNative) this.sequence = this.nativeSequence() + 1
    this.add({ type: "response.failed", response: { ...response, status: "failed", error } })
    const last = { type: "error", ...error, param: null, sequence_number: this.sequence++ }
    return `${this.take()}event: error\ndata: ${JSON.stringify(last)}\n\n`
  }

  /** The response that the service began with. */
  private nativeResponse(): Answer {
    const data = /^data: (.*)$/m.exec(this.firstNative)?.[1]
    try {
      const event: unknown = JSON.parse(data ?? "")
      // It was a response of this service's own.
      if (isObject(event) && isObject(event["response"])) return event["response"] as object as Answer
    } catch {
      // There is none, then.
    }
    return answerOf(headOf({}, this.request), this.asked, { status: "failed", output: [] })
  }

  private nativeSequence(): number {
    return Number(/"sequence_number":\s*(\d{1,15})/.exec(this.lastNative)?.[1] ?? 0)
  }

  /** Past the limit of a whole answer, what is repeated at the end is cut; the deltas have all of it. */
  private keep(pieces: Array<string>, piece: string): void {
    if (this.kept + piece.length > limits.wholeAnswer) return
    this.kept += piece.length
    pieces.push(piece)
  }

  private add(said: Said): void {
    this.events.push({ ...said, sequence_number: this.sequence++ })
  }

  private take(): string {
    const { events } = this
    this.events = []
    return events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join("")
  }

  private whole(): ReadonlyArray<OutputItem> {
    return this.output.filter((item) => item !== undefined)
  }

  private begin(chunk: Pick<ChatCompletion, "id" | "created" | "model">): Head {
    if (this.head !== undefined) return this.head
    const head = this.head = headOf(chunk, this.request)
    const response = answerOf(head, this.asked, { status: "in_progress", output: [] })
    this.add({ type: "response.created", response })
    this.add({ type: "response.in_progress", response })
    return head
  }

  /** Takes the next place in the output. */
  private place(type: keyof typeof prefixes): { readonly id: string; readonly place: number } {
    const place = this.output.push(undefined) - 1
    return { place, id: idOf(type, this.begin({}), place) }
  }

  private done(place: number, item: OutputItem): void {
    this.output[place] = item
    this.add({ type: "response.output_item.done", output_index: place, item })
  }

  private say(kind: OpenText["kind"], delta: string): void {
    if (this.text?.kind !== kind) {
      this.endText()
      this.text = this.openText(kind)
    }
    const { id, pieces, place } = this.text
    this.keep(pieces, delta)
    this.add({ type: `response.${kind}.delta`, item_id: id, output_index: place, content_index: 0, delta })
  }

  private openText(kind: OpenText["kind"]): OpenText {
    const type = kind === "output_text" ? "message" : "reasoning"
    const open = { kind, pieces: [], ...this.place(type) }
    const { id, place } = open
    const item: OutputItem = type === "message"
      ? { type, id, role: "assistant", content: [], status: "in_progress" }
      : { type, id, summary: [], content: [], status: "in_progress" }
    this.add({ type: "response.output_item.added", output_index: place, item })
    this.add({
      type: "response.content_part.added",
      item_id: id,
      output_index: place,
      content_index: 0,
      part: partOf(kind, "")
    })
    return open
  }

  private endText(): void {
    if (this.text === undefined) return
    const { id, kind, pieces, place } = this.text
    this.text = undefined
    const text = pieces.join("")
    const at = { item_id: id, output_index: place, content_index: 0 }
    this.add({ type: `response.${kind}.done`, ...at, text })
    this.add({ type: "response.content_part.done", ...at, part: partOf(kind, text) })
    const { status } = endOf(this.finish)
    this.done(place, kind === "output_text" ? messageOf(id, text, status) : reasoningOf(id, text, this.asked))
  }

  private call(fragment: ToolCallDelta): void {
    const call = this.calls.get(fragment.index) ?? this.openCall(fragment)
    const piece = fragment.function?.arguments
    if (!piece) return
    this.keep(call.pieces, piece)
    if (call.isCustom) return
    const at = { item_id: call.id, output_index: call.place }
    this.add({ type: "response.function_call_arguments.delta", ...at, delta: piece })
  }

  private openCall(fragment: ToolCallDelta): OpenCall {
    this.endText()
    const name = fragment.function?.name ?? ""
    const isCustom = this.asked.customTools.has(name)
    const open: OpenCall = {
      call_id: fragment.id ?? "",
      name,
      isCustom,
      pieces: [],
      ...this.place(isCustom ? "custom_tool_call" : "function_call")
    }
    this.calls.set(fragment.index, open)
    const { call_id, id, place } = open
    const empty = callOf(id, { call_id, name, arguments: "" }, this.asked)
    const item: OutputItem = { ...empty, status: "in_progress" }
    this.add({ type: "response.output_item.added", output_index: place, item })
    return open
  }

  /** A custom tool's input is known when its arguments are whole. */
  private endCall({ call_id, id, name, pieces, place }: OpenCall): void {
    const item = callOf(id, { call_id, name, arguments: pieces.join("") }, this.asked)
    const at = { item_id: id, output_index: place }
    if (item.type === "custom_tool_call") {
      this.add({ type: "response.custom_tool_call_input.delta", ...at, delta: item.input })
      this.add({ type: "response.custom_tool_call_input.done", ...at, input: item.input })
    } else if (isFunctionCall(item)) {
      this.add({ type: "response.function_call_arguments.done", ...at, arguments: item.arguments })
    }
    this.done(place, item)
  }
}

const isFunctionCall = (item: OutputItem): item is FunctionCall => item.type === "function_call"

const partOf = (kind: OpenText["kind"], text: string) =>
  kind === "output_text"
    ? { type: kind, text, annotations: [], logprobs: [] }
    : { type: kind, text }
