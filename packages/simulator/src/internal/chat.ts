/** A chat request as the engine works with it, decoded from the body as leniently and as strictly as the service does. */
import * as Result from "effect/Result"
import * as Image from "./image.ts"
import * as Serde from "./serde.ts"

export type Content = { readonly text: string; readonly images: number }

export interface ToolCall {
  readonly id: string
  readonly name: string
  readonly arguments: string
}

export type Message =
  | { readonly role: "system" | "user" | "latest_reminder"; readonly content: Content }
  | {
    readonly role: "assistant"
    readonly content: Content
    /** `undefined` when the key is missing or null. */
    readonly reasoning: string | undefined
    readonly toolCalls: ReadonlyArray<ToolCall>
    readonly prefix: boolean
  }
  | { readonly role: "tool"; readonly content: Content; readonly callId: string }

/** The beginning of an answer that a request gives itself. */
export type Prefix = Extract<Message, { readonly role: "assistant" }>

/** The chat that a prefix answers, and the prefix; undefined when the chat has none. */
export const withoutPrefix = (chat: Chat): Chat & { readonly prefix: Prefix } | undefined => {
  const last = chat.messages[chat.messages.length - 1]
  return last?.role === "assistant" && last.prefix
    ? { ...chat, messages: chat.messages.slice(0, -1), prefix: last }
    : undefined
}

export interface Tool {
  readonly name: string
  readonly description: string
  readonly parameters: Serde.Fields | undefined
  readonly strict: boolean
}

export type ToolChoice = "none" | "auto" | "required" | { readonly name: string }

export interface Chat {
  readonly model: string
  readonly messages: ReadonlyArray<Message>
  readonly thinking: boolean
  readonly effort: string
  readonly maxTokens: number
  readonly responseFormat: "text" | "json_object" | "json_schema"
  /** What the answer has to satisfy, where the format is `json_schema`. */
  readonly schema?: Serde.Fields | undefined
  readonly stop: ReadonlyArray<string>
  readonly stream: boolean
  readonly streamOptions: boolean
  readonly includeUsage: boolean
  readonly temperature: number | undefined
  readonly topP: number | undefined
  readonly tools: ReadonlyArray<Tool>
  readonly toolChoice: ToolChoice
  readonly logprobs: boolean
  readonly topLogprobs: number | undefined
  readonly userId: string | undefined
}

const part = (only: "text" | "any"): Serde.Decoder<Content> => (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("ContentPart")(input, path)
    const variants = only === "text" ? Serde.literals("text") : Serde.literals("text", "image_url", "file")
    // Parts of a file may omit the type.
    const type = only === "any" && from.type === undefined && from.file !== undefined
      ? "file"
      : yield* Serde.required(from, "type", variants, path)
    if (type === "text") return { text: yield* Serde.required(from, "text", Serde.string, path), images: 0 }
    yield* Serde.required(from, type, type === "file" ? Image.file : Image.url, path)
    return { text: "", images: 1 }
  })

const content = (only: "text" | "any"): Serde.Decoder<Content> => (input, path) => {
  if (typeof input === "string") return Result.succeed({ text: input, images: 0 })
  if (!Array.isArray(input)) return Serde.invalidType(input, path, "a string or a sequence")
  return Result.map(Serde.array(part(only))(input, path), (parts) => ({
    text: parts.map(({ text }) => text).join(""),
    images: parts.reduce((sum, { images }) => sum + images, 0)
  }))
}

const toolCall: Serde.Decoder<ToolCall> = (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("ToolCall")(input, path)
    const id = yield* Serde.required(from, "id", Serde.string, path)
    yield* Serde.required(from, "type", Serde.literals("function"), path)
    const call = yield* Serde.required(from, "function", Serde.fields("FunctionCall"), path)
    const name = yield* Serde.required(call, "name", Serde.string, `${path}.function`)
    return { id, name, arguments: yield* Serde.required(call, "arguments", Serde.string, `${path}.function`) }
  })

const roles = Serde.literals("system", "user", "assistant", "tool", "latest_reminder")

const message: Serde.Decoder<Message> = (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("ChatCompletionRequestMessage")(input, path)
    const role = yield* Serde.required(from, "role", roles, path)
    yield* Serde.optional(from, "name", Serde.string, path)
    switch (role) {
      case "system":
      case "latest_reminder":
        return { role, content: yield* Serde.required(from, "content", content("text"), path) }
      case "user":
        return { role, content: yield* Serde.required(from, "content", content("any"), path) }
      case "tool": {
        const callId = yield* Serde.required(from, "tool_call_id", Serde.string, path)
        return { role, callId, content: yield* Serde.required(from, "content", content("any"), path) }
      }
      case "assistant": {
        // The key is required though its value may be null.
        if (from.content === undefined) return yield* Serde.fail(path, "missing field `content`")
        return {
          role,
          content: (yield* Serde.optional(from, "content", content("text"), path)) ?? { text: "", images: 0 },
          reasoning: yield* Serde.optional(from, "reasoning_content", Serde.string, path),
          toolCalls: (yield* Serde.optional(from, "tool_calls", Serde.array(toolCall), path)) ?? [],
          prefix: (yield* Serde.optional(from, "prefix", Serde.boolean, path)) ?? false
        }
      }
    }
  })

const tool: Serde.Decoder<Tool> = (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("Tool")(input, path)
    yield* Serde.required(from, "type", Serde.literals("function"), path)
    const spec = yield* Serde.required(from, "function", Serde.fields("Function"), path)
    const inside = `${path}.function`
    return {
      name: yield* Serde.required(spec, "name", Serde.string, inside),
      description: (yield* Serde.optional(spec, "description", Serde.string, inside)) ?? "",
      parameters: yield* Serde.optional(spec, "parameters", Serde.fields("Parameters"), inside),
      strict: (yield* Serde.optional(spec, "strict", Serde.boolean, inside)) ?? false
    }
  })

const toolChoice: Serde.Decoder<ToolChoice> = (input, path) => {
  if (!Serde.isFields(input)) return Serde.literals("none", "auto", "required")(input, path)
  return Result.gen(function*() {
    yield* Serde.required(input, "type", Serde.literals("function"), path)
    const named = yield* Serde.required(input, "function", Serde.fields("FunctionName"), path)
    return { name: yield* Serde.required(named, "name", Serde.string, `${path}.function`) }
  })
}

export const stop: Serde.Decoder<ReadonlyArray<string>> = (input, path) =>
  typeof input === "string" ? Result.succeed([input]) : Serde.array(Serde.string)(input, path)

const typed = <A>(name: string, type: Serde.Decoder<A>): Serde.Decoder<A> => (input, path) =>
  Result.flatMap(Serde.fields(name)(input, path), (from) => Serde.required(from, "type", type, path))

export const efforts = Serde.literals("none", "minimal", "low", "medium", "high", "xhigh", "max")

export const defaultMaxTokens = (thinking: boolean, effort: string) =>
  !thinking ? 8_192 : effort === "max" ? 131_072 : 65_536

export const decode: Serde.Decoder<Chat> = (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("ChatCompletionRequest")(input, path)
    const optional = <A>(name: string, decoder: Serde.Decoder<A>) => Serde.optional(from, name, decoder, path)

    const model = yield* Serde.required(from, "model", Serde.string, path)
    const messages = yield* Serde.required(from, "messages", Serde.array(message), path)
    const switched = yield* optional("thinking", typed("Thinking", Serde.literals("enabled", "disabled")))
    const effort = (yield* optional("reasoning_effort", efforts)) ?? "high"
    const thinking = switched !== "disabled" && effort !== "none"
    const streamOptions = yield* optional("stream_options", Serde.fields("StreamOptions"))
    const includeUsage = streamOptions &&
      (yield* Serde.optional(streamOptions, "include_usage", Serde.boolean, "stream_options"))
    const tools = (yield* optional("tools", Serde.array(tool))) ?? []
    // Accepted and ignored.
    for (const penalty of ["frequency_penalty", "presence_penalty"]) yield* optional(penalty, Serde.number)

    return {
      model,
      messages,
      thinking,
      effort,
      tools,
      maxTokens: (yield* optional("max_tokens", Serde.integer)) ?? defaultMaxTokens(thinking, effort),
      responseFormat: (yield* optional(
        "response_format",
        typed("ResponseFormat", Serde.literals("text", "json_object", "json_schema"))
      )) ?? "text",
      stop: (yield* optional("stop", stop)) ?? [],
      stream: (yield* optional("stream", Serde.boolean)) ?? false,
      streamOptions: streamOptions !== undefined,
      includeUsage: includeUsage ?? false,
      temperature: yield* optional("temperature", Serde.number),
      topP: yield* optional("top_p", Serde.number),
      toolChoice: (yield* optional("tool_choice", toolChoice)) ?? (tools.length > 0 ? "auto" : "none"),
      logprobs: (yield* optional("logprobs", Serde.boolean)) ?? false,
      topLogprobs: yield* optional("top_logprobs", Serde.integer),
      userId: yield* optional("user_id", Serde.string)
    }
  })
