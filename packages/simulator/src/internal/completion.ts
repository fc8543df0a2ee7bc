/** What the model says to a request: reasoning, then tool calls or text, cut where a stop string or the budget says so. */
import type { Usage } from "@ballast/chat/Usage"
import * as Chat from "./chat.ts"
import * as Draw from "./draw.ts"
import * as JsonMode from "./jsonMode.ts"
import * as JsonSchema from "./jsonSchema.ts"
import * as Text from "./text.ts"
import * as Tokens from "./tokens.ts"
import * as ToolCall from "./toolCall.ts"

type TokenList = ReadonlyArray<string>

export interface Call {
  readonly id: string
  readonly name: string
  readonly arguments: TokenList
}

export interface Completion {
  /** `undefined` when thinking is off. */
  readonly reasoning: TokenList | undefined
  readonly content: TokenList
  readonly calls: ReadonlyArray<Call>
  readonly finish: string
}

/** What a request may ask of its answer beyond the API. */
export interface Wishes {
  /** Least length of the text, in tokens. */
  readonly tokens?: number | undefined
  /** How many tool calls; 0 for an answer in text. */
  readonly calls?: number | undefined
  /** Tool calls leak into the text. */
  readonly dsml?: boolean | undefined
  /** The arguments of tool calls lack their end. */
  readonly brokenArguments?: boolean | undefined
  readonly empty?: boolean | undefined
  /** The text, in place of one that is made up, and of tool calls. */
  readonly reply?: string | undefined
  readonly finish?: string | undefined
  /** The model stops after so many tokens, reasoning included. */
  readonly after?: number | undefined
}

/** The same seed, conversation and settings give the same answer; a smaller budget gives a beginning of it, and a prefix that is one is
 * answered with the rest. */
export const make = (chat: Chat.Chat, seed: string, wishes: Wishes): Completion => {
  if (wishes.empty === true) {
    return { reasoning: chat.thinking ? [] : undefined, content: [], calls: [], finish: wishes.finish ?? "stop" }
  }
  const asked = Chat.withoutPrefix(chat)
  const rest = asked && restOf(whole(asked, seed, wishes), asked.prefix)
  return within(rest ?? whole(chat, seed, wishes), chat.maxTokens, wishes)
}

/** What is left of an answer after a prefix; undefined when the answer begins in another way. */
const restOf = (answer: Completion, { content: { text: begun }, reasoning: thought = "" }: Chat.Prefix) => {
  const text = answer.content.join("")
  const thoughts = answer.reasoning?.join("") ?? ""
  if (begun === "") {
    return thoughts.startsWith(thought)
      ? { ...answer, reasoning: answer.reasoning && Tokens.split(thoughts.slice(thought.length)) }
      : undefined
  }
  if (!text.startsWith(begun)) return undefined
  // An answer that has begun is not thought about again, unless its thoughts were lost.
  const reasoning = answer.reasoning && (thought === "" ? answer.reasoning : [])
  return { ...answer, reasoning, content: Tokens.split(text.slice(begun.length)) }
}

/** The answer without the bounds of its budget. */
const whole = (chat: Chat.Chat, seed: string, wishes: Wishes): Completion => {
  const draw = Draw.make(
    seed,
    chat.model,
    JSON.stringify([chat.messages, chat.tools, chat.toolChoice, chat.responseFormat, chat.schema])
  )
  const about = Text.subject(lastUserText(chat))
  const reasoning = chat.thinking ? Tokens.split(think(chat, about, draw)) : undefined
  const calls = makeCalls(chat, about, draw, wishes)
  const leaked = wishes.dsml === true && calls.length > 0
  const text = leaked ? markup(calls) : calls.length > 0 ? "" : wishes.reply ?? write(chat, about, draw, wishes.tokens)
  const content = Tokens.split(stopAt(text, chat.stop))
  return leaked || calls.length === 0
    ? { reasoning, content, calls: [], finish: "stop" }
    : { reasoning, content, calls, finish: "tool_calls" }
}

const lastUserText = (chat: Chat.Chat): string =>
  chat.messages.findLast(({ role }) => role === "user")?.content.text ?? chat.messages[0]?.content.text ?? ""

const sentencesByEffort: Record<string, number> = { minimal: 1, low: 1, medium: 2, high: 3, xhigh: 4, max: 6 }

const think = (chat: Chat.Chat, about: Text.Subject, draw: Draw.Draw): string =>
  Text.thoughts(about, draw, sentencesByEffort[chat.effort] ?? 3)

const makeCalls = (
  chat: Chat.Chat,
  about: Text.Subject,
  draw: Draw.Draw,
  { brokenArguments, calls: wished, reply }: Wishes
): ReadonlyArray<Call> => {
  // After a tool's result the model answers in text, unless the request insists on a call.
  const asked = chat.messages[chat.messages.length - 1]?.role === "user"
  const forced = chat.toolChoice !== "auto"
  if (wished === undefined && (reply !== undefined || !(asked || forced))) return []
  const chosen = ToolCall.choose(chat, lastUserText(chat))
  const count = chosen.length === 0 ? 0 : wished ?? chosen.length
  return Array.from({ length: count }, (_, index) => chosen[index % chosen.length]).filter((tool) => tool !== undefined)
    .map((tool, index) => {
      const call = ToolCall.call(tool, index, { about, draw })
      const text = brokenArguments === true ? call.arguments.slice(0, -1) : call.arguments
      return { ...call, arguments: Tokens.split(text) }
    })
}

/** Calls as the model writes them, before the service makes `tool_calls` of them. */
const markup = (calls: ReadonlyArray<Call>): string =>
  calls.map((call) => `<｜｜DSML｜｜ invoke name="${call.name}">${call.arguments.join("")}</｜｜DSML｜｜ invoke>`).join(
    "\n"
  )

const write = (chat: Chat.Chat, about: Text.Subject, draw: Draw.Draw, tokens: number | undefined): string => {
  if (chat.schema !== undefined) return JSON.stringify(JsonSchema.sample(chat.schema, "answer", { about, draw }))
  if (chat.responseFormat === "json_object") {
    const prompt = chat.messages.filter(({ role }) => role === "system" || role === "user").map(({ content }) =>
      content.text
    )
    return JSON.stringify(JsonMode.answer(prompt.join("\n"), { about, draw }), undefined, 2)
  }
  const results = toolResults(chat)
  return results.length > 0 && tokens === undefined
    ? Text.report(about, results, draw)
    : Text.answer(about, draw, tokens)
}

/** The results that stand at the end of the conversation. */
const toolResults = (chat: Chat.Chat): ReadonlyArray<string> => {
  const before = chat.messages.findLastIndex(({ role }) => role !== "tool")
  return chat.messages.slice(before + 1).map(({ content }) => content.text)
}

/** The text as far as the first stop string. */
const stopAt = (text: string, stop: ReadonlyArray<string>): string => {
  const ends = stop.filter((word) => word !== "").map((word) => text.indexOf(word)).filter((end) => end !== -1)
  return ends.length > 0 ? text.slice(0, Math.min(...ends)) : text
}

/** Cuts a completion to its budget: reasoning spends it first, then the answer. A content filter drops text and tool calls. */
const within = (whole: Completion, maxTokens: number, wishes: Wishes): Completion => {
  let left = Math.min(maxTokens, wishes.after ?? Infinity)
  let cut = false
  const take = (tokens: TokenList): TokenList => {
    const taken = tokens.length > left ? tokens.slice(0, left) : tokens
    cut ||= taken.length < tokens.length
    left -= taken.length
    return taken
  }
  const reasoning = whole.reasoning && take(whole.reasoning)
  const content = take(whole.content)
  const calls: Array<Call> = []
  for (const call of whole.calls) {
    if (left === 0) {
      cut = true
      break
    }
    calls.push({ ...call, arguments: take(call.arguments) })
  }
  const finish = wishes.finish ?? (cut ? "length" : whole.finish)
  return { reasoning, ...(finish === "content_filter" ? { content: [], calls: [] } : { content, calls }), finish }
}

const reasoningTokens = (completion: Completion): number => completion.reasoning?.length ?? 0

const completionTokens = (completion: Completion): number =>
  reasoningTokens(completion) + completion.content.length +
  completion.calls.reduce((sum, call) => sum + call.arguments.length, 0)

export const usage = (completion: Completion, promptTokens: number, hit: number): typeof Usage.Type => {
  const completionCount = completionTokens(completion)
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionCount,
    total_tokens: promptTokens + completionCount,
    prompt_tokens_details: { cached_tokens: hit },
    ...(completion.reasoning !== undefined && {
      completion_tokens_details: { reasoning_tokens: reasoningTokens(completion) }
    }),
    prompt_cache_hit_tokens: hit,
    prompt_cache_miss_tokens: promptTokens - hit
  }
}

/** The completion as a turn of the conversation that goes on. */
export const turn = ({ calls, content, reasoning }: Completion): Chat.Message => ({
  role: "assistant",
  content: { text: content.join(""), images: 0 },
  reasoning: reasoning?.join(""),
  toolCalls: calls.map((call) => ({ ...call, arguments: call.arguments.join("") })),
  prefix: false
})
