/**
 * Anthropic's Messages: the shapes of the wire.
 *
 * A value of type `Request` is the JSON body itself. The shapes name what the documentation of DeepSeek names; fields that a schema does
 * not name are kept, and ranges are left to the service. `MessagesChat` translates from and to chat.
 *
 * @see {@link https://api-docs.deepseek.com/guides/anthropic_api}
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { ChatRequest } from "./ChatRequest.ts"
import { nullable, optional } from "./internal/wire.ts"

/**
 * The body of `POST /v1/messages`.
 *
 * **Details**
 *
 * | field | unit, range | default of DeepSeek | notes |
 * |---|---|---|---|
 * | `model` | name | | DeepSeek takes `claude-opus…` as `deepseek-v4-pro`, other `claude-…` as `deepseek-flash` |
 * | `max_tokens` | tokens, 1 to 393,216 | required | thinking and answer together |
 * | `temperature` | 0 to 2 | 1 | ignored while thinking |
 * | `top_p` | (0, 1] | 1 | ignored without thinking |
 * | `stop_sequences` | at most 16 texts | none | |
 * | `thinking` | | on | `budget_tokens` is ignored |
 * | `output_config.effort` | `none` to `max` | `high` | ignored where `thinking` is off; `none` switches it off |
 * | `system` | text | none | |
 * | `tools` | | none | functions, and the service's `web_search_20250305` |
 * | `tool_choice` | | `auto` with tools | `any` and `tool` need thinking switched off |
 * | `metadata.user_id` | at most 512 bytes | none | keeps context caches apart; no personal data |
 *
 * DeepSeek ignores `top_k`, `cache_control`, `citations`, `container`, `mcp_servers`, `service_tier`, `is_error`,
 * `disable_parallel_tool_use`, and `anthropic-beta` but for files.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request {
  readonly model: string
  readonly max_tokens: number
  readonly messages: readonly [Message, ...Array<Message>]
  readonly system?: string | ReadonlyArray<TextBlock> | null
  readonly stop_sequences?: ReadonlyArray<string> | null
  readonly stream?: boolean | null
  readonly temperature?: number | null
  readonly top_p?: number | null
  readonly thinking?: { readonly type: "enabled" | "disabled" | "adaptive"; readonly budget_tokens?: number } | null
  readonly output_config?: { readonly effort?: ChatRequest["reasoning_effort"] } | null
  readonly tools?: ReadonlyArray<Tool> | null
  readonly tool_choice?: ToolChoice | null
  readonly metadata?: { readonly user_id?: string | null } | null
}

/**
 * A turn of the conversation. Every request carries all of them. A `system` turn is an instruction on the way, where the model takes
 * one (`deepseek-flash`).
 *
 * @category models
 * @since 0.1.0
 */
export interface Message {
  readonly role: "user" | "assistant" | "system"
  readonly content: string | ReadonlyArray<Block>
}

/**
 * A text.
 *
 * @category models
 * @since 0.1.0
 */
export interface TextBlock {
  readonly type: "text"
  readonly text: string
}

/**
 * A piece of a turn. `thinking` and `tool_use` are the assistant's: send them back as they came.
 *
 * @category models
 * @since 0.1.0
 */
export type Block =
  | TextBlock
  | { readonly type: "image"; readonly source: ImageSource }
  | { readonly type: "thinking"; readonly thinking: string; readonly signature?: string | null }
  | { readonly type: "tool_use"; readonly id: string; readonly name: string; readonly input: unknown }
  | {
    readonly type: "tool_result"
    readonly tool_use_id: string
    readonly content?:
      | string
      | ReadonlyArray<TextBlock | { readonly type: "image"; readonly source: ImageSource }>
      | null
    readonly is_error?: boolean | null
  }
  | { readonly type: "server_tool_use"; readonly id: string; readonly name: string; readonly input: unknown }
  | { readonly type: "web_search_tool_result"; readonly tool_use_id: string; readonly content: unknown }

/**
 * Where an image is: inline, at a URL, or an uploaded file.
 *
 * @category models
 * @since 0.1.0
 */
export type ImageSource =
  | { readonly type: "base64"; readonly media_type: string; readonly data: string }
  | { readonly type: "url"; readonly url: string }
  | { readonly type: "file"; readonly file_id: string }

/**
 * A function that the model may call, with the JSON Schema of its input, or a tool that the service runs (`web_search_20250305`).
 *
 * @category models
 * @since 0.1.0
 */
export type Tool =
  | {
    readonly type?: "custom" | null
    readonly name: string
    readonly description?: string | null
    readonly input_schema: { readonly [keyword: string]: unknown }
  }
  | { readonly type: string; readonly name: string }

/**
 * Which tool the model must call: `any` is one of them.
 *
 * @category models
 * @since 0.1.0
 */
export type ToolChoice =
  | { readonly type: "auto" | "any" | "none" }
  | { readonly type: "tool"; readonly name: string }

/**
 * The whole answer.
 *
 * **Details**
 *
 * `stop_reason` says why generation ended. Known: `end_turn`, `max_tokens`, `stop_sequence`, `tool_use`, `pause_turn`, `refusal`,
 * `model_context_window_exceeded`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answer {
  readonly id: string
  readonly type: "message"
  readonly role: "assistant"
  readonly model: string
  readonly content: ReadonlyArray<Block>
  readonly stop_reason: string | null
  readonly stop_sequence?: string | null
  readonly usage: Usage
}

/**
 * Token counts of one call. The three counts of the input are disjoint: their sum is the prompt.
 *
 * @category models
 * @since 0.1.0
 */
export interface Usage {
  readonly input_tokens: number
  readonly cache_creation_input_tokens?: number | null
  readonly cache_read_input_tokens?: number | null
  /** The answer, thinking included. */
  readonly output_tokens: number
}

/**
 * How many tokens a request would take.
 *
 * @category models
 * @since 0.1.0
 */
export interface TokenCount {
  readonly input_tokens: number
}

/**
 * An event of a streamed answer. `message_delta` has the end's reason and the usage so far, `message_stop` is the last. A stream may hold
 * events of other types.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  | { readonly type: "message_start"; readonly message: Answer }
  | { readonly type: "content_block_start"; readonly index: number; readonly content_block: Block }
  | { readonly type: "content_block_delta"; readonly index: number; readonly delta: Delta }
  | { readonly type: "content_block_stop"; readonly index: number }
  | {
    readonly type: "message_delta"
    readonly delta: { readonly stop_reason: string | null; readonly stop_sequence?: string | null }
    readonly usage: Partial<Usage>
  }
  | { readonly type: "message_stop" }
  | { readonly type: "ping" }
  | { readonly type: "error"; readonly error: { readonly type: string; readonly message: string } }

/**
 * What an event adds to its block. Pieces of JSON are to be joined and parsed at the end of the block.
 *
 * @category models
 * @since 0.1.0
 */
export type Delta =
  | { readonly type: "text_delta"; readonly text: string }
  | { readonly type: "thinking_delta"; readonly thinking: string }
  | { readonly type: "signature_delta"; readonly signature: string }
  | { readonly type: "input_json_delta"; readonly partial_json: string }

/**
 * The schema of a text.
 *
 * @category schemas
 * @since 0.1.0
 */
export const TextBlock: Schema.Codec<TextBlock> = Schema.Struct({ type: Schema.Literal("text"), text: Schema.String })

/**
 * The schema of an image's place.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ImageSource: Schema.Codec<ImageSource> = Schema.Union([
  Schema.Struct({ type: Schema.Literal("base64"), media_type: Schema.String, data: Schema.String }),
  Schema.Struct({ type: Schema.Literal("url"), url: Schema.String }),
  Schema.Struct({ type: Schema.Literal("file"), file_id: Schema.String })
])

const Image = Schema.Struct({ type: Schema.Literal("image"), source: ImageSource })

/**
 * The schema of a piece of a turn.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Block: Schema.Codec<Block> = Schema.Union([
  TextBlock,
  Image,
  Schema.Struct({ type: Schema.Literal("thinking"), thinking: Schema.String, signature: nullable(Schema.String) }),
  Schema.Struct({
    type: Schema.Literal("tool_use"),
    id: Schema.String,
    name: Schema.String,
    input: Schema.Unknown
  }),
  Schema.Struct({
    type: Schema.Literal("tool_result"),
    tool_use_id: Schema.String,
    content: nullable(Schema.Union([Schema.String, Schema.Array(Schema.Union([TextBlock, Image]))])),
    is_error: nullable(Schema.Boolean)
  }),
  Schema.Struct({
    type: Schema.Literal("server_tool_use"),
    id: Schema.String,
    name: Schema.String,
    input: Schema.Unknown
  }),
  Schema.Struct({
    type: Schema.Literal("web_search_tool_result"),
    tool_use_id: Schema.String,
    content: Schema.Unknown
  })
])

/**
 * The schema of a turn.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Message: Schema.Codec<Message> = Schema.Struct({
  role: Schema.Literals(["user", "assistant", "system"]),
  content: Schema.Union([Schema.String, Schema.Array(Block)])
})

/**
 * The schema of a tool.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Tool: Schema.Codec<Tool> = Schema.Union([
  Schema.Struct({
    type: nullable(Schema.Literal("custom")),
    name: Schema.String,
    description: nullable(Schema.String),
    input_schema: Schema.Record(Schema.String, Schema.Unknown)
  }),
  Schema.Struct({ type: Schema.String, name: Schema.String })
])

/**
 * The schema of a tool choice.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ToolChoice: Schema.Codec<ToolChoice> = Schema.Union([
  Schema.Struct({ type: Schema.Literals(["auto", "any", "none"]) }),
  Schema.Struct({ type: Schema.Literal("tool"), name: Schema.String })
])

/**
 * The schema of a request, for programs that check one before they send it. Fields that it does not name are kept.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Request: Schema.Codec<Request> = Schema.Struct({
  model: Schema.String,
  max_tokens: Schema.Finite,
  messages: Schema.NonEmptyArray(Message),
  system: nullable(Schema.Union([Schema.String, Schema.Array(TextBlock)])),
  stop_sequences: nullable(Schema.Array(Schema.String)),
  stream: nullable(Schema.Boolean),
  temperature: nullable(Schema.Finite),
  top_p: nullable(Schema.Finite),
  thinking: nullable(Schema.Struct({
    type: Schema.Literals(["enabled", "disabled", "adaptive"]),
    budget_tokens: optional(Schema.Finite)
  })),
  output_config: nullable(Schema.Struct({
    effort: nullable(Schema.Literals(["none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"]))
  })),
  tools: nullable(Schema.Array(Tool)),
  tool_choice: nullable(ToolChoice),
  metadata: nullable(Schema.Struct({ user_id: nullable(Schema.String) }))
})

/**
 * The schema of a count of tokens.
 *
 * @category schemas
 * @since 0.1.0
 */
export const TokenCount: Schema.Codec<TokenCount> = Schema.Struct({ input_tokens: Schema.Finite })
