/** A completion in the shapes of Responses: one object, or named events with their numbers, and no `[DONE]`. */
import type { Usage } from "@ballast/chat/Usage"
import type { Answer } from "./answer.ts"
import type { Encoding } from "./chatReply.ts"
import type { Call } from "./completion.ts"
import * as Draw from "./draw.ts"
import type * as Serde from "./serde.ts"

/** What the tool that is no function takes. */
export const patchParameters: Serde.Fields = {
  type: "object",
  properties: { input: { type: "string" } },
  required: ["input"]
}

/** Thinking as a text that clients carry without reading it. */
const sealed = (text: string): string => Buffer.from(text, "utf8").toString("base64")

export const opened = (text: string): string => Buffer.from(text, "base64").toString("utf8")

type Fields = Record<string, unknown>

const usageOf = (usage: Usage) => ({
  input_tokens: usage.prompt_tokens,
  input_tokens_details: { cached_tokens: usage.prompt_tokens_details?.cached_tokens ?? 0 },
  output_tokens: usage.completion_tokens,
  output_tokens_details: { reasoning_tokens: usage.completion_tokens_details?.reasoning_tokens ?? 0 },
  total_tokens: usage.total_tokens ?? 0
})

const incomplete: Record<string, string> = { length: "max_output_tokens", content_filter: "content_filter" }

/** The answer without its output: the fields of the request that it repeats, and constants. */
const frame = ({ head }: Answer, given: Serde.Fields): Fields => ({
  id: `resp_${head.id.replaceAll("-", "")}`,
  object: "response",
  created_at: head.created,
  model: head.model,
  error: null,
  instructions: given.instructions ?? null,
  max_output_tokens: given.max_output_tokens ?? null,
  parallel_tool_calls: true,
  previous_response_id: null,
  reasoning: given.reasoning ?? { effort: "high", summary: null },
  service_tier: "default",
  store: false,
  temperature: given.temperature ?? 1,
  text: given.text ?? { format: { type: "text" } },
  tool_choice: given.tool_choice ?? "auto",
  tools: given.tools ?? [],
  top_p: given.top_p ?? 1,
  truncation: "disabled",
  metadata: {}
})

const open = (answer: Answer, given: Serde.Fields): Fields => ({
  ...frame(answer, given),
  status: "in_progress",
  completed_at: null,
  incomplete_details: null,
  output: [],
  usage: null
})

const closed = (answer: Answer, given: Serde.Fields, output: ReadonlyArray<Fields>): Fields => {
  const reason = incomplete[answer.completion.finish]
  const failed = answer.completion.finish === "insufficient_system_resource" || answer.completion.finish === "aborted"
  return {
    ...frame(answer, given),
    status: failed ? "failed" : reason === undefined ? "completed" : "incomplete",
    completed_at: answer.head.created,
    error: failed ? { code: "server_error", message: `The answer ended with ${answer.completion.finish}` } : null,
    incomplete_details: reason === undefined ? null : { reason },
    output,
    usage: usageOf(answer.usage)
  }
}

interface Item {
  readonly empty: Fields
  readonly whole: Fields
  readonly steps: Iterable<readonly [type: string, fields: Fields, isToken: boolean]>
}

const idOf = (answer: Answer, prefix: string, index: number): string =>
  `${prefix}_${Draw.make(answer.head.id, prefix, index).text(24, "0123456789abcdef")}`

/** What the pieces of a text look like on the way: an opening, a delta for each token, and the whole. */
const texts = function*(
  kind: string,
  tokens: ReadonlyArray<string>,
  place: Fields,
  parts: { readonly empty: Fields; readonly whole: Fields },
  extra: Fields
): Item["steps"] & Generator<readonly [string, Fields, boolean]> {
  yield ["response.content_part.added", { ...place, part: parts.empty }, false]
  for (const token of tokens) yield [`response.${kind}.delta`, { ...place, delta: token, ...extra }, true]
  yield [`response.${kind}.done`, { ...place, text: tokens.join(""), ...extra }, false]
  yield ["response.content_part.done", { ...place, part: parts.whole }, false]
}

const thinking = (answer: Answer, tokens: ReadonlyArray<string>, index: number): Item => {
  const id = idOf(answer, "rs", index)
  const text = tokens.join("")
  const part = (text: string) => ({ type: "reasoning_text", text })
  const item = { type: "reasoning", id, summary: [] }
  const place = { item_id: id, output_index: index, content_index: 0 }
  return {
    empty: { ...item, content: [], encrypted_content: null, status: "in_progress" },
    whole: { ...item, content: [part(text)], encrypted_content: sealed(text), status: "completed" },
    steps: texts("reasoning_text", tokens, place, { empty: part(""), whole: part(text) }, {})
  }
}

const message = (answer: Answer, tokens: ReadonlyArray<string>, index: number): Item => {
  const id = idOf(answer, "msg", index)
  const part = (text: string) => ({ type: "output_text", text, annotations: [], logprobs: [] })
  const item = { type: "message", id, role: "assistant", phase: "final_answer" }
  const place = { item_id: id, output_index: index, content_index: 0 }
  const text = tokens.join("")
  const status = answer.completion.finish === "stop" ? "completed" : "incomplete"
  return {
    empty: { ...item, content: [], status: "in_progress" },
    whole: { ...item, content: [part(text)], status },
    steps: texts("output_text", tokens, place, { empty: part(""), whole: part(text) }, { logprobs: [] })
  }
}

const functionCall = (answer: Answer, call: Call, index: number): Item => {
  const id = idOf(answer, "fc", index)
  const whole = call.arguments.join("")
  const item = { type: "function_call", id, call_id: call.id, name: call.name }
  const place = { item_id: id, output_index: index }
  const steps = function*(): Generator<readonly [string, Fields, boolean]> {
    for (const delta of call.arguments) yield ["response.function_call_arguments.delta", { ...place, delta }, true]
    yield ["response.function_call_arguments.done", { ...place, name: call.name, arguments: whole }, false]
  }
  return {
    empty: { ...item, arguments: "", status: "in_progress" },
    whole: { ...item, arguments: whole, status: "completed" },
    steps: steps()
  }
}

const inputOf = (call: Call): string => {
  try {
    const { input } = Object(JSON.parse(call.arguments.join("")))
    return typeof input === "string" ? input : call.arguments.join("")
  } catch {
    return call.arguments.join("")
  }
}

const customCall = (answer: Answer, call: Call, index: number): Item => {
  const id = idOf(answer, "ctc", index)
  const input = inputOf(call)
  const item = { type: "custom_tool_call", id, call_id: call.id, name: call.name }
  const place = { item_id: id, output_index: index }
  const steps = function*(): Generator<readonly [string, Fields, boolean]> {
    for (let at = 0; at < input.length; at += 4) {
      yield ["response.custom_tool_call_input.delta", { ...place, delta: input.slice(at, at + 4) }, true]
    }
    yield ["response.custom_tool_call_input.done", { ...place, input }, false]
  }
  return {
    empty: { ...item, input: "", status: "in_progress" },
    whole: { ...item, input, status: "completed" },
    steps: steps()
  }
}

const itemsOf = (answer: Answer, custom: string): ReadonlyArray<Item> => {
  const { calls, content, reasoning } = answer.completion
  const items: Array<Item> = []
  if (reasoning !== undefined && reasoning.length > 0) items.push(thinking(answer, reasoning, items.length))
  if (content.length > 0) items.push(message(answer, content, items.length))
  for (const call of calls) {
    items.push((call.name === custom ? customCall : functionCall)(answer, call, items.length))
  }
  return items
}

/** `given` is the request, `custom` the tool that is no function. */
export const make = (given: Serde.Fields, custom: string): Encoding => ({
  whole: (answer) => closed(answer, given, itemsOf(answer, custom).map(({ whole }) => whole)),
  events: function*(answer) {
    let sequence = 0
    let waiting = ""
    // What is no token comes together with the next one.
    const event = (type: string, fields: Fields) => {
      waiting += `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: sequence++, ...fields })}\n\n`
    }
    const flush = () => {
      const text = waiting
      waiting = ""
      return text
    }
    event("response.created", { response: open(answer, given) })
    event("response.in_progress", { response: open(answer, given) })
    yield flush()
    const items = itemsOf(answer, custom)
    for (const [output_index, { empty, steps, whole }] of items.entries()) {
      event("response.output_item.added", { output_index, item: empty })
      for (const [type, fields, isToken] of steps) {
        event(type, fields)
        if (isToken) yield flush()
      }
      event("response.output_item.done", { output_index, item: whole })
    }
    const response = closed(answer, given, items.map(({ whole }) => whole))
    event(`response.${String(response["status"])}`, { response })
    yield flush()
  }
})
