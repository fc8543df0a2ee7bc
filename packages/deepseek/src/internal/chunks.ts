import * as ChatAccumulator from "@ballast/chat/ChatAccumulator"
import * as ChatChunk from "@ballast/chat/ChatChunk"
import type { ChatCompletion } from "@ballast/chat/ChatCompletion"
import * as ChatError from "@ballast/chat/ChatError"
import * as Sse from "@ballast/chat/Sse"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { HttpClientError } from "effect/http/HttpClientError"
import * as Pull from "effect/Pull"
import * as Result from "effect/Result"
import * as answers from "./answer.ts"
import * as decode from "./decode.ts"
import * as errors from "./errors.ts"

export type ChunkPull = Pull.Pull<Arr.NonEmptyReadonlyArray<ChatChunk.ChatChunk>, ChatError.ChatError>
type BytesPull = Pull.Pull<Arr.NonEmptyReadonlyArray<Uint8Array>, HttpClientError>

const readChunk = decode.json(ChatChunk.ChatChunk)

/**
 * Turns reads of a body into chunks, one array for each read that finishes any. A body that begins as JSON does, which no event
 * can, is a whole answer, whatever its type says.
 */
export const fromBytes = (answer: answers.Answer, bytes: BytesPull): ChunkPull => {
  const state = new Arriving(answer)
  let rest: ChunkPull | undefined

  const read: ChunkPull = Pull.matchEffect(bytes, {
    onSuccess: (pieces) => {
      state.take(pieces)
      const chunks = state.give()
      return chunks === undefined ? next : Effect.succeed(chunks)
    },
    onFailure: (cause) => {
      const found = Cause.findError(cause)
      return Result.isSuccess(found) ? state.lost(found.success) : Effect.failCause(found.failure)
    },
    onDone: () =>
      state.whole === undefined
        ? state.ended()
        : Effect.flatMap(
          answers.completionIn(answer, state.whole.text),
          (completion) => rest = fromCompletion(completion)
        )
  })

  // All has been said. The body's own end, due at once, lets the connection be used again; nobody waits for it long.
  const drain: ChunkPull = Effect.timeoutOrElse(read, { duration: "1 second", orElse: () => state.ended() })

  const next: ChunkPull = Effect.suspend(() => rest ?? state.failure ?? (state.done ? drain : read))
  return next
}

const openBrace = 0x7b

/** Blank space, and the bytes of a byte order mark. */
const isBlank = (byte: number): boolean => byte <= 0x20 || byte === 0xef || byte === 0xbb || byte === 0xbf

/** The text of a whole answer as far as it has come. */
class Whole {
  readonly decoder = new TextDecoder()
  text = ""

  /** Takes the next bytes, and says what is wrong when they are too many. */
  add(piece: Uint8Array): string | undefined {
    this.text += this.decoder.decode(piece, { stream: true })
    return this.text.length > Sse.defaults.limit
      ? `a whole answer larger than ${Sse.defaults.limit} characters`
      : undefined
  }
}

/** The answer of a stream as far as it has come. */
class Arriving {
  readonly answer: answers.Answer
  readonly decoder = Sse.makeDecoder()
  readonly arrived = ChatAccumulator.make()
  held: Array<ChatChunk.ChatChunk> = []
  begun = false
  whole: Whole | undefined
  progress = false
  done = false
  failure: Effect.Effect<never, ChatError.ChatError> | undefined

  constructor(answer: answers.Answer) {
    this.answer = answer
  }

  take(pieces: ReadonlyArray<Uint8Array>): void {
    for (const piece of pieces) {
      if (!this.begun) this.begin(piece)
      const tooLarge = this.whole === undefined
        ? this.decoder.feed(piece, this.onEvent)?.message
        : this.whole.add(piece)
      if (tooLarge !== undefined) this.failure ??= Effect.fail(answers.malformed(this.answer, tooLarge, ""))
    }
  }

  private begin(piece: Uint8Array): void {
    const first = piece.find((byte) => !isBlank(byte))
    this.begun = first !== undefined
    if (first === openBrace) this.whole = new Whole()
  }

  readonly onEvent = (data: string): void => {
    if (this.failure !== undefined || this.done) return
    if (data === "[DONE]") {
      this.done = true
      return
    }
    const decoded = readChunk(data)
    if (decoded._tag === "Value") this.add(decoded.value)
    else this.failure = answers.unreadable(this.answer, decoded, data)
  }

  private add(chunk: ChatChunk.ChatChunk): void {
    ChatAccumulator.add(this.arrived, chunk)
    const finishReason = chunk.choices[0]?.finish_reason
    if (finishReason != null) {
      const error = answers.judge(this.answer, finishReason, ChatAccumulator.isEmpty(this.arrived))
      if (error !== undefined) {
        this.failure = Effect.fail(error)
        return
      }
    }
    this.progress ||= ChatChunk.isProgress(chunk)
    this.held.push(chunk)
  }

  /** What may be given: opening chunks are held back until there is something to open. */
  give(): Arr.NonEmptyReadonlyArray<ChatChunk.ChatChunk> | undefined {
    const { held } = this
    if (!this.progress || !Arr.isArrayNonEmpty(held)) return undefined
    this.held = []
    return held
  }

  ended(): ChunkPull {
    return this.arrived.finishReason === undefined ? Effect.fail(this.truncated()) : Cause.done()
  }

  lost(error: HttpClientError): ChunkPull {
    const isAnswer = this.arrived.finishReason !== undefined || !ChatAccumulator.isEmpty(this.arrived)
    return isAnswer || error.reason._tag === "EmptyBodyError" ? this.ended() : Effect.fail(errors.fromTransport(error))
  }

  private truncated(): ChatError.ProtocolError {
    const partial = ChatAccumulator.isEmpty(this.arrived) ? undefined : ChatAccumulator.toCompletion(this.arrived)
    if (partial === undefined && this.answer.response.status !== 200) {
      return answers.malformed(this.answer, "no answer", "")
    }
    return new ChatError.ProtocolError({
      reason: new ChatError.StreamTruncated({
        ...(partial === undefined ? undefined : { partial }),
        ...errors.optionalTraceId(answers.traceIdOf(this.answer))
      })
    })
  }
}

/** A stream of the one chunk that says what a completion says. */
export const fromCompletion = ({ choices, ...completion }: ChatCompletion): ChunkPull => {
  const chunk: ChatChunk.ChatChunk = {
    ...completion,
    object: "chat.completion.chunk",
    choices: choices.map(({ message, ...rest }) => ({
      ...rest,
      delta: { ...message, tool_calls: message.tool_calls?.map((call, index) => ({ index, ...call })) ?? null }
    }))
  }
  let given = false
  return Effect.suspend((): ChunkPull => {
    if (given) return Cause.done()
    given = true
    return Effect.succeed([chunk])
  })
}
