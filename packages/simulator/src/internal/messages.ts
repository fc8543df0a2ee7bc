/** Anthropic's Messages: its blocks become the turns of a chat, which is checked and answered as every chat. */
import * as Result from "effect/Result"
import * as Chat from "./chat.ts"
import type { Asked, Protocol } from "./chatReply.ts"
import * as Image from "./image.ts"
import * as encodings from "./messagesEncoding.ts"
import * as Reply from "./reply.ts"
import { inputOf } from "./responses.ts"
import type * as Routes from "./routes.ts"
import * as Serde from "./serde.ts"
import * as Validate from "./validate.ts"

const imageSource: Serde.Decoder<void> = (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("ImageSource")(input, path)
    switch (yield* Serde.required(from, "type", Serde.literals("base64", "url", "file"), path)) {
      case "base64": {
        yield* Serde.required(from, "media_type", Serde.string, path)
        const data = yield* Serde.required(from, "data", Serde.string, path)
        return yield* Image.file({ file_data: data }, path)
      }
      case "url":
        return yield* Image.url({ url: yield* Serde.required(from, "url", Serde.string, path) }, path)
      case "file":
        yield* Serde.required(from, "file_id", Serde.string, path)
    }
  })

type Block =
  | { readonly type: "content"; readonly content: Chat.Content }
  | { readonly type: "thinking"; readonly text: string }
  | { readonly type: "call"; readonly call: Chat.ToolCall }
  | { readonly type: "result"; readonly message: Chat.Message }
  | { readonly type: "ignored" }

const saying = (text: string, images = 0): Block => ({ type: "content", content: { text, images } })

const result = (from: Serde.Fields, path: string): Result.Result<Block, Serde.Mismatch> =>
  Result.gen(function*() {
    const callId = yield* Serde.required(from, "tool_use_id", Serde.string, path)
    const content = (yield* Serde.optional(from, "content", said, path)) ?? nothing
    return { type: "result", message: { role: "tool", content, callId } }
  })

const call = (from: Serde.Fields, path: string): Result.Result<Block, Serde.Mismatch> =>
  Result.gen(function*() {
    const id = yield* Serde.required(from, "id", Serde.string, path)
    const name = yield* Serde.required(from, "name", Serde.string, path)
    const input = yield* Serde.required(from, "input", Serde.fields("ToolInput"), path)
    return { type: "call", call: { id, name, arguments: JSON.stringify(input) } }
  })

const blockTypes = Serde.literals(
  "text",
  "image",
  "thinking",
  "tool_use",
  "tool_result",
  "server_tool_use",
  "web_search_tool_result"
)

const block: Serde.Decoder<Block> = (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("ContentBlock")(input, path)
    const type = yield* Serde.required(from, "type", blockTypes, path)
    switch (type) {
      case "text":
        return saying(yield* Serde.required(from, "text", Serde.string, path))
      case "image":
        yield* Serde.required(from, "source", imageSource, path)
        return saying("", 1)
      case "thinking":
        return { type, text: yield* Serde.required(from, "thinking", Serde.string, path) }
      case "tool_use":
        return yield* call(from, path)
      case "tool_result":
        return yield* result(from, path)
      default:
        return { type: "ignored" }
    }
  })

const nothing: Chat.Content = { text: "", images: 0 }

const joined = (blocks: ReadonlyArray<Block>): Chat.Content => {
  const contents = blocks.flatMap((block) => block.type === "content" ? [block.content] : [])
  return {
    text: contents.map(({ text }) => text).join(""),
    images: contents.reduce((sum, { images }) => sum + images, 0)
  }
}

const blocks: Serde.Decoder<ReadonlyArray<Block>> = (input, path) =>
  typeof input === "string"
    ? Result.succeed([saying(input)])
    : Array.isArray(input)
    ? Serde.array(block)(input, path)
    : Serde.invalidType(input, path, "a string or a sequence")

const said: Serde.Decoder<Chat.Content> = (input, path) => Result.map(blocks(input, path), joined)

const assistant = (said: ReadonlyArray<Block>): Chat.Message => {
  const thoughts = said.flatMap((block) => block.type === "thinking" ? [block.text] : [])
  return {
    role: "assistant",
    content: joined(said),
    reasoning: thoughts.length === 0 ? undefined : thoughts.join(""),
    toolCalls: said.flatMap((block) => block.type === "call" ? [block.call] : []),
    prefix: false
  }
}

const user = (said: ReadonlyArray<Block>): ReadonlyArray<Chat.Message> => {
  const results = said.flatMap((block) => block.type === "result" ? [block.message] : [])
  const rest = said.filter(({ type }) => type === "content")
  return results.length > 0 && rest.length === 0 ? results : [...results, { role: "user", content: joined(rest) }]
}

const turn: Serde.Decoder<ReadonlyArray<Chat.Message>> = (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("Message")(input, path)
    const role = yield* Serde.required(from, "role", Serde.literals("user", "assistant", "system"), path)
    const said = yield* Serde.required(from, "content", blocks, path)
    return role === "assistant" ? [assistant(said)] : role === "user" ? user(said) : [{ role, content: joined(said) }]
  })

/** Tools that the service runs are taken, and not called here. Those of clients must not say that they are `custom`. */
const tool: Serde.Decoder<Chat.Tool | undefined> = (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("Tool")(input, path)
    const type = yield* Serde.optional(from, "type", Serde.literals("web_search_20250305"), path)
    const name = yield* Serde.required(from, "name", Serde.string, path)
    if (type !== undefined) return undefined
    return {
      name,
      description: (yield* Serde.optional(from, "description", Serde.string, path)) ?? "",
      parameters: yield* Serde.required(from, "input_schema", Serde.fields("InputSchema"), path),
      strict: false
    }
  })

const toolChoice: Serde.Decoder<Chat.ToolChoice> = (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("ToolChoice")(input, path)
    const type = yield* Serde.required(from, "type", Serde.literals("auto", "any", "tool", "none"), path)
    if (type === "tool") return { name: yield* Serde.required(from, "name", Serde.string, path) }
    return type === "any" ? "required" : type
  })

const field =
  <A>(struct: string, name: string, decoder: Serde.Decoder<A>): Serde.Decoder<A | undefined> => (input, path) =>
    Result.flatMap(Serde.fields(struct)(input, path), (from) => Serde.optional(from, name, decoder, path))

/** The models that stand for Anthropic's. */
const modelOf = (name: string): string =>
  name.startsWith("claude-opus") ? "deepseek-v4-pro" : name.startsWith("claude-") ? "deepseek-flash" : name

const decode: Serde.Decoder<Chat.Chat> = (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("CreateMessage")(input, path)
    const optional = <A>(name: string, decoder: Serde.Decoder<A>) => Serde.optional(from, name, decoder, path)
    const model = modelOf(yield* Serde.required(from, "model", Serde.string, path))
    const system = yield* optional("system", said)
    const turns = yield* Serde.required(from, "messages", Serde.array(turn), path)
    const late = model === "deepseek-v4-pro" ? turns.findIndex(([first]) => first?.role === "system") : -1
    if (late !== -1) {
      return yield* Serde.fail(
        `messages[${late}].role`,
        `unknown variant \`system\`, ${model} takes it at the beginning only`
      )
    }
    const thinks = yield* optional(
      "thinking",
      field("Thinking", "type", Serde.literals("enabled", "disabled", "adaptive"))
    )
    const effort = (yield* optional("output_config", field("OutputConfig", "effort", Chat.efforts))) ?? "high"
    const thinking = thinks !== "disabled" && effort !== "none"
    const tools = ((yield* optional("tools", Serde.array(tool))) ?? []).filter((tool) => tool !== undefined)
    const first: ReadonlyArray<Chat.Message> = system === undefined ? [] : [{ role: "system", content: system }]
    return {
      model,
      messages: [...first, ...turns.flat()],
      thinking,
      effort,
      tools,
      maxTokens: (yield* optional("max_tokens", Serde.integer)) ?? Chat.defaultMaxTokens(thinking, effort),
      responseFormat: "text",
      stop: (yield* optional("stop_sequences", Chat.stop)) ?? [],
      stream: (yield* optional("stream", Serde.boolean)) ?? false,
      streamOptions: false,
      includeUsage: true,
      temperature: yield* optional("temperature", Serde.number),
      topP: yield* optional("top_p", Serde.number),
      toolChoice: (yield* optional("tool_choice", toolChoice)) ?? (tools.length > 0 ? "auto" : "none"),
      logprobs: false,
      topLogprobs: undefined,
      userId: yield* optional("metadata", field("Metadata", "user_id", Serde.string))
    }
  })

const read = (text: string, replayCheck: Validate.ReplayCheck) =>
  Result.flatMap(
    Validate.body(text, decode),
    (chat) => Validate.conditions(chat, { beta: false, replayCheck, thought: "content[].thinking" })
  )

export const protocol = (replayCheck: Validate.ReplayCheck): Protocol => (text) =>
  Result.map(
    read(text, replayCheck),
    (valid): Asked => ({ ...valid, input: inputOf(valid.chat), encoding: encodings.encoding })
  )

/** How many tokens a request has. What only a request for an answer must keep is not checked. */
export const count = (keepAlive: number): Routes.Route["answer"] => (arrival) =>
  Result.match(read(new TextDecoder().decode(arrival.request.body), "off"), {
    onFailure: (refusal) => Reply.refuse(refusal, arrival),
    onSuccess: ({ prompt }) => Reply.data({ input_tokens: prompt.tokens }, arrival.fault, keepAlive)
  })
