/** The Responses protocol: its items become the turns of a chat, which is checked and answered as every chat. */
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Result from "effect/Result"
import * as Chat from "./chat.ts"
import type { Asked, Protocol } from "./chatReply.ts"
import * as Image from "./image.ts"
import * as encodings from "./responsesEncoding.ts"
import * as Serde from "./serde.ts"
import * as Validate from "./validate.ts"

const partTypes = Serde.literals("input_text", "output_text", "input_image", "input_file", "refusal", "summary_text")

const image = (from: Serde.Fields, path: string) =>
  Result.gen(function*() {
    const url = yield* Serde.optional(from, "image_url", Serde.string, path)
    const file = yield* Serde.optional(from, "file_id", Serde.string, path)
    if ((url === undefined) === (file === undefined)) {
      return yield* Serde.fail(path, "expected exactly one of `image_url` and `file_id`")
    }
    if (url !== undefined) yield* Image.url({ url }, path)
  })

const part: Serde.Decoder<Chat.Content> = (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("InputContent")(input, path)
    const type = yield* Serde.required(from, "type", partTypes, path)
    switch (type) {
      case "input_image":
        yield* image(from, path)
        return { text: "", images: 1 }
      case "input_file":
        yield* Image.file(from, path)
        return { text: "", images: 1 }
      case "refusal":
        return { text: yield* Serde.required(from, "refusal", Serde.string, path), images: 0 }
      default:
        return { text: yield* Serde.required(from, "text", Serde.string, path), images: 0 }
    }
  })

const content: Serde.Decoder<Chat.Content> = (input, path) =>
  typeof input === "string"
    ? Result.succeed({ text: input, images: 0 })
    : Result.map(Serde.array(part)(input, path), (parts) => ({
      text: parts.map(({ text }) => text).join(""),
      images: parts.reduce((sum, { images }) => sum + images, 0)
    }))

type Item =
  | { readonly type: "thought"; readonly text: string | undefined }
  | { readonly type: "said"; readonly content: Chat.Content }
  | { readonly type: "called"; readonly call: Chat.ToolCall }
  | { readonly type: "other"; readonly message: Chat.Message }
  | { readonly type: "ignored" }

const itemTypes = Serde.literals(
  "message",
  "reasoning",
  "function_call",
  "function_call_output",
  "custom_tool_call",
  "custom_tool_call_output",
  "web_search_call"
)

const roles = Serde.literals("user", "assistant", "system", "developer")

const message = (from: Serde.Fields, path: string) =>
  Result.gen(function*() {
    const role = yield* Serde.required(from, "role", roles, path)
    const said = yield* Serde.required(from, "content", content, path)
    const item: Item = role === "assistant"
      ? { type: "said", content: said }
      : { type: "other", message: { role: role === "developer" ? "system" : role, content: said } }
    return item
  })

const thoughtPart: Serde.Decoder<string> = (input, path) =>
  Result.flatMap(
    Serde.fields("ReasoningContent")(input, path),
    (from) => Serde.required(from, "text", Serde.string, path)
  )

/** Thinking comes back in the open, or as the text that the service gave to carry. */
const thought = (from: Serde.Fields, path: string) =>
  Result.gen(function*() {
    const texts = (yield* Serde.optional(from, "content", Serde.array(thoughtPart), path)) ?? []
    const carried = yield* Serde.optional(from, "encrypted_content", Serde.string, path)
    const text = texts.join("") || (carried === undefined ? "" : encodings.opened(carried))
    const item: Item = { type: "thought", text: text === "" ? undefined : text }
    return item
  })

const result = (from: Serde.Fields, path: string) =>
  Result.gen(function*() {
    const callId = yield* Serde.required(from, "call_id", Serde.string, path)
    const output = yield* Serde.required(from, "output", content, path)
    const item: Item = { type: "other", message: { role: "tool", content: output, callId } }
    return item
  })

const call = (from: Serde.Fields, path: string, isCustom: boolean) =>
  Result.gen(function*() {
    const id = yield* Serde.required(from, "call_id", Serde.string, path)
    const name = yield* Serde.required(from, "name", Serde.string, path)
    const given = yield* Serde.required(from, isCustom ? "input" : "arguments", Serde.string, path)
    const item: Item = {
      type: "called",
      call: { id, name, arguments: isCustom ? JSON.stringify({ input: given }) : given }
    }
    return item
  })

const item: Serde.Decoder<Item> = (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("InputItem")(input, path)
    const type = (yield* Serde.optional(from, "type", itemTypes, path)) ?? "message"
    switch (type) {
      case "message":
        return yield* message(from, path)
      case "reasoning":
        return yield* thought(from, path)
      case "function_call":
      case "custom_tool_call":
        return yield* call(from, path, type === "custom_tool_call")
      case "function_call_output":
      case "custom_tool_call_output":
        return yield* result(from, path)
      default:
        return { type: "ignored" }
    }
  })

interface Turn {
  content: Chat.Content
  reasoning: string | undefined
  readonly toolCalls: Array<Chat.ToolCall>
}

/** The turns that items make up. Thinking belongs to what follows it. */
const turnsOf = (items: ReadonlyArray<Item>): ReadonlyArray<Chat.Message> => {
  const messages: Array<Chat.Message> = []
  let turn: Turn | undefined
  const end = () => {
    // Thinking alone is no turn.
    if (turn !== undefined && (turn.content.text !== "" || turn.toolCalls.length > 0)) {
      messages.push({ role: "assistant", prefix: false, ...turn })
    }
    turn = undefined
  }
  const open = (): Turn => turn ??= { content: { text: "", images: 0 }, reasoning: undefined, toolCalls: [] }
  for (const item of items) {
    switch (item.type) {
      case "thought":
        if (turn !== undefined) end()
        open().reasoning = item.text
        break
      case "said":
        if (turn !== undefined && turn.content.text !== "") end()
        open().content = item.content
        break
      case "called":
        open().toolCalls.push(item.call)
        break
      case "other":
        end()
        messages.push(item.message)
    }
  }
  end()
  return messages
}

/** The one tool that is not a function. */
const patch = "apply_patch"

const toolTypes = ["function", "custom"]

const tool: Serde.Decoder<Chat.Tool | undefined> = (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("Tool")(input, path)
    const type = yield* Serde.required(from, "type", Serde.string, path)
    // Built-in tools are ignored.
    if (!toolTypes.includes(type)) return undefined
    const name = yield* Serde.required(from, "name", Serde.string, path)
    const description = (yield* Serde.optional(from, "description", Serde.string, path)) ?? ""
    if (type === "custom") {
      if (name !== patch) return yield* Serde.fail(path, `custom tool ${name} is not supported`)
      return { name, description, parameters: encodings.patchParameters, strict: false }
    }
    const parameters = yield* Serde.optional(from, "parameters", Serde.fields("Parameters"), path)
    yield* Serde.optional(from, "strict", Serde.boolean, path)
    return { name, description, parameters, strict: false }
  })

const choices = Serde.literals("function", "custom")

const toolChoice: Serde.Decoder<Chat.ToolChoice> = (input, path) => {
  if (!Serde.isFields(input)) return Serde.literals("none", "auto", "required")(input, path)
  return Result.gen(function*() {
    yield* Serde.required(input, "type", choices, path)
    return { name: yield* Serde.required(input, "name", Serde.string, path) }
  })
}

interface Format {
  readonly type: "text" | "json_object" | "json_schema"
  readonly schema: Serde.Fields | undefined
}

const format: Serde.Decoder<Format> = (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("TextFormat")(input, path)
    const type = yield* Serde.required(from, "type", Serde.literals("text", "json_object", "json_schema"), path)
    const schema = type === "json_schema"
      ? yield* Serde.required(from, "schema", Serde.fields("JsonSchema"), path)
      : undefined
    return { type, schema }
  })

const textFormat: Serde.Decoder<Format | undefined> = (input, path) =>
  Result.flatMap(Serde.fields("TextConfig")(input, path), (from) => Serde.optional(from, "format", format, path))

const effort: Serde.Decoder<string | undefined> = (input, path) =>
  Result.flatMap(Serde.fields("Reasoning")(input, path), (from) => Serde.optional(from, "effort", Chat.efforts, path))

interface Request {
  readonly chat: Chat.Chat
  /** The fields that the answer repeats. */
  readonly given: Serde.Fields
}

const decode: Serde.Decoder<Request> = (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("CreateResponse")(input, path)
    const optional = <A>(name: string, decoder: Serde.Decoder<A>) => Serde.optional(from, name, decoder, path)
    const instructions = yield* optional("instructions", Serde.string)
    const asked = typeof from.input === "string"
      ? [{ type: "other", message: { role: "user", content: { text: from.input, images: 0 } } } satisfies Item]
      : (yield* optional("input", Serde.array(item))) ?? []
    if (instructions === undefined && asked.length === 0) return yield* Serde.fail(path, "missing field `input`")
    const chosen = (yield* optional("reasoning", effort)) ?? "high"
    const thinking = chosen !== "none"
    const asFormat = yield* optional("text", textFormat)
    const tools = ((yield* optional("tools", Serde.array(tool))) ?? []).filter((tool) => tool !== undefined)
    const topLogprobs = yield* optional("top_logprobs", Serde.integer)
    const system: ReadonlyArray<Chat.Message> = instructions === undefined
      ? []
      : [{ role: "system", content: { text: instructions, images: 0 } }]
    return {
      given: from,
      chat: {
        model: yield* Serde.required(from, "model", Serde.string, path),
        messages: [...system, ...turnsOf(asked)],
        thinking,
        effort: chosen,
        tools,
        maxTokens: (yield* optional("max_output_tokens", Serde.integer)) ?? Chat.defaultMaxTokens(thinking, chosen),
        responseFormat: asFormat?.type ?? "text",
        schema: asFormat?.schema,
        stop: [],
        stream: (yield* optional("stream", Serde.boolean)) ?? false,
        streamOptions: false,
        includeUsage: true,
        temperature: yield* optional("temperature", Serde.number),
        topP: yield* optional("top_p", Serde.number),
        toolChoice: (yield* optional("tool_choice", toolChoice)) ?? (tools.length > 0 ? "auto" : "none"),
        logprobs: topLogprobs !== undefined && topLogprobs > 0,
        topLogprobs: topLogprobs === 0 ? undefined : topLogprobs,
        userId: yield* optional("user", Serde.string)
      }
    }
  })

/** The conversation as a chat request has it, for those who choose a reply by it. */
export const inputOf = ({ messages, model }: Chat.Chat): ChatRequest => {
  const [first = { role: "user", content: "" }, ...rest] = messages.map((message): ChatRequest["messages"][number] => {
    const { text } = message.content
    switch (message.role) {
      case "tool":
        return { role: "tool", content: text, tool_call_id: message.callId }
      case "assistant":
        return { role: "assistant", content: text }
      default:
        return { role: message.role === "user" ? "user" : "system", content: text }
    }
  })
  return { model, messages: [first, ...rest] }
}

export const protocol = (replayCheck: Validate.ReplayCheck): Protocol => (text) =>
  Result.gen(function*() {
    const { chat, given } = yield* Validate.body(text, decode)
    const valid = yield* Validate.conditions(chat, {
      beta: false,
      replayCheck,
      thought: "reasoning_text",
      jsonSchema: true
    })
    const asked: Asked = { ...valid, input: inputOf(chat), encoding: encodings.make(given, patch) }
    return asked
  })
