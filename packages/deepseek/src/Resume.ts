/**
 * Streams that go on after a break.
 *
 * A stream that breaks after text has arrived is taken up again by prefix completion: the request is sent once more, with what was
 * received as the beginning of its answer, and the rest follows where the text ended. The caller reads one stream: no token is missing and
 * none comes twice; it has one id, one role, one finish reason, and one usage, the sum.
 *
 * | what breaks | what happens |
 * |---|---|
 * | connection lost, body ended early, broken event | goes on |
 * | no token within the idle deadline, or the deadline of the attempt | goes on |
 * | `insufficient_system_resource`, `aborted`, an error object within the stream that may pass | goes on |
 * | after thoughts alone | goes on: the thoughts are sent back as `reasoning_content`, and the model thinks on |
 * | before anything was given | fails, so that a retry around can start again |
 * | after a piece of a tool call was given | fails: a prefix can hold none |
 * | an error that another try can't mend; the total deadline | fails |
 *
 * It fails with the error that the stream broke with, also when the rest can't be had. Which requests can go on, `isResumable` says. A call
 * that must not run twice (`Idempotency`) does not.
 *
 * Going on is bounded in times, by the caller's deadline and by a retry budget. What was received is kept for it, at most 4 Mi characters;
 * a longer answer does not go on. Interruption closes what is open, the attempt to go on included.
 *
 * @see {@link https://api-docs.deepseek.com/guides/chat_prefix_completion}
 * @since 0.1.0
 */
import type { ChatChunk } from "@ballast/chat/ChatChunk"
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Native from "@ballast/chat/Native"
import * as CallInfo from "@ballast/resilience/CallInfo"
import * as Deadline from "@ballast/resilience/Deadline"
import { CurrentIdempotent } from "@ballast/resilience/Idempotency"
import * as Layered from "@ballast/resilience/Layered"
import * as Outcome from "@ballast/resilience/Outcome"
import type { RetryBudget } from "@ballast/resilience/RetryBudget"
import * as CallMetrics from "@ballast/telemetry/CallMetrics"
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { hasProperty } from "effect/Predicate"
import * as Pull from "effect/Pull"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import { Begun } from "./internal/begun.ts"
import { choices } from "./internal/request.ts"
import * as Provider from "./Provider.ts"
import { nameOfCause } from "./Traced.ts"

/**
 * Options.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<E> {
  /** How often one stream may go on, at least 1. Default 3. */
  readonly times?: number | undefined
  /** Pays for going on, each time as for a retry. Default none. */
  readonly budget?: RetryBudget | undefined
  /** What is asked for the rest: it has to know prefix completion. Default: the model itself. */
  readonly by?: ChatModel<E> | undefined
}

/**
 * What is used where `Options` say nothing.
 *
 * @category options
 * @since 0.1.0
 */
export const defaults = { times: 3 } as const satisfies Options<never>

/**
 * Whether the answer to a request can go on after a break.
 *
 * **Details**
 *
 * Not with several choices (`n`), nor with `logprobs`, since the tokens at the seam may be cut in another way. Not in JSON mode, whose
 * grammar would begin anew, nor as a request of another protocol than chat. A request that is a prefix completion itself goes on
 * with its own prefix before the text. A stop string of which one half was given before the break is not seen.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isResumable = (request: ChatRequest): boolean => {
  const own = Provider.prefixOf(request)
  return choices(request) === 1 && request.logprobs !== true && isText(request.response_format) &&
    Array.isArray(request.messages) && (own?.content == null || typeof own.content === "string") &&
    Native.of(request) === undefined
}

const isText = (format: unknown): boolean => format == null || hasProperty(format, "type") && format.type === "text"

/**
 * Lets the streams of a model go on after a break.
 *
 * **When to use**
 *
 * `Lane` and the router do it for providers that have prefix completion. Put it inside the total deadline and around the retries, so that a
 * break is mended within the caller's time, and the request for the rest is retried like any other.
 *
 * **Details**
 *
 * Throws a `RangeError` when `times` is no whole number of at least 1. Each break is an event `ballast.resume` of the span at hand, with
 * the figures of what had arrived, and counts in `ballast_resumptions_total`.
 *
 * **Example** (A source whose streams go on)
 *
 * ```ts
 * import { DeepSeek, Resume } from "@ballast/deepseek"
 * import { Effect, Redacted } from "effect"
 *
 * const model = Effect.map(
 *   DeepSeek.source({ apiKey: Redacted.make("sk-…") }),
 *   (source) => Resume.make(source, { name: "deepseek", provider: "deepseek", model: "deepseek-flash" }, { times: 2 })
 * )
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const make = <E>(
  self: ChatModel<E>,
  labels: CallMetrics.Labels,
  options: Options<E> = {}
): ChatModel<E> => {
  const times = options.times ?? defaults.times
  if (!Number.isInteger(times) || times < 1) {
    throw new RangeError(`Resume.make: times must be a whole number of at least 1, got ${times}`)
  }
  const policy = { by: options.by ?? self, budget: options.budget, times, count: counter(labels) }
  return {
    complete: (request) => self.complete(request),
    stream: (request) =>
      isResumable(request)
        ? Layered.stream((scope) =>
          Effect.withFiber((fiber): Effect.Effect<ChunksPull<E>> => {
            if (fiber.getRef(CurrentIdempotent)) return Effect.succeed(new Running(self, policy, request, scope).pull)
            return Channel.toPullScoped(Stream.toChannel(self.stream(request)), scope)
          })
        )
        : self.stream(request)
  }
}

type Chunks = Arr.NonEmptyReadonlyArray<ChatChunk>
type ChunksPull<E> = Pull.Pull<Chunks, E>
type Outcomes = "resumed" | "failed" | "refused"

interface Policy<E> {
  readonly by: ChatModel<E>
  readonly budget: RetryBudget | undefined
  readonly times: number
  readonly count: (context: Context.Context<never>, outcome: Outcomes, because: string) => void
}

/** Outcomes and reasons are names of our own: there are few. */
const counter = (labels: CallMetrics.Labels) => {
  const made = new Map<string, ReturnType<typeof CallMetrics.resumptions>>()
  return (context: Context.Context<never>, outcome: Outcomes, because: string): void => {
    const key = `${outcome} ${because}`
    let metric = made.get(key)
    if (metric === undefined) made.set(key, metric = CallMetrics.resumptions({ ...labels, outcome, because }))
    metric.updateUnsafe(1, context)
  }
}

/** A part of the answer that is open. */
interface Part<E> {
  readonly pull: ChunksPull<E>
  readonly scope: Scope.Closeable
}

/** The caller's context, as the first part saw it: the span, the deadlines and the records of the call. */
interface Caller {
  readonly context: Context.Context<never>
  readonly span: Tracer.AnySpan | undefined
  readonly clock: Clock.Clock
}

/** One stream, over all its parts. */
class Running<E> {
  readonly policy: Policy<E>
  readonly scope: Scope.Scope
  readonly answer: Begun
  private next: ChunksPull<E>

  constructor(self: ChatModel<E>, policy: Policy<E>, request: ChatRequest, scope: Scope.Scope) {
    this.policy = policy
    this.scope = scope
    this.answer = new Begun(request)
    this.next = Effect.withFiber((fiber) => {
      const caller = { context: fiber.context, span: fiber.cache.span, clock: fiber.getRef(Clock.Clock) }
      return Effect.flatMap(this.open(self, request), (part) => this.next = this.watched(part, caller))
    })
  }

  readonly pull: ChunksPull<E> = Effect.suspend(() => this.next)

  private open(model: ChatModel<E>, request: ChatRequest): Effect.Effect<Part<E>> {
    return Effect.suspend(() => {
      const scope = Scope.forkUnsafe(this.scope)
      return Effect.map(
        Channel.toPullScoped(Stream.toChannel(model.stream(request)), scope),
        (pull): Part<E> => ({ pull, scope })
      )
    })
  }

  private watched(part: Part<E>, caller: Caller): ChunksPull<E> {
    return Effect.matchCauseEffect(part.pull, {
      onSuccess: (chunks): ChunksPull<E> => this.give(chunks),
      onFailure: (cause): ChunksPull<E> => {
        const end = Pull.doneExitFromCause(cause)
        return Exit.isSuccess(end) ? this.owing(false, Cause.done()) : this.broken(part, end.cause, caller)
      }
    })
  }

  private give(chunks: Chunks): ChunksPull<E> {
    const given = this.answer.take(chunks)
    return given === undefined ? this.pull : Effect.succeed(given)
  }

  /** Gives the usage that is still to be given, and then ends as `last` says. */
  private owing(failed: boolean, last: ChunksPull<E>): ChunksPull<E> {
    const owed = this.answer.owed(failed)
    if (owed === undefined) return last
    this.next = last
    return Effect.succeed([owed])
  }

  private broken(part: Part<E>, cause: Cause.Cause<E>, caller: Caller): ChunksPull<E> {
    const { answer, policy } = this
    if (!answer.canGoOn || !isMendable(cause)) return this.failed(cause)
    const because = nameOfCause(cause)
    const told = (outcome: Outcomes): void => this.tell(caller, outcome, because)
    return Effect.withFiber((fiber) =>
      Effect.flatMap(Effect.provideContext(Deadline.remaining, caller.context), (left) => {
        const may = answer.part <= policy.times && Duration.toMillis(left) > 0 && isPaid(policy.budget, fiber, cause)
        if (may) {
          const rest = Effect.andThen(Scope.close(part.scope, Exit.failCause(cause)), this.goOn(cause, caller, told))
          return stoppable(rest, caller.context)
        }
        told("refused")
        return this.failed(cause)
      })
    )
  }

  private failed(cause: Cause.Cause<E>): ChunksPull<E> {
    return this.owing(true, Effect.failCause(cause))
  }

  /** Asks for the rest and waits for its first chunks. */
  private goOn(
    cause: Cause.Cause<E>,
    caller: Caller,
    told: (outcome: Outcomes) => void
  ): ChunksPull<E> {
    const { answer, policy } = this
    const rest = answer.rest()
    if (rest === undefined) {
      this.next = Cause.done()
      told("resumed")
      return Effect.succeed([answer.end()])
    }
    return Effect.flatMap(this.open(policy.by, rest), (part) =>
      Effect.matchCauseEffect(part.pull, {
        onSuccess: (chunks): ChunksPull<E> => {
          told("resumed")
          answer.next()
          this.next = this.watched(part, caller)
          return this.give(chunks)
        },
        onFailure: (again): ChunksPull<E> => {
          if (Cause.hasDies(again) || Cause.hasInterrupts(again)) return Effect.failCause(again)
          told("failed")
          return Effect.andThen(Scope.close(part.scope, Pull.doneExitFromCause(again)), this.failed(cause))
        }
      }))
  }

  /** Tells of a break, by figures alone. */
  private tell({ clock, context, span }: Caller, outcome: Outcomes, because: string): void {
    const { content, part, reasoning, tokens } = this.answer
    this.policy.count(context, outcome, because)
    const info = Context.get(context, CallInfo.Current)
    if (info !== undefined && outcome === "resumed") info.resumptions++
    if (span?._tag === "Span") {
      span.event("ballast.resume", clock.currentTimeNanosUnsafe(), {
        outcome,
        because,
        part: part + 1,
        tokens,
        characters: content.length,
        reasoning_characters: reasoning.length
      })
    }
  }
}

const isMendable = (cause: Cause.Cause<unknown>): boolean => {
  const outcome = Outcome.classify(Exit.failCause(cause))
  return outcome._tag !== "Success" && outcome.retryable
}

const isPaid = (
  budget: RetryBudget | undefined,
  fiber: Fiber.Fiber<unknown, unknown>,
  cause: Cause.Cause<unknown>
): boolean => budget === undefined || budget.tryReserveUnsafe(fiber, budget.costOf(Exit.failCause(cause))) !== undefined

/**
 * Runs what a pull has to wait for in the context of the call, where the deadlines around can end it: they are told of sources, and of
 * nothing that waits for one to begin.
 */
const stoppable = <A, E>(self: Effect.Effect<A, E>, context: Context.Context<never>): Effect.Effect<A, E> =>
  Effect.callback((resume) => {
    const body = Effect.runForkWith(context)(self)
    const release = Context.get(context, Deadline.CurrentStop)?.claim(() => body.interruptUnsafe())
    body.addObserver((exit) => {
      release?.()
      resume(exit)
    })
    return Fiber.interrupt(body)
  })
