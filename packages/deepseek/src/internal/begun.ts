/** An answer that has begun to arrive: what was given of it, what asks for the rest, and how the rest joins it. */
import * as ChatChunk from "@ballast/chat/ChatChunk"
import type { ChatRequest, Message } from "@ballast/chat/ChatRequest"
import * as Usage from "@ballast/chat/Usage"
import * as Arr from "effect/Array"
import * as Provider from "../Provider.ts"

type Chunk = ChatChunk.ChatChunk
type Head = Pick<Chunk, "id" | "created" | "model" | "system_fingerprint">

/** Past so many characters an answer is not kept, and does not go on. The longest of DeepSeek's has about half of them. */
const maxCharacters = 4 * 1024 * 1024

export class Begun {
  readonly request: ChatRequest
  /** What was given, in all parts. */
  content = ""
  reasoning = ""
  /** Chunks with text: DeepSeek sends one for each token. */
  tokens = 0
  finished = false
  /** The number of the part that arrives, from 1. */
  part = 1
  /** Whether something was given that a prefix can not hold. */
  private lost = false
  private head: Head = {}
  /** What the parts used that are over, and whether the service has told any of it. */
  private used: Usage.Usage | undefined
  private told = false
  /** Usage of this part. A chunk of nothing else waits for what comes next: it may be the end of a part that is not the last one. */
  private usage: Usage.Usage | undefined
  private waiting: Chunk | undefined
  private tokensBefore = 0
  private thoughtTokens = 0
  private thoughtTokensBefore = 0

  constructor(request: ChatRequest) {
    this.request = request
  }

  get canGoOn(): boolean {
    return !this.lost && !this.finished && this.tokens > 0
  }

  /** Notes the chunks of a read, and makes those of a later part go on with the first. */
  take(chunks: Arr.NonEmptyReadonlyArray<Chunk>): Arr.NonEmptyReadonlyArray<Chunk> | undefined {
    const own = this.part === 1 ? chunks : chunks.flatMap((chunk) => this.joined(chunk) ?? [])
    if (this.part === 1) { for (const chunk of chunks) this.note(chunk) }
    const all = this.waiting === undefined ? own : [this.waiting, ...own]
    const last = all[all.length - 1]
    this.waiting = last !== undefined && !this.finished && ChatChunk.isUsageOnly(last) ? last : undefined
    const given = this.waiting === undefined ? all : all.slice(0, -1)
    return Arr.isReadonlyArrayNonEmpty(given) ? given : undefined
  }

  private note(chunk: Chunk): void {
    if (this.part === 1 && this.tokens === 0) this.head = headOf(chunk, this.head)
    if (chunk.usage != null) this.usage = chunk.usage
    for (const choice of chunk.choices) this.noteChoice(choice)
  }

  private noteChoice(choice: ChatChunk.Choice): void {
    if (choice.finish_reason != null) this.finished = true
    if (!ChatChunk.isSaying(choice)) return
    const { content, reasoning_content: thought, tool_calls: calls } = choice.delta
    const isText = !!content || !!thought
    if (!isText || calls != null && calls.length > 0 || (choice.index ?? 0) !== 0) this.lost = true
    if (this.lost) return
    this.tokens++
    if (!content) this.thoughtTokens++
    this.content += content ?? ""
    this.reasoning += thought ?? ""
    if (this.content.length + this.reasoning.length <= maxCharacters) return
    this.lost = true
    this.content = this.reasoning = ""
  }

  private joined(chunk: Chunk): Chunk | undefined {
    const own = this.going(chunk)
    if (own === undefined) return undefined
    this.note(own)
    return own.usage == null ? own : { ...own, usage: this.sum(own.usage) }
  }

  /** A chunk of a later part, without what opens an answer: that was given. */
  private going(chunk: Chunk): Chunk | undefined {
    const choices = chunk.choices.map((choice) => ({ ...choice, delta: this.deltaOf(choice.delta) }))
    const says = choices.some((choice) => ChatChunk.isSaying(choice) || choice.finish_reason != null)
    return says || chunk.usage != null ? { ...chunk, ...this.head, choices } : undefined
  }

  private deltaOf({ role: _, ...delta }: ChatChunk.Delta): ChatChunk.Delta {
    // Thoughts come before the answer. A service that thinks again after it has begun does so for itself.
    return delta.reasoning_content && this.content !== "" ? { ...delta, reasoning_content: null } : delta
  }

  private sum(usage: Usage.Usage): Usage.Usage {
    return this.used === undefined ? usage : Usage.add(this.used, usage)
  }

  /** Begins the next part. */
  next(): void {
    this.used = this.sum(this.usage ?? this.counted())
    this.told ||= this.usage !== undefined
    this.usage = this.waiting = undefined
    this.tokensBefore = this.tokens
    this.thoughtTokensBefore = this.thoughtTokens
    this.part++
  }

  /** What a part used that broke off before the service could tell: the tokens that it gave. */
  private counted(): Usage.Usage {
    const tokens = this.tokens - this.tokensBefore
    const thoughts = this.thoughtTokens - this.thoughtTokensBefore
    return {
      prompt_tokens: 0,
      completion_tokens: tokens,
      total_tokens: tokens,
      ...(this.reasoning !== "" && { completion_tokens_details: { reasoning_tokens: thoughts } })
    }
  }

  /** What asks for the rest; undefined when there can be none, since all tokens that the caller allows were given. */
  rest(): ChatRequest | undefined {
    const { content, reasoning, request } = this
    const budgets = budgetsOf(request, this.tokens)
    if (Object.values(budgets).some((left) => left < 1)) return undefined
    const own = Provider.prefixOf(request)
    const [first, ...more] = own === undefined ? request.messages : request.messages.slice(0, -1)
    const thoughts = (own?.reasoning_content ?? "") + reasoning
    const prefix: Message = {
      ...own,
      role: "assistant",
      content: textOf(own) + content,
      ...(thoughts !== "" && { reasoning_content: thoughts }),
      prefix: true
    }
    return { ...request, ...budgets, messages: first === undefined ? [prefix] : [first, ...more, prefix] }
  }

  /** The last chunk of an answer that has all the tokens that it may have. */
  end(): Chunk {
    this.finished = true
    return {
      ...this.head,
      object: "chat.completion.chunk",
      choices: [{ index: 0, delta: { content: "" }, logprobs: null, finish_reason: "length" }],
      usage: this.sum(this.usage ?? this.counted())
    }
  }

  /** What a stream has still to give as it ends: usage that waits; of one that fails, all that it has cost, if the service told. */
  owed(failed: boolean): Chunk | undefined {
    const { usage, waiting } = this
    this.waiting = undefined
    if (waiting !== undefined || !failed || !this.told) return waiting
    return {
      ...this.head,
      object: "chat.completion.chunk",
      choices: [],
      usage: this.sum(usage ?? this.counted())
    }
  }
}

/** What is left of the tokens that a request allows, under either of the names for that. */
const budgetsOf = (request: ChatRequest, given: number): Readonly<Record<string, number>> =>
  Object.fromEntries(
    Object.entries(request).flatMap(([name, most]): ReadonlyArray<readonly [string, number]> =>
      (name === "max_tokens" || name === "max_completion_tokens") && typeof most === "number"
        ? [[name, most - given]]
        : []
    )
  )

const textOf = (message: { readonly content?: unknown } | undefined): string =>
  typeof message?.content === "string" ? message.content : ""

const headOf = ({ created, id, model, system_fingerprint }: Chunk, head: Head): Head => ({
  ...head,
  ...(id && { id }),
  ...(created != null && { created }),
  ...(model && { model }),
  ...(system_fingerprint != null && { system_fingerprint })
})
