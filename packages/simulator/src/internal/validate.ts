/** What the service checks before it answers, in its words. */
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Result from "effect/Result"
import * as Chat from "./chat.ts"
import * as Image from "./image.ts"
import * as Models from "./models.ts"
import * as Refusal from "./refusal.ts"
import * as Serde from "./serde.ts"
import * as StrictSchema from "./strictSchema.ts"
import * as Tokens from "./tokens.ts"

/** How strictly thinking must be passed back: as documented, as last observed, or not at all. */
export type ReplayCheck = "documented" | "observed" | "off"

export interface Valid {
  readonly chat: Chat.Chat
  /** The request as it came. */
  readonly input: ChatRequest
  readonly family: Models.Family
  readonly prompt: Tokens.Measured
}

export interface Endpoint {
  readonly beta: boolean
  readonly replayCheck: ReplayCheck
  /** What the endpoint calls the thinking that has to come back. Default `reasoning_content`. */
  readonly thought?: string
  /** Whether an answer may have to satisfy a JSON Schema. Default: false. */
  readonly jsonSchema?: boolean
}

type Checked = Result.Result<void, Refusal.Refusal>

const refuse = (text: string) => Result.fail(Refusal.invalid(text))

const check = (holds: boolean, text: string): Checked => holds ? Result.void : refuse(text)

const position = (body: string) => {
  const lines = body.split("\n")
  return `at line ${lines.length} column ${lines[lines.length - 1]?.length ?? 0}`
}

const unreadable = (body: string, reason: string): Refusal.Refusal =>
  Refusal.invalid(`Failed to parse the request body as JSON: ${reason} ${position(body)}`)

const parse = (body: string): Result.Result<unknown, Refusal.Refusal> =>
  Result.try({
    try: (): unknown => JSON.parse(body),
    catch: () => unreadable(body, body.trim() === "" ? "EOF while parsing a value" : "expected value")
  }).pipe(Result.filterOrFail(
    (input) => !Serde.isTooDeep(input),
    () => unreadable(body, "recursion limit exceeded")
  ))

const decode = <A>(decoder: Serde.Decoder<A>, input: unknown, body: string): Result.Result<A, Refusal.Refusal> =>
  Result.mapError(decoder(input, ""), ({ path, text }) =>
    Refusal.invalid(
      path === "reasoning_effort" && text.startsWith("invalid type")
        ? `Failed to parse the request body as JSON: reasoning_effort: expected value at line 1 column ${
          Math.max(body.indexOf("reasoning_effort"), 0) + "reasoning_effort\":".length
        }`
        : `Failed to deserialize the JSON body into the target type: ${path === "" ? "" : `${path}: `}${text} ${
          position(body)
        }`
    ))

/** Reads a body of JSON. */
export const body = <A>(text: string, decoder: Serde.Decoder<A>): Result.Result<A, Refusal.Refusal> =>
  Result.flatMap(parse(text), (input) => decode(decoder, input, text))

/** The model that a request names. */
const model = (name: string): Result.Result<Models.Family, Refusal.Refusal> => {
  const family = Models.family(name)
  return family === undefined
    ? refuse(
      `The supported API model names are ${Models.list.data.map(({ id }) => id).join(", ")}, but you passed ${name}.`
    )
    : Result.succeed(family)
}

const within = (value: number | undefined, min: number, max: number) =>
  value === undefined || value >= min && value <= max

const ranges = (chat: Chat.Chat): Checked =>
  Result.gen(function*() {
    yield* check(within(chat.temperature, 0, 2), "Invalid temperature value, the valid range of temperature is [0, 2]")
    yield* check(
      within(chat.topP, Number.MIN_VALUE, 1),
      "Invalid top_p value, the valid range of top_p is (0, 1.0]"
    )
    yield* check(
      within(chat.maxTokens, 1, Models.maxOutput),
      `Invalid max_tokens value, the valid range of max_tokens is [1, ${Models.maxOutput}]`
    )
    yield* check(chat.stop.length <= 16, `Stop string array too long: ${chat.stop.length}`)
    yield* check(
      chat.topLogprobs === undefined || chat.logprobs,
      "Invalid top_logprobs and logprobs value, logprobs must be set to true if top_logprobs is used."
    )
    yield* check(
      within(chat.topLogprobs, 0, 20),
      "Invalid top_logprobs value, the valid range of top_logprobs is [0, 20]."
    )
    yield* check(
      !chat.streamOptions || chat.stream,
      "stream_options should be set along with stream = true"
    )
    yield* check(
      new TextEncoder().encode(chat.userId ?? "").length <= 512,
      "Invalid user_id value, the valid length of user_id is at most 512"
    )
  })

const format = (chat: Chat.Chat, { jsonSchema = false }: Endpoint): Checked =>
  Result.gen(function*() {
    yield* check(jsonSchema || chat.responseFormat !== "json_schema", "This response_format type is unavailable now")
    yield* check(
      chat.responseFormat !== "json_object" || chat.messages.some(({ content }) => /json/i.test(content.text)),
      "Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'."
    )
  })

const strict = (tools: ReadonlyArray<Chat.Tool>): Checked =>
  Result.gen(function*() {
    if (!tools.some((tool) => tool.strict)) return
    for (const { name, parameters, strict } of tools) {
      yield* check(strict, "All functions must set strict to true when one of them does")
      const problem = parameters && StrictSchema.problem(parameters)
      yield* check(problem === undefined, `Invalid schema for strict function '${name}': ${problem}`)
    }
  })

const tools = (chat: Chat.Chat, { beta }: Endpoint): Checked =>
  Result.gen(function*() {
    const names = new Set<string>()
    for (const [index, tool] of chat.tools.entries()) {
      yield* check(
        /^[a-zA-Z0-9_-]{1,128}$/.test(tool.name),
        `Invalid 'tools[${index}].function.name': string does not match pattern. Expected a string that matches the pattern ` +
          "'^[a-zA-Z0-9_-]+$'."
      )
      yield* check(!names.has(tool.name), "Tool names must be unique.")
      names.add(tool.name)
    }
    if (beta) yield* strict(chat.tools)
    const { toolChoice } = chat
    yield* check(
      !chat.thinking || toolChoice === "none" || toolChoice === "auto",
      "Thinking mode does not support this tool_choice"
    )
    yield* check(
      typeof toolChoice === "string" || names.has(toolChoice.name),
      `Tool choice names a function that is not in tools: ${typeof toolChoice === "string" ? "" : toolChoice.name}`
    )
  })

const missingResults =
  "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'"

/** Every tool message answers a call of the assistant turn before it, and every call is answered before the next turn. */
const pairing = (messages: ReadonlyArray<Chat.Message>): Checked =>
  Result.gen(function*() {
    let open = new Set<string>()
    let answering = false
    const settled = () =>
      check(
        open.size === 0,
        `${missingResults}, The following tool_call_ids did not have response messages: ${[...open].join(", ")}`
      )
    for (const message of messages) {
      if (message.role === "tool") {
        yield* check(
          answering && open.delete(message.callId),
          "Messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
        )
        continue
      }
      yield* settled()
      answering = message.role === "assistant" && message.toolCalls.length > 0
      open = new Set(message.role === "assistant" ? message.toolCalls.map(({ id }) => id) : [])
    }
    yield* check(
      open.size === 0 || messages[messages.length - 1]?.role === "tool",
      `${missingResults}, (insufficient tool messages following tool_calls message)`
    )
    yield* settled()
  })

const conversation = (chat: Chat.Chat, family: Models.Family, { beta }: Endpoint): Checked =>
  Result.gen(function*() {
    yield* check(chat.messages.length > 0, "Empty input messages")
    const last = chat.messages[chat.messages.length - 1]
    for (const message of chat.messages) {
      if (message.role !== "assistant") continue
      yield* check(
        message.content.text !== "" || message.toolCalls.length > 0 || (message.prefix && message === last),
        "Invalid assistant message: content or tool_calls must be set"
      )
      yield* check(
        !message.prefix || message === last,
        "Only the last message may set prefix"
      )
      yield* check(
        !message.prefix || beta,
        "prefix is a beta feature, set the base URL to https://api.deepseek.com/beta to use it"
      )
    }
    yield* pairing(chat.messages)
    const images = chat.messages.reduce((sum, { content }) => sum + content.images, 0)
    yield* check(Models.images[family] || images === 0, "This model does not support image")
    yield* check(images <= Image.maxCount, `Too many images: ${images}, at most ${Image.maxCount} are supported`)
  })

const replay = (chat: Chat.Chat, { replayCheck, thought = "reasoning_content" }: Endpoint): Checked => {
  const text = `The \`${thought}\` in the thinking mode must be passed back to the API.`
  if (!chat.thinking || replayCheck === "off") return Result.void
  const turns = chat.messages.filter((message) => message.role === "assistant")
  if (replayCheck === "observed") {
    const last = chat.messages[chat.messages.length - 1]
    return check(last?.role !== "tool" || turns[turns.length - 1]?.reasoning !== undefined, text)
  }
  return check(chat.tools.length === 0 || turns.every((turn) => turn.prefix || turn.reasoning !== undefined), text)
}

/** Hidden tokens of the chat template, as measured: thinking adds some, tools a few hundred. */
const hiddenTokens = (chat: Chat.Chat): number => 4 + (chat.thinking ? 26 : 0) + (chat.tools.length > 0 ? 240 : 0)

/** Stands for an image, which costs at most 1,024 tokens. */
const image = "\ufffc".repeat(3_400)

/** A message as the tokens count it. What goes before never depends on what comes after, so that a longer chat keeps its prefix. */
const render = (message: Chat.Message, withReasoning: boolean): string => {
  const { content, role } = message
  const turn = `<|${role}|>${content.text}${image.repeat(content.images)}`
  if (role !== "assistant") return turn
  const reasoning = withReasoning || message.prefix ? message.reasoning ?? "" : ""
  return reasoning + turn + message.toolCalls.map((call) => call.name + call.arguments).join("")
}

/** The prompt, tools first, as the tokens count it. Reasoning of earlier turns is part of it only beside tools. */
const transcribe = (chat: Chat.Chat, messages: ReadonlyArray<Chat.Message>): string =>
  chat.tools.map((tool) => tool.name + tool.description + JSON.stringify(tool.parameters ?? {})).join("") +
  messages.map((message) => render(message, chat.tools.length > 0)).join("")

/** Tokens of the prompt and its units for the context cache; with `answer`, of the prompt and its answer. */
export const measure = (chat: Chat.Chat, answer?: Chat.Message): Tokens.Measured =>
  Tokens.measure(
    transcribe(chat, answer === undefined ? chat.messages : [...chat.messages, answer]),
    hiddenTokens(chat)
  )

const context = (chat: Chat.Chat, promptTokens: number): Checked =>
  check(
    promptTokens + chat.maxTokens <= Models.contextWindow,
    `This model's maximum context length is ${Models.contextWindow} tokens. However, you requested ${
      promptTokens + chat.maxTokens
    } tokens (${promptTokens} in the messages, ${chat.maxTokens} in the completion). Please reduce the length of the messages or ` +
      "completion."
  )

/** Checks a request that is read. */
export const conditions = (chat: Chat.Chat, endpoint: Endpoint): Result.Result<Omit<Valid, "input">, Refusal.Refusal> =>
  Result.gen(function*() {
    const family = yield* model(chat.model)
    yield* ranges(chat)
    yield* format(chat, endpoint)
    yield* tools(chat, endpoint)
    yield* conversation(chat, family, endpoint)
    yield* replay(chat, endpoint)
    const prompt = measure(chat)
    yield* context(chat, prompt.tokens)
    return { chat, family, prompt }
  })

/** Reads and checks the body of a chat request. */
export const validate = (text: string, endpoint: Endpoint): Result.Result<Valid, Refusal.Refusal> =>
  Result.gen(function*() {
    const input = yield* parse(text)
    const valid = yield* conditions(yield* decode(Chat.decode, input, text), endpoint)
    // What the engine decodes and checks is a request of the API.
    return { ...valid, input: input as ChatRequest }
  })
