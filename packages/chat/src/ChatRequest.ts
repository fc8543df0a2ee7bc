/**
 * The request of a chat completion, in the shape of the wire.
 *
 * A value of type `ChatRequest` is the JSON body itself: nothing is renamed or converted on the way out, so whatever a
 * newer service understands can be added as a further field and arrives untouched. The schemas check the fields that the
 * documentation names and keep the others; ranges are left to the service, which knows its current limits best. A field that is
 * `null` is the same as one that is missing.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { nullable, optional } from "./internal/wire.ts"

/**
 * The body of `POST /chat/completions`.
 *
 * **Details**
 *
 * | field | unit, range | default of the service | notes |
 * |---|---|---|---|
 * | `thinking` | on or off | on | |
 * | `reasoning_effort` | `none` to `max` | `high` | no effect where `thinking` is off; `none` switches it off; DeepSeek knows `low`, `high` and `max`, the others are aliases |
 * | `max_tokens` | tokens, 1 to 393,216 | 8K; 64K thinking; 128K with effort `max` | reasoning and answer together |
 * | `response_format` | | `text` | `json_object` needs the word "json" in a message |
 * | `stop` | at most 16 texts | none | |
 * | `stream_options` | | none | only in a stream; `include_usage` |
 * | `temperature` | 0 to 2 | 1 | ignored while thinking |
 * | `top_p` | (0, 1] | 1 | `deepseek-flash` ignores it without thinking, and raises it to 0.95 while thinking |
 * | `tools` | | none | functions, each of a name of its own, 1 to 128 of `a-z A-Z 0-9 _ -` |
 * | `tool_choice` | | `auto` with tools, else `none` | `required` or a function's name is refused while thinking |
 * | `logprobs` | | `false` | |
 * | `top_logprobs` | 0 to 20 | none | needs `logprobs` |
 * | `user_id` | at most 512 bytes | none | keeps context caches apart; no personal data |
 * | `frequency_penalty`, `presence_penalty` | | | ignored in every mode |
 *
 * `stream` is set by the operation called (`complete` or `stream`), whatever stands in the request.
 *
 * @see {@link https://api-docs.deepseek.com/api/create-chat-completion}
 * @category models
 * @since 0.1.0
 */
export interface ChatRequest {
  readonly model: string
  readonly messages: readonly [Message, ...Array<Message>]
  readonly thinking?: { readonly type: "enabled" | "disabled" } | null
  readonly reasoning_effort?: "none" | "minimal" | "low" | "medium" | "high" | "xhigh" | "max" | "ultra" | null
  readonly max_tokens?: number | null
  readonly response_format?: { readonly type: "text" | "json_object" } | null
  readonly stop?: string | ReadonlyArray<string> | null
  readonly stream?: boolean | null
  readonly stream_options?: { readonly include_usage?: boolean | null } | null
  readonly temperature?: number | null
  readonly top_p?: number | null
  readonly tools?: ReadonlyArray<Tool> | null
  readonly tool_choice?: ToolChoice | null
  readonly logprobs?: boolean | null
  readonly top_logprobs?: number | null
  readonly user_id?: string | null
  readonly frequency_penalty?: number | null
  readonly presence_penalty?: number | null
}

/**
 * One message of the conversation. The service keeps no history: every request carries all of it.
 *
 * **Gotchas**
 *
 * When the request has `tools`, send `reasoning_content` of every earlier assistant turn back, else the service answers
 * 400. `prefix` works on the beta base URL only.
 *
 * @category models
 * @since 0.1.0
 */
export type Message =
  | { readonly role: "system"; readonly content: Content; readonly name?: string | null }
  | { readonly role: "user"; readonly content: Content; readonly name?: string | null }
  | {
    readonly role: "assistant"
    readonly content?: Content | null
    readonly reasoning_content?: string | null
    readonly tool_calls?: ReadonlyArray<ToolCall> | null
    readonly name?: string | null
    readonly prefix?: boolean | null
  }
  | { readonly role: "tool"; readonly tool_call_id: string; readonly content: Content }

/**
 * What a message says: text, or parts.
 *
 * @category models
 * @since 0.1.0
 */
export type Content = string | ReadonlyArray<ContentPart>

/**
 * A piece of a user's (or a tool's) content: text, an image by URL or data URL, or a file by id or inline data.
 *
 * @category models
 * @since 0.1.0
 */
export type ContentPart =
  | { readonly type: "text"; readonly text: string }
  | {
    readonly type: "image_url"
    readonly image_url: { readonly url: string; readonly detail?: "low" | "high" | "original" | "auto" | null }
  }
  | {
    readonly type: "file"
    readonly file: { readonly file_id?: string; readonly file_data?: string; readonly filename?: string | null }
  }

/**
 * A call of a tool, as the model made it. `arguments` is text that the model wrote and may be invalid JSON.
 *
 * @category models
 * @since 0.1.0
 */
export interface ToolCall {
  readonly index?: number
  readonly id: string
  readonly type: "function"
  readonly function: { readonly name: string; readonly arguments: string }
}

/**
 * A function that the model may call. `parameters` is a JSON Schema; `strict` works on the beta base URL only.
 *
 * @category models
 * @since 0.1.0
 */
export interface Tool {
  readonly type: "function"
  readonly function: {
    readonly name: string
    readonly description?: string | null
    readonly parameters?: { readonly [keyword: string]: unknown } | null
    readonly strict?: boolean | null
  }
}

/**
 * Which tool the model must call. A forced call needs thinking switched off.
 *
 * @category models
 * @since 0.1.0
 */
export type ToolChoice =
  | "none"
  | "auto"
  | "required"
  | { readonly type: "function"; readonly function: { readonly name: string } }

/**
 * The schema of a piece of content.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ContentPart: Schema.Codec<ContentPart> = Schema.Union([
  Schema.Struct({ type: Schema.Literal("text"), text: Schema.String }),
  Schema.Struct({
    type: Schema.Literal("image_url"),
    image_url: Schema.Struct({
      url: Schema.String,
      detail: nullable(Schema.Literals(["low", "high", "original", "auto"]))
    })
  }),
  Schema.Struct({
    type: Schema.Literal("file"),
    file: Schema.Struct({
      file_id: optional(Schema.String),
      file_data: optional(Schema.String),
      filename: nullable(Schema.String)
    })
  })
])

const Content = Schema.Union([Schema.String, Schema.Array(ContentPart)])

/**
 * The schema of a tool call.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ToolCall: Schema.Codec<ToolCall> = Schema.Struct({
  index: optional(Schema.Finite),
  id: Schema.String,
  type: Schema.Literal("function"),
  function: Schema.Struct({ name: Schema.String, arguments: Schema.String })
})

/**
 * The schema of a message.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Message: Schema.Codec<Message> = Schema.Union([
  Schema.Struct({ role: Schema.Literal("system"), content: Content, name: nullable(Schema.String) }),
  Schema.Struct({ role: Schema.Literal("user"), content: Content, name: nullable(Schema.String) }),
  Schema.Struct({
    role: Schema.Literal("assistant"),
    content: nullable(Content),
    reasoning_content: nullable(Schema.String),
    tool_calls: nullable(Schema.Array(ToolCall)),
    name: nullable(Schema.String),
    prefix: nullable(Schema.Boolean)
  }),
  Schema.Struct({ role: Schema.Literal("tool"), tool_call_id: Schema.String, content: Content })
])

/**
 * The schema of a tool.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Tool: Schema.Codec<Tool> = Schema.Struct({
  type: Schema.Literal("function"),
  function: Schema.Struct({
    name: Schema.String,
    description: nullable(Schema.String),
    parameters: nullable(Schema.Record(Schema.String, Schema.Unknown)),
    strict: nullable(Schema.Boolean)
  })
})

/**
 * The schema of a tool choice.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ToolChoice: Schema.Codec<ToolChoice> = Schema.Union([
  Schema.Literals(["none", "auto", "required"]),
  Schema.Struct({ type: Schema.Literal("function"), function: Schema.Struct({ name: Schema.String }) })
])

/**
 * The schema of a request, for programs that check one before they send it. Fields that it does not name are kept.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ChatRequest: Schema.Codec<ChatRequest> = Schema.Struct({
  model: Schema.String,
  messages: Schema.NonEmptyArray(Message),
  thinking: nullable(Schema.Struct({ type: Schema.Literals(["enabled", "disabled"]) })),
  reasoning_effort: nullable(Schema.Literals(["none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"])),
  max_tokens: nullable(Schema.Finite),
  response_format: nullable(Schema.Struct({ type: Schema.Literals(["text", "json_object"]) })),
  stop: nullable(Schema.Union([Schema.String, Schema.Array(Schema.String)])),
  stream: nullable(Schema.Boolean),
  stream_options: nullable(Schema.Struct({ include_usage: nullable(Schema.Boolean) })),
  temperature: nullable(Schema.Finite),
  top_p: nullable(Schema.Finite),
  tools: nullable(Schema.Array(Tool)),
  tool_choice: nullable(ToolChoice),
  logprobs: nullable(Schema.Boolean),
  top_logprobs: nullable(Schema.Finite),
  user_id: nullable(Schema.String),
  frequency_penalty: nullable(Schema.Finite),
  presence_penalty: nullable(Schema.Finite)
})
