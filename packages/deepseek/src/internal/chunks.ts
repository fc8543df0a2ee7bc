import type { Hold } from "@ballast/chat/AnswerMemory"
import * as ChatAccumulator from "@ballast/chat/ChatAccumulator"
import * as ChatChunk from "@ballast/chat/ChatChunk"
import type * as ChatCompletion from "@ballast/chat/ChatCompletion"
import * as ChatError from "@ballast/chat/ChatError"
import { limits } from "@ballast/chat/Limits"
import * as WireText from "@ballast/chat/WireText"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { HttpClientError } from "effect/http/HttpClientError"
import { hasProperty } from "effect/Predicate"
import * as Pull from "effect/Pull"
import * as Result from "effect/Result"
import * as answers from "./answer.ts"
import * as errors from "./errors.ts"
import * as framing from "./framing.ts"
import type * as protocols from "./protocol.ts"

type Chunks = Arr.NonEmptyReadonlyArray<ChatChunk.ChatChunk>
export type ChunkPull = Pull.Pull<Chunks, ChatError.ChatError>
type BytesPull = Pull.Pull<Arr.NonEmptyReadonlyArray<Uint8Array>, HttpClientError>

/**
 * Turns reads of a body into chunks of the protocol, one array for each read that finishes any.
 *
 * Once every choice has its finish reason, the answer is there: what is still to come (usage, `[DONE]`, the end of the body, which lets
 * the connection be used again) is waited for a moment only. `choices` is how many were asked for; a service may give fewer, and says
 * by `[DONE]` or the end of the body that there are no more. `hold` counts what is held back.
 */
export const fromBytes = (
  { answer, protocol }: protocols.Answered,
  bytes: BytesPull,
  choices: number,
  hold: Hold
): ChunkPull => {
  const arriving = new Arriving(answer, choices, protocol)

  const read: ChunkPull = Pull.matchEffect(bytes, {
    onSuccess: (pieces) => {
      for (const piece of pieces) arriving.take(piece)
      return given()
    },
    onFailure: (cause) => {
      const found = Cause.findError(cause)
      if (Result.isFailure(found)) return Effect.failCause(found.failure)
      arriving.bodyEnded(found.success)
      return given()
    },
    onDone: () => {
      arriving.bodyEnded()
      return given()
    }
  })
  const given = (): ChunkPull => {
    const chunks = arriving.give()
    if (!hold.set(arriving.size)) arriving.refuse()
    return chunks === undefined ? next : Effect.succeed(chunks)
  }

  let last: ChunkPull | undefined
  const next: ChunkPull = Effect.suspend(() =>
    arriving.failure ?? (arriving.over ? arriving.outcome() : arriving.finished ? last ??= makeLast() : read)
  )
  /** The chunks after the last finish reason, at most one array, and then the end. */
  const makeLast = (): ChunkPull => {
    return Effect.flatMap(atMost(untilOver, limits.afterEnd), () => {
      arriving.over = true
      return given()
    })
  }
  const untilOver: Effect.Effect<void> = Effect.suspend(() =>
    arriving.over ? Effect.void : Pull.matchEffect(bytes, {
      onSuccess: (pieces) => {
        for (const piece of pieces) arriving.take(piece)
        return untilOver
      },
      // The answer is whole: how its connection ends does not matter.
      onFailure: (cause) => Cause.hasInterrupts(cause) ? Effect.interrupt : Effect.void,
      onDone: () => Effect.sync(() => arriving.bodyEnded())
    })
  )
  return next
}

/** Runs an effect for a limited time. Most of the time it ends at once, and no timer is started. */
const atMost = (self: Effect.Effect<void>, limit: Duration.Input): Effect.Effect<void> =>
  Effect.withFiber((fiber) =>
    Effect.callback((resume) => {
      const run = Effect.runForkWith(fiber.context)
      const body = run(self)
      const done = body.pollUnsafe()
      if (done !== undefined) return resume(done)
      let isPast = false
      const timer = run(Effect.map(Effect.sleep(limit), () => {
        isPast = true
        body.interruptUnsafe()
      }))
      body.addObserver((exit) => {
        timer.interruptUnsafe()
        resume(isPast ? Effect.void : exit)
      })
      return Effect.andThen(Fiber.interrupt(timer), Fiber.interrupt(body))
    })
  )

/** Reads a whole body of events into the completion that they are chunks of. */
export const collect = (
  { answer, protocol }: protocols.Answered,
  body: string
): Effect.Effect<ChatCompletion.ChatCompletion, ChatError.ChatError> => {
  const arriving = new Arriving(answer, 1, protocol)
  const joined = ChatAccumulator.make()
  arriving.take(encoder.encode(body))
  arriving.bodyEnded()
  for (const chunk of arriving.give() ?? []) ChatAccumulator.add(joined, chunk)
  const completion = ChatAccumulator.toCompletion(joined)
  return Pull.matchEffect(arriving.failure ?? arriving.outcome(), {
    onSuccess: () => Effect.fail(arriving.truncated()),
    onFailure: Effect.failCause,
    onDone: () => completion === undefined ? Effect.fail(arriving.truncated()) : Effect.succeed(completion)
  })
}

const encoder = new TextEncoder()

/** The answer of a stream as far as it has come: what waits to be given, and flags. */
class Arriving {
  readonly answer: answers.Answer
  readonly body: framing.Body
  readonly protocol: protocols.Protocol
  readonly read: protocols.Reader
  /** Whether each choice has its finish reason, by index. */
  readonly choices = new Map<number, boolean>()
  readonly expected: number
  open = 0
  held: Array<ChatChunk.ChatChunk> = []
  heldCharacters = 0
  /** Events that are no chunks, their characters, and the first of them. */
  others = 0
  otherCharacters = 0
  other: WireText.Unreadable | undefined
  otherText = ""
  bytesAfterEnd = 0
  said = false
  progress = false
  /** Whether all finish reasons were `stop`. */
  stopped = true
  isDone = false
  finished = false
  over = false
  error: HttpClientError | undefined
  /** The text of a body that is one text. */
  only: string | undefined = undefined
  failure: Effect.Effect<never, ChatError.ChatError> | undefined

  constructor(answer: answers.Answer, expected: number, protocol: protocols.Protocol) {
    this.answer = answer
    this.protocol = protocol
    this.read = protocol.events()
    this.expected = expected
    this.body = new framing.Body(this.onEvent)
  }

  take(piece: Uint8Array): void {
    if (this.over || this.failure !== undefined) return this.skip(piece)
    const error = this.body.take(piece)
    if (error !== undefined && this.finished) this.over = true
    else if (error !== undefined) this.failure ??= Effect.fail(answers.malformed(this.answer, error, "", true))
    if (this.finished) this.skip(piece)
  }

  /** Characters that are held of what is not given yet. */
  get size(): number {
    return this.over || this.failure !== undefined ? 0 : this.body.size + this.heldCharacters
  }

  /** There is no memory for what is to come. */
  refuse(): void {
    this.failure ??= Effect.fail(
      answers.malformed(this.answer, "an event that is too large while other large answers are read", "")
    )
  }

  /** What follows an answer is of no use; only the end of the body is waited for. */
  private skip(piece: Uint8Array): void {
    this.bytesAfterEnd += piece.byteLength
    if (this.bytesAfterEnd > limits.afterEndBytes) this.over = true
  }

  /** The body has ended, or broken off by an error. */
  bodyEnded(error?: HttpClientError): void {
    if (this.over || this.failure !== undefined) return
    this.body.end(error !== undefined)
    if (error === undefined) this.noMoreChoices()
    this.over = true
    this.error = error
    // A whole answer needs no finish reason, and may say nothing.
    if (this.only && !(this.protocol.whole(this.only) instanceof WireText.Unreadable)) {
      this.finished = this.progress = true
    }
  }

  readonly onEvent = (data: string, name: string | undefined, isCut: boolean): void => {
    if (this.failure !== undefined || this.isDone || data === "") return
    if (data.length < 16 && data.trim() === "[DONE]") {
      this.isDone = true
      return this.noMoreChoices()
    }
    const isFirst = this.only === undefined && this.body.isText
    this.only = isFirst ? data : ""
    const chunk = isFirst ? this.protocol.text(data, this.read) : this.read(data)
    if (chunk === undefined) return
    if (!(chunk instanceof WireText.Unreadable)) {
      if (chunk.choices.length > 0 || this.finished || !answers.isStated(this.answer, chunk)) {
        return this.add(chunk, data.length)
      }
      this.failure = answers.unreadable(this.answer, new WireText.Unreadable(chunk, "an error"), data)
      return
    }
    // After the end, nothing can make an answer worse.
    if (this.finished || isCut && chunk.json === undefined) return
    this.failure = this.unread(chunk, data, name)
  }

  /** What to do about an event that is no chunk: an error, unless it means something else. */
  private unread(unreadable: WireText.Unreadable, data: string, name: string | undefined) {
    const { answer } = this
    if (name === "error") {
      const json = unreadable.json ?? data
      return answers.unreadable(
        answer,
        answers.isStated(answer, json) ? unreadable : new WireText.Unreadable({ error: json }, "an error"),
        data
      )
    }
    const isOther = unreadable.json === undefined
      ? isNamed(name) && !data.trimStart().startsWith("{")
      : !hasProperty(unreadable.json, "choices") || unreadable.json.choices === null
    if (!isOther || answers.isStated(answer, unreadable.json)) return answers.unreadable(answer, unreadable, data)
    this.others++
    this.otherCharacters += data.length
    if (this.other === undefined) this.otherText = data.slice(0, 1000)
    this.other ??= unreadable
    return this.others > limits.otherEvents || this.otherCharacters > limits.otherCharacters
      ? Effect.fail(answers.malformed(answer, "too many events that are no chunks", this.otherText, true))
      : undefined
  }

  private add(chunk: ChatChunk.ChatChunk, characters: number): void {
    const { choices } = chunk
    for (let position = 0; position < choices.length; position++) {
      const choice = choices[position]
      if (choice !== undefined) this.addChoice(choice, position)
    }
    if (this.failure !== undefined) return this.keepUsage(chunk)
    this.progress ||= choices.length === 0 && chunk.usage != null
    this.held.push(chunk)
    this.heldCharacters += characters
    if (this.held.length > limits.heldChunks || this.heldCharacters > limits.heldCharacters) this.progress = true
    if (this.open === 0 && this.choices.size >= this.expected && !this.finished) this.finish()
  }

  /** What an answer that fails has cost is told, where it has begun. */
  private keepUsage(chunk: ChatChunk.ChatChunk): void {
    if (this.said && chunk.usage != null) this.held.push({ ...chunk, choices: [] })
  }

  private addChoice(choice: ChatChunk.Choice, position: number): void {
    if (ChatChunk.isSaying(choice)) this.said = this.progress = true
    const index = choice.index ?? position
    const known = this.choices.get(index)
    if (known === undefined) {
      this.open++
      this.choices.set(index, false)
    }
    const { finish_reason: reason } = choice
    if (reason == null) return
    const error = answers.judgeReason(this.answer, reason)
    if (error !== undefined) this.failure ??= Effect.fail(error)
    this.progress = true
    this.stopped &&= reason === "stop"
    if (known !== true) this.open--
    this.choices.set(index, true)
  }

  private noMoreChoices(): void {
    if (this.open === 0 && this.choices.size > 0 && !this.finished && this.failure === undefined) this.finish()
  }

  private finish(): void {
    this.finished = true
    if (this.said || !this.stopped || this.answer.mayBeEmpty === true) return
    this.held = []
    this.failure = Effect.fail(answers.empty(this.answer))
  }

  /** What may be given: opening chunks are held back until there is something to open. */
  give(): Chunks | undefined {
    if (this.isDone && !this.finished) this.over = true
    const { held } = this
    if (!this.progress || !Arr.isArrayNonEmpty(held)) return undefined
    this.held = []
    this.heldCharacters = 0
    return held
  }

  /** How an answer ends of which no more comes. */
  outcome(): ChunkPull {
    if (this.finished) return Cause.done()
    const { error, said } = this
    return error === undefined || said || error.reason._tag === "EmptyBodyError"
      ? Effect.fail(this.truncated())
      : Effect.fail(errors.fromTransport(error))
  }

  truncated(): ChatError.ProtocolError {
    if (!this.said && this.choices.size === 0) {
      const { other } = this
      if (other !== undefined) return answers.malformed(this.answer, other.detail, this.otherText, true)
      if (this.answer.response.status !== 200) return answers.malformed(this.answer, "no answer", "")
      const text = this.body.unread
      if (text !== "") return answers.malformed(this.answer, "not JSON", text)
    }
    return new ChatError.ProtocolError({
      reason: new ChatError.StreamTruncated(errors.optionalTraceId(answers.traceIdOf(this.answer)) ?? {})
    })
  }
}

/** Whether an event has a name of its own; events of a chat are unnamed or `message`. */
const isNamed = (name: string | undefined): boolean => name !== undefined && name !== "message"
