/**
 * OpenAI's Responses: the shapes of the wire.
 *
 * A value of type `Request` is the JSON body itself. The shapes name what the documentation of DeepSeek names; fields that a schema does
 * not name are kept, and ranges are left to the service. `ResponsesChat` translates from and to chat.
 *
 * @see {@link https://api-docs.deepseek.com/api/create-response}
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { nullable, optional } from "./internal/wire.ts"

/**
 * The body of `POST /responses`.
 *
 * **Details**
 *
 * | field | unit, range | default of DeepSeek | notes |
 * |---|---|---|---|
 * | `input` | a text, or items | | this or `instructions` is required; the whole conversation, since the service keeps none |
 * | `instructions` | text | none | stands before the input as a system message |
 * | `reasoning.effort` | `none` to `max` | `high` | `none` switches thinking off |
 * | `max_output_tokens` | tokens, 1 to 393,216 | 8K; 64K thinking; 128K with effort `max` | reasoning and answer together |
 * | `temperature` | 0 to 2 | 1 | ignored while thinking |
 * | `top_p` | (0, 1] | 1 | as in chat, see `ChatRequest` |
 * | `top_logprobs` | 0 to 20 | none | |
 * | `text.format` | | text | `json_schema` too, which chat does not have |
 * | `tools` | | none | functions, and the custom tool `apply_patch`; other custom tools are refused, tools of the service's own ignored |
 * | `tool_choice` | | `auto` with tools | a forced call needs effort `none` |
 * | `user` | at most 512 bytes | none | keeps context caches apart; no personal data |
 *
 * DeepSeek ignores `store`, `previous_response_id`, `metadata`, `include`, `truncation`, `service_tier`, `stream_options` and
 * `parallel_tool_calls`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request {
  readonly model: string
  readonly input?: string | ReadonlyArray<InputItem> | null
  readonly instructions?: string | null
  readonly reasoning?: { readonly effort?: Effort | null; readonly summary?: string | null } | null
  readonly max_output_tokens?: number | null
  readonly temperature?: number | null
  readonly top_p?: number | null
  readonly top_logprobs?: number | null
  readonly text?: { readonly format?: TextFormat | null; readonly verbosity?: string | null } | null
  readonly tools?: ReadonlyArray<Tool> | null
  readonly tool_choice?: ToolChoice | null
  readonly stream?: boolean | null
  readonly user?: string | null
}

/**
 * How much the model thinks.
 *
 * @category models
 * @since 0.1.0
 */
export type Effort = "none" | "minimal" | "low" | "medium" | "high" | "xhigh" | "max"

/**
 * A piece of the conversation. `reasoning` and calls are the assistant's: send them back as they came, in their order, reasoning first.
 *
 * @category models
 * @since 0.1.0
 */
export type InputItem = InputMessage | Reasoning | FunctionCall | CustomCall | CallOutput

/**
 * What one side says.
 *
 * @category models
 * @since 0.1.0
 */
export interface InputMessage {
  readonly type?: "message"
  readonly role: "user" | "assistant" | "system" | "developer"
  readonly content: string | ReadonlyArray<InputPart>
}

/**
 * A piece of a message or of a tool's output: text, an image by URL, data URL or id, or a file by id or inline data.
 *
 * @category models
 * @since 0.1.0
 */
export type InputPart =
  | { readonly type: "input_text" | "output_text"; readonly text: string }
  | {
    readonly type: "input_image"
    readonly image_url?: string | null
    readonly file_id?: string | null
    readonly detail?: "low" | "high" | "original" | "auto" | null
  }
  | {
    readonly type: "input_file"
    readonly file_id?: string | null
    readonly file_data?: string | null
    readonly filename?: string | null
  }
  | { readonly type: "refusal"; readonly refusal: string }

/**
 * What the model thought. `encrypted_content` carries it for clients that do not send the text back.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reasoning {
  readonly type: "reasoning"
  readonly id?: string
  readonly summary: ReadonlyArray<{ readonly type: "summary_text"; readonly text: string }>
  readonly content?: ReadonlyArray<{ readonly type: "reasoning_text"; readonly text: string }> | null
  readonly encrypted_content?: string | null
  readonly status?: Status | null
}

/**
 * A call of a function, as the model made it. `arguments` is text that the model wrote and may be invalid JSON.
 *
 * @category models
 * @since 0.1.0
 */
export interface FunctionCall {
  readonly type: "function_call"
  readonly id?: string
  readonly call_id: string
  readonly name: string
  readonly arguments: string
  readonly status?: Status | null
}

/**
 * A call of a custom tool, whose input is plain text.
 *
 * @category models
 * @since 0.1.0
 */
export interface CustomCall {
  readonly type: "custom_tool_call"
  readonly id?: string
  readonly call_id: string
  readonly name: string
  readonly input: string
  readonly status?: Status | null
}

/**
 * What a tool gave.
 *
 * @category models
 * @since 0.1.0
 */
export interface CallOutput {
  readonly type: "function_call_output" | "custom_tool_call_output"
  readonly call_id: string
  readonly output: string | ReadonlyArray<InputPart>
}

/**
 * A function with the JSON Schema of its arguments, a custom tool (of DeepSeek's, `apply_patch` alone), or a tool that the service runs.
 *
 * @category models
 * @since 0.1.0
 */
export type Tool =
  | {
    readonly type: "function"
    readonly name: string
    readonly description?: string | null
    readonly parameters?: { readonly [keyword: string]: unknown } | null
    readonly strict?: boolean | null
  }
  | {
    readonly type: "custom"
    readonly name: string
    readonly description?: string | null
    readonly format?: { readonly [field: string]: unknown } | null
  }
  | { readonly type: string }

/**
 * Which tool the model must call.
 *
 * @category models
 * @since 0.1.0
 */
export type ToolChoice =
  | "none"
  | "auto"
  | "required"
  | { readonly type: "function" | "custom"; readonly name: string }

/**
 * What the answer's text must be.
 *
 * @category models
 * @since 0.1.0
 */
export type TextFormat =
  | { readonly type: "text" | "json_object" }
  | {
    readonly type: "json_schema"
    readonly name: string
    readonly schema: { readonly [keyword: string]: unknown }
    readonly description?: string | null
    readonly strict?: boolean | null
  }

/**
 * How far an answer or an item is.
 *
 * @category models
 * @since 0.1.0
 */
export type Status = "in_progress" | "completed" | "incomplete" | "failed"

/**
 * A piece of an answer. A newer service may send others.
 *
 * @category models
 * @since 0.1.0
 */
export type OutputItem = Reasoning | OutputMessage | FunctionCall | CustomCall

/**
 * What the model says.
 *
 * @category models
 * @since 0.1.0
 */
export interface OutputMessage {
  readonly type: "message"
  readonly id?: string
  readonly role: "assistant"
  readonly content: ReadonlyArray<OutputText>
  readonly status?: Status | null
}

/**
 * @category models
 * @since 0.1.0
 */
export interface OutputText {
  readonly type: "output_text"
  readonly text: string
  readonly annotations?: ReadonlyArray<unknown>
  readonly logprobs?: ReadonlyArray<unknown> | null
}

/**
 * Token counts of one answer. Reasoning is a part of the output, what came from the cache a part of the input.
 *
 * @category models
 * @since 0.1.0
 */
export interface Usage {
  readonly input_tokens: number
  readonly input_tokens_details?: { readonly cached_tokens?: number | null } | null
  readonly output_tokens: number
  readonly output_tokens_details?: { readonly reasoning_tokens?: number | null } | null
  readonly total_tokens?: number | null
}

/**
 * The whole answer.
 *
 * **Details**
 *
 * `incomplete_details.reason` is `max_output_tokens` or `content_filter`. Times are Unix times in seconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answer {
  readonly id: string
  readonly object: "response"
  readonly created_at: number
  readonly completed_at?: number | null
  readonly model: string
  readonly status: Status
  readonly error?: { readonly code: string; readonly message: string } | null
  readonly incomplete_details?: { readonly reason?: string | null } | null
  readonly output: ReadonlyArray<OutputItem>
  readonly usage?: Usage | null
}

/** What every event about a piece of the output has. */
interface Place {
  readonly output_index: number
  readonly item_id: string
}

interface ContentPlace extends Place {
  readonly content_index: number
}

/**
 * What an event says. Events come in the order of their `sequence_number`, from 0; a stream ends with `response.completed`,
 * `response.incomplete` or `response.failed`, and has no `[DONE]`.
 *
 * @category models
 * @since 0.1.0
 */
export type Said =
  | {
    readonly type:
      | "response.created"
      | "response.in_progress"
      | "response.completed"
      | "response.incomplete"
      | "response.failed"
    readonly response: Answer
  }
  | {
    readonly type: "response.output_item.added" | "response.output_item.done"
    readonly output_index: number
    readonly item: OutputItem
  }
  | ContentPlace & {
    readonly type: "response.content_part.added" | "response.content_part.done"
    readonly part: OutputText | { readonly type: "reasoning_text"; readonly text: string }
  }
  | ContentPlace & {
    readonly type: "response.output_text.delta" | "response.reasoning_text.delta"
    readonly delta: string
  }
  | ContentPlace & {
    readonly type: "response.output_text.done" | "response.reasoning_text.done"
    readonly text: string
  }
  | Place & {
    readonly type: "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta"
    readonly delta: string
  }
  | Place & { readonly type: "response.function_call_arguments.done"; readonly arguments: string }
  | Place & { readonly type: "response.custom_tool_call_input.done"; readonly input: string }

/**
 * One event of a streamed answer.
 *
 * @category models
 * @since 0.1.0
 */
export type Event = Said & { readonly sequence_number: number }

const open = Schema.Record(Schema.String, Schema.Unknown)

const Part: Schema.Codec<InputPart> = Schema.Union([
  Schema.Struct({ type: Schema.Literals(["input_text", "output_text"]), text: Schema.String }),
  Schema.Struct({
    type: Schema.Literal("input_image"),
    image_url: nullable(Schema.String),
    file_id: nullable(Schema.String),
    detail: nullable(Schema.Literals(["low", "high", "original", "auto"]))
  }),
  Schema.Struct({
    type: Schema.Literal("input_file"),
    file_id: nullable(Schema.String),
    file_data: nullable(Schema.String),
    filename: nullable(Schema.String)
  }),
  Schema.Struct({ type: Schema.Literal("refusal"), refusal: Schema.String })
])

const content = Schema.Union([Schema.String, Schema.Array(Part)])

const Status: Schema.Codec<Status> = Schema.Literals(["in_progress", "completed", "incomplete", "failed"])

const Reasoning: Schema.Codec<Reasoning> = Schema.Struct({
  type: Schema.Literal("reasoning"),
  id: optional(Schema.String),
  summary: Schema.Array(Schema.Struct({ type: Schema.Literal("summary_text"), text: Schema.String })),
  content: nullable(Schema.Array(Schema.Struct({ type: Schema.Literal("reasoning_text"), text: Schema.String }))),
  encrypted_content: nullable(Schema.String),
  status: nullable(Status)
})

const called = {
  id: optional(Schema.String),
  call_id: Schema.String,
  name: Schema.String,
  status: nullable(Status)
}

const FunctionCall: Schema.Codec<FunctionCall> = Schema.Struct({
  type: Schema.Literal("function_call"),
  arguments: Schema.String,
  ...called
})

const CustomCall: Schema.Codec<CustomCall> = Schema.Struct({
  type: Schema.Literal("custom_tool_call"),
  input: Schema.String,
  ...called
})

/**
 * The schema of a piece of the conversation.
 *
 * @category schemas
 * @since 0.1.0
 */
export const InputItem: Schema.Codec<InputItem> = Schema.Union([
  Schema.Struct({
    type: optional(Schema.Literal("message")),
    role: Schema.Literals(["user", "assistant", "system", "developer"]),
    content
  }),
  Reasoning,
  FunctionCall,
  CustomCall,
  Schema.Struct({
    type: Schema.Literals(["function_call_output", "custom_tool_call_output"]),
    call_id: Schema.String,
    output: content
  })
])

/**
 * The schema of a request, for programs that check one before they send it. Fields that it does not name are kept.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Request: Schema.Codec<Request> = Schema.Struct({
  model: Schema.String,
  input: nullable(Schema.Union([Schema.String, Schema.Array(InputItem)])),
  instructions: nullable(Schema.String),
  reasoning: nullable(Schema.Struct({
    effort: nullable(Schema.Literals(["none", "minimal", "low", "medium", "high", "xhigh", "max"])),
    summary: nullable(Schema.String)
  })),
  max_output_tokens: nullable(Schema.Finite),
  temperature: nullable(Schema.Finite),
  top_p: nullable(Schema.Finite),
  top_logprobs: nullable(Schema.Finite),
  text: nullable(Schema.Struct({
    format: nullable(Schema.Union([
      Schema.Struct({ type: Schema.Literals(["text", "json_object"]) }),
      Schema.Struct({
        type: Schema.Literal("json_schema"),
        name: Schema.String,
        schema: open,
        description: nullable(Schema.String),
        strict: nullable(Schema.Boolean)
      })
    ])),
    verbosity: nullable(Schema.String)
  })),
  tools: nullable(Schema.Array(Schema.Union([
    Schema.Struct({
      type: Schema.Literal("function"),
      name: Schema.String,
      description: nullable(Schema.String),
      parameters: nullable(open),
      strict: nullable(Schema.Boolean)
    }),
    Schema.Struct({
      type: Schema.Literal("custom"),
      name: Schema.String,
      description: nullable(Schema.String),
      format: nullable(open)
    }),
    Schema.Struct({ type: Schema.String })
  ]))),
  tool_choice: nullable(Schema.Union([
    Schema.Literals(["none", "auto", "required"]),
    Schema.Struct({ type: Schema.Literals(["function", "custom"]), name: Schema.String })
  ])),
  stream: nullable(Schema.Boolean),
  user: nullable(Schema.String)
})

/**
 * The schema of an answer. Fields that it does not name are kept.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Answer: Schema.Codec<Answer> = Schema.Struct({
  id: Schema.String,
  object: Schema.Literal("response"),
  created_at: Schema.Finite,
  completed_at: nullable(Schema.Finite),
  model: Schema.String,
  status: Status,
  error: nullable(Schema.Struct({ code: Schema.String, message: Schema.String })),
  incomplete_details: nullable(Schema.Struct({ reason: nullable(Schema.String) })),
  output: Schema.Array(Schema.Union([
    Reasoning,
    Schema.Struct({
      type: Schema.Literal("message"),
      id: optional(Schema.String),
      role: Schema.Literal("assistant"),
      content: Schema.Array(Schema.Struct({
        type: Schema.Literal("output_text"),
        text: Schema.String,
        annotations: optional(Schema.Array(Schema.Unknown)),
        logprobs: nullable(Schema.Array(Schema.Unknown))
      })),
      status: nullable(Status)
    }),
    FunctionCall,
    CustomCall
  ])),
  usage: nullable(Schema.Struct({
    input_tokens: Schema.Finite,
    input_tokens_details: nullable(Schema.Struct({ cached_tokens: nullable(Schema.Finite) })),
    output_tokens: Schema.Finite,
    output_tokens_details: nullable(Schema.Struct({ reasoning_tokens: nullable(Schema.Finite) })),
    total_tokens: nullable(Schema.Finite)
  }))
})
