/**
 * Spans and metrics as functions on models: `call` covers a call with all its attempts and waits, `attempt` one attempt.
 *
 * Put `attempt` next to the source and `call` around the policies. Both write to the record of the call (`CallInfo.Current`), when there
 * is one. A stream's span lasts until the stream ends or its consumer stops. No name and no attribute holds a prompt, an answer or a key.
 *
 * @since 0.1.0
 */
import * as ChatChunk from "@ballast/chat/ChatChunk"
import type { ChatCompletion } from "@ballast/chat/ChatCompletion"
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Fault from "@ballast/chat/Fault"
import * as Native from "@ballast/chat/Native"
import type { Usage } from "@ballast/chat/Usage"
import * as CallInfo from "@ballast/resilience/CallInfo"
import * as Layered from "@ballast/resilience/Layered"
import { CurrentAttempt } from "@ballast/resilience/Retry"
import * as CallMetrics from "@ballast/telemetry/CallMetrics"
import * as Content from "@ballast/telemetry/Content"
import * as Exemplars from "@ballast/telemetry/Exemplars"
import * as GenAi from "@ballast/telemetry/GenAi"
import * as SpanAttributes from "@ballast/telemetry/SpanAttributes"
import type * as Arr from "effect/Array"
import type * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { hasProperty, isString } from "effect/Predicate"
import * as Pull from "effect/Pull"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import * as chatPaths from "./internal/chatPath.ts"
import * as contents from "./internal/content.ts"
import type { Provider } from "./Provider.ts"

/**
 * Who is called, for spans and metrics; each of low cardinality.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Name of the client or target that calls. Default: the provider's name. */
  readonly name?: string | undefined
  readonly provider: Pick<Provider, "name" | "paths">
  /** The model in metrics; spans have that of the request. */
  readonly model: string
  /** Where the service is. */
  readonly url: URL
}

type Traced = <E>(self: ChatModel<E>) => ChatModel<E>

const Attribute = GenAi.Attribute
const client = { kind: "client", captureStackTrace: false } as const

/** What telemetry needs of the caller's fiber. A stream may be pulled, and closed, by others. */
interface Caller {
  readonly clock: Clock.Clock
  readonly context: Context.Context<never>
}

const callerOf = (fiber: Fiber.Fiber<unknown, unknown>): Caller => ({
  clock: fiber.getRef(Clock.Clock),
  context: fiber.context
})

/** Operations by OpenTelemetry's names. */
const operationOf = (request: ChatRequest): string => {
  const protocol = Native.of(request)?.protocol
  if (protocol === undefined) return "chat"
  return protocol === "embeddings" ? "embeddings" : protocol === "completions" ? "text_completion" : "chat"
}

const spanNameOf = (operation: string, model: string): string => [operation, GenAi.modelName(model)].join(" ")

/** A request that was only passed on may have anything in the place of a number. */
const numberOf = (value: unknown): number | undefined => typeof value === "number" ? value : undefined

const serverOf = (url: URL) => ({
  [Attribute.serverAddress]: url.hostname,
  [Attribute.serverPort]: Number(url.port) || (url.protocol === "http:" ? 80 : 443)
})

const labelsOf = ({ model, name, provider }: Options): CallMetrics.Labels => ({
  name: name ?? provider.name,
  provider: provider.name,
  model
})

/**
 * One span for each call, `chat <model>` (`embeddings`, `text_completion` for what is none), with OpenTelemetry's attributes of generative AI, and the metrics of calls.
 *
 * @category combinators
 * @since 0.1.0
 */
export const call = (options: Options): Traced => {
  const labels = labelsOf(options)
  const ofChat = callMetrics(labels)
  const ofOthers = memoize((operation) => callMetrics({ ...labels, operation }))
  const metricsOf = (operation: string) => operation === "chat" ? ofChat : ofOthers(operation)
  const always = {
    [Attribute.providerName]: labels.provider,
    [Attribute.name]: labels.name
  }
  const server = serverOf(options.url)
  const usualName = spanNameOf("chat", labels.model)

  const nameOfCall = (request: ChatRequest): string => {
    const operation = operationOf(request)
    return operation === "chat" && request.model === labels.model ? usualName : spanNameOf(operation, request.model)
  }

  const begin = (
    span: Tracer.Span,
    request: ChatRequest,
    stream: boolean,
    content: Content.Content | undefined
  ): void => {
    const { model } = request
    const operation = operationOf(request)
    const max = numberOf(request.max_tokens)
    const temperature = numberOf(request.temperature)
    const topP = numberOf(request.top_p)
    // Not of the request itself, which may be large.
    SpanAttributes.later(span, () => ({
      [Attribute.operationName]: operation,
      ...always,
      [Attribute.requestModel]: GenAi.modelName(model),
      [Attribute.requestStream]: stream,
      ...server,
      [Attribute.requestMaxTokens]: max,
      [Attribute.requestTemperature]: temperature,
      [Attribute.requestTopP]: topP
    }))
    if (content !== undefined) span.attribute(Attribute.inputMessages, contents.input(content, request))
  }

  /** `answer` is what is known of the answer. */
  const ended = (
    caller: Caller,
    span: Tracer.Span,
    metrics: ReturnType<typeof callMetrics>,
    since: number,
    answer: Answer,
    outcome: string,
    fault: Fault.Fault | "none"
  ): void => {
    SpanAttributes.later(span, () => attributesOf(answer))
    if (answer.usage != null) metrics.usage(caller, answer.usage)
    nameError(span, outcome)
    const content = Context.get(caller.context, Content.Current)
    if (content !== undefined && answer.text !== undefined) {
      span.attribute(Attribute.outputMessages, contents.output(content, answer.text, answer.finishReason))
    }
    metrics.ended(caller, span, (now(caller) - since) / 1000, outcome, fault)
  }

  const complete = <E>(self: ChatModel<E>, request: ChatRequest) =>
    Effect.withFiber<ChatCompletion, E>((fiber) => {
      const caller = callerOf(fiber)
      const content = Context.get(caller.context, Content.Current)
      return Effect.useSpan(nameOfCall(request), client, (span) => {
        begin(span, request, false, content)
        const metrics = metricsOf(operationOf(request))
        const since = now(caller)
        return Effect.onExitPrimitive(
          Effect.provideService(self.complete(request), Tracer.ParentSpan, span),
          (exit) => {
            const answer = Exit.isSuccess(exit) ? answerOf(exit.value) : {}
            if (content !== undefined && Exit.isSuccess(exit)) answer.text = contents.textOf(exit.value)
            ended(caller, span, metrics, since, answer, outcomeOf(exit), faultOf(exit))
            return undefined
          }
        )
      })
    })

  /** Not made where the request is known, which is not needed once it is sent. */
  const watching = (
    caller: Caller,
    metrics: ReturnType<typeof callMetrics>,
    info: CallInfo.CallInfo | undefined,
    answer: Answer
  ): Watch<ChatChunk.ChatChunk> => {
    const since = now(caller)
    let started = false
    let firstMillis = 0
    const onChunks = (chunks: Arr.NonEmptyReadonlyArray<ChatChunk.ChatChunk>, span: Tracer.Span): void => {
      for (const chunk of chunks) {
        if (!started && ChatChunk.isProgress(chunk)) {
          started = true
          const millis = firstMillis = now(caller) - since
          if (info !== undefined) info.firstToken = millis
          span.attribute(Attribute.timeToFirstToken, millis / 1000)
          metrics.firstToken(caller, span, millis / 1000)
        }
        addChunk(answer, chunk)
      }
    }
    const onEnd = (span: Tracer.Span, exit: Exit.Exit<unknown, unknown>): void => {
      const stopped = Exit.isSuccess(exit) && answer.finishReason === undefined
      const more = (answer.usage?.completion_tokens ?? 0) - 1
      if (started && more > 0) metrics.pace(caller, (now(caller) - since - firstMillis) / more / 1000)
      const [outcome, fault] = stopped ? [interrupted, "caller"] as const : [outcomeOf(exit), faultOf(exit)] as const
      ended(caller, span, metrics, since, answer, outcome, fault)
    }
    return { onChunks, onEnd }
  }

  const stream = <E>(self: ChatModel<E>, request: ChatRequest) =>
    spanned(self.stream(request), (fiber, caller) => ({
      name: nameOfCall(request),
      begin: (span) => {
        const content = Context.get(caller.context, Content.Current)
        begin(span, request, true, content)
        const metrics = metricsOf(operationOf(request))
        return watching(caller, metrics, fiber.getRef(CallInfo.Current), content === undefined ? {} : { text: "" })
      }
    }))

  return (self) => ({
    complete: (request) => complete(self, request),
    stream: (request) => stream(self, request)
  })
}

/**
 * One span for each attempt, `POST <path>`, with OpenTelemetry's attributes of HTTP clients, and the metric of attempts.
 *
 * @category combinators
 * @since 0.1.0
 */
export const attempt = (options: Options): Traced => {
  const { provider, url } = options
  const count = attemptMetrics(labelsOf(options))
  const pathOf = chatPaths.make(provider, url)
  const base = url.pathname.replace(/\/+$/, "")
  // There are two paths at most.
  const places = memoize((path) => ({
    name: `POST ${path.startsWith(`${base}/`) ? path.slice(base.length) : path}`,
    http: { [Attribute.httpMethod]: "POST", [Attribute.urlFull]: `${url.origin}${path}`, ...serverOf(url) }
  }))

  const begin = (span: Tracer.Span, attempt: number, http: Readonly<Record<string, unknown>>): void =>
    SpanAttributes.later(
      span,
      () => attempt === 1 ? http : { ...http, [Attribute.httpResendCount]: attempt - 1 }
    )

  const begun = (fiber: Fiber.Fiber<unknown, unknown>): CallInfo.CallInfo | undefined => {
    const info = fiber.getRef(CallInfo.Current)
    if (info !== undefined) info.attempts++
    return info
  }

  const ended = (
    caller: Caller,
    span: Tracer.Span,
    outcome: string,
    info: CallInfo.CallInfo | undefined,
    since: number
  ): void => {
    nameError(span, outcome)
    count(caller, outcome)
    if (info !== undefined) info.upstream += now(caller) - since
    // An attempt that was cut short says nothing: another one was faster, or the caller has gone.
    if (info !== undefined && outcome !== interrupted) info.failure = outcome === ok ? undefined : outcome
  }

  const complete = <A, E>(self: Effect.Effect<A, E>, request: ChatRequest): Effect.Effect<A, E> =>
    Effect.withFiber((fiber) => {
      const caller = callerOf(fiber)
      const info = begun(fiber)
      const since = now(caller)
      const { http, name } = places(pathOf(request))
      const attempt = fiber.getRef(CurrentAttempt)
      return Effect.useSpan(name, client, (span) => {
        begin(span, attempt, http)
        return Effect.onExitPrimitive(Effect.provideService(self, Tracer.ParentSpan, span), (exit) => {
          ended(caller, span, outcomeOf(exit), info, since)
          return undefined
        })
      })
    })

  const watching = (caller: Caller, info: CallInfo.CallInfo | undefined, since: number): Watch<unknown> => {
    const onEnd = (span: Tracer.Span, exit: Exit.Exit<unknown, unknown>): void =>
      ended(caller, span, outcomeOf(exit), info, since)
    return { onEnd }
  }

  const stream = <A, E>(self: Stream.Stream<A, E>, request: ChatRequest): Stream.Stream<A, E> =>
    spanned(self, (fiber, caller) => {
      const info = begun(fiber)
      const since = now(caller)
      const { http, name } = places(pathOf(request))
      const attempt = fiber.getRef(CurrentAttempt)
      return {
        name,
        begin: (span) => {
          begin(span, attempt, http)
          return watching(caller, info, since)
        }
      }
    })

  return (self) => ({
    complete: (request) => complete(self.complete(request), request),
    stream: (request) => stream(self.stream(request), request)
  })
}

/** What is done about a stream inside its span. */
interface Watch<A> {
  readonly onChunks?: ((chunks: Arr.NonEmptyReadonlyArray<A>, span: Tracer.Span) => void) | undefined
  readonly onEnd: (span: Tracer.Span, exit: Exit.Exit<unknown, unknown>) => void
}

interface Beginning<A> {
  readonly name: string
  readonly begin: (span: Tracer.Span) => Watch<A>
}

/**
 * Runs a stream inside a span that ends when the stream does, or when its consumer stops. The span is the current one until the
 * first chunks have come: nothing of ours looks at it later, and every pull would pay for it.
 */
const spanned = <A, E>(
  self: Stream.Stream<A, E>,
  beginningOf: (fiber: Fiber.Fiber<unknown, unknown>, caller: Caller) => Beginning<A>
): Stream.Stream<A, E> =>
  Layered.stream((scope) =>
    Effect.withFiber((fiber) => {
      const caller = callerOf(fiber)
      const { begin, name } = beginningOf(fiber, caller)
      const isTimed = fiber.getRef(References.TracerTimingEnabled)
      return Effect.flatMap(Effect.makeSpan(name, client), (span) => {
        const running = new Spanned<A, E>(span, begin(span), isTimed ? caller.clock : undefined)
        return Effect.andThen(Scope.addFinalizerExit(scope, running.closing()), running.open(self))
      })
    })
  )

/** A stream inside its span, and the layer around all its pulls but the first. Nothing in it refers to what opens the stream. */
class Spanned<A, E> {
  private readonly span: Tracer.Span
  private readonly watch: Watch<A>
  private readonly clock: Clock.Clock | undefined
  private readonly scope = Scope.makeUnsafe()
  private next: ChunksPull<A, E> = Effect.never
  /** Whether a pull runs: one that is interrupted ends the stream so, whatever its scope is closed with. */
  private pulling = false
  private ended = false

  /** Without a clock the span is not timed. */
  constructor(span: Tracer.Span, watch: Watch<A>, clock: Clock.Clock | undefined) {
    this.span = span
    this.watch = watch
    this.clock = clock
  }

  open(self: Stream.Stream<A, E>): Effect.Effect<ChunksPull<A, E>> {
    const { scope, span } = this
    const within = <A2, E2>(effect: Effect.Effect<A2, E2>) => Effect.provideService(effect, Tracer.ParentSpan, span)
    return Effect.map(within(Channel.toPullScoped(Stream.toChannel(self), scope)), (pull) => {
      this.next = Effect.onExitPrimitive(within(pull), (exit) => {
        if (Exit.isFailure(exit)) return this.close(Pull.doneExitFromCause(exit.cause))
        this.items(exit.value)
        this.next = Layered.around(pull, this)
        return undefined
      })
      return this.pull()
    })
  }

  /** Not made where the stream is opened: it would keep what opens it. */
  private pull(): ChunksPull<A, E> {
    return Layered.switching(() => this.next)
  }

  closing(): (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<void> {
    return (exit) => this.close(exit)
  }

  before(): undefined {
    this.pulling = true
  }

  items(chunks: Arr.NonEmptyReadonlyArray<A>): void {
    this.pulling = false
    this.watch.onChunks?.(chunks, this.span)
  }

  failed(cause: Cause.Cause<E | Cause.Done>): ChunksPull<A, E> {
    this.pulling = false
    return Effect.andThen(this.close(Pull.doneExitFromCause(cause)), Effect.failCause(cause))
  }

  private close(exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> {
    return Effect.ensuring(Scope.close(this.scope, exit), Effect.sync(() => this.end(exit)))
  }

  private end(exit: Exit.Exit<unknown, unknown>): void {
    if (this.ended) return
    this.ended = true
    const ended = this.pulling ? Exit.interrupt() : exit
    this.watch.onEnd(this.span, ended)
    this.span.end(this.clock?.currentTimeNanosUnsafe() ?? 0n, ended)
  }
}

type ChunksPull<A, E> = Pull.Pull<Arr.NonEmptyReadonlyArray<A>, E>

/** Monotonic milliseconds. */
const now = (caller: Caller) => Number(caller.clock.monotonicTimeNanosUnsafe()) / 1e6

/** What telemetry tells of an answer, as far as it has come. */
interface Answer {
  id?: string
  model?: string
  finishReason?: string
  usage?: Usage
  /** Its text, where spans keep content. */
  text?: string
}

const answerOf = (completion: ChatCompletion): Answer => {
  const answer: Answer = {}
  if (completion.id != null) answer.id = completion.id
  if (completion.model != null) answer.model = completion.model
  if (completion.usage != null) answer.usage = completion.usage
  const finishReason = completion.choices[0].finish_reason
  if (finishReason != null) answer.finishReason = finishReason
  return answer
}

const addChunk = (answer: Answer, chunk: ChatChunk.ChatChunk): void => {
  if (chunk.id != null) answer.id = chunk.id
  if (chunk.model != null) answer.model = chunk.model
  if (chunk.usage != null) answer.usage = chunk.usage
  const finishReason = chunk.choices[0]?.finish_reason
  if (finishReason != null) answer.finishReason = finishReason
  if (answer.text !== undefined && answer.text.length < maxText) answer.text += chunk.choices[0]?.delta.content ?? ""
}

/** As much of a stream's text is kept for its span. */
const maxText = 65_536

const attributesOf = ({ finishReason, id, model, usage }: Answer): Readonly<Record<string, unknown>> => ({
  [Attribute.responseId]: id,
  [Attribute.responseModel]: model && GenAi.modelName(model),
  [Attribute.responseFinishReasons]: finishReason === undefined ? undefined : [finishReason],
  [Attribute.usageInputTokens]: usage?.prompt_tokens,
  [Attribute.usageOutputTokens]: usage?.completion_tokens,
  [Attribute.usageCacheReadTokens]: usage && (cachedTokens(usage) ?? undefined),
  [Attribute.usageReasoningTokens]: usage && (reasoningTokens(usage) ?? undefined)
})

const cachedTokens = (usage: Usage) => usage.prompt_cache_hit_tokens ?? usage.prompt_tokens_details?.cached_tokens
const reasoningTokens = (usage: Usage) => usage.completion_tokens_details?.reasoning_tokens

const ok = "ok"
const interrupted = "interrupted"

/** An interruption is no failure for which a trace is kept that the sampler leaves out. */
const nameError = (span: Tracer.Span, outcome: string): void => {
  if (outcome === interrupted) SpanAttributes.later(span, () => ({ [Attribute.errorType]: interrupted }))
  else if (outcome !== ok) span.attribute(Attribute.errorType, outcome)
}

/** `ok`, `interrupted`, or the name of what went wrong. */
const outcomeOf = (exit: Exit.Exit<unknown, unknown>): string => Exit.isSuccess(exit) ? ok : nameOfCause(exit.cause)

const faultOf = (exit: Exit.Exit<unknown, unknown>): Fault.Fault | "none" =>
  Exit.isSuccess(exit) ? "none" : Fault.ofCause(exit.cause)

/**
 * The name of what went wrong, as spans and metrics have it: of an error's reason, `defect` or `interrupted`.
 *
 * @category accessors
 * @since 0.1.0
 */
export const nameOfCause = (cause: Cause.Cause<unknown>): string => {
  for (const reason of cause.reasons) {
    if (reason._tag === "Fail") return nameOf(reason.error)
    if (reason._tag === "Die") return "defect"
  }
  return interrupted
}

const nameOf = (error: unknown): string => {
  const named = hasProperty(error, "reason") ? error.reason : error
  return hasProperty(named, "_tag") && isString(named._tag) ? named._tag : "_OTHER"
}

const callMetrics = (labels: CallMetrics.Labels) => {
  const firstToken = Exemplars.observing(CallMetrics.timeToFirstToken(labels))
  const input = CallMetrics.tokens({ ...labels, type: "input" })
  const cached = CallMetrics.tokens({ ...labels, type: "cached" })
  const output = CallMetrics.tokens({ ...labels, type: "output" })
  const reasoning = CallMetrics.tokens({ ...labels, type: "reasoning" })
  // Outcomes are names of our own errors: there are few.
  const duration = memoize((outcome) =>
    Exemplars.observing(CallMetrics.duration(outcome === ok ? labels : { ...labels, error_type: outcome }))
  )
  const pace = CallMetrics.timePerOutputToken(labels)
  const calls = memoize2((outcome, fault: Fault.Fault | "none") =>
    CallMetrics.calls({ ...labels, outcome: outcome === ok || outcome === interrupted ? outcome : "error", fault })
  )
  return {
    ended: (
      caller: Caller,
      span: Tracer.Span,
      seconds: number,
      outcome: string,
      fault: Fault.Fault | "none"
    ): void => {
      duration(outcome)(seconds, caller.context, span)
      calls(outcome, fault).updateUnsafe(1, caller.context)
    },
    pace: (caller: Caller, seconds: number): void => pace.updateUnsafe(seconds, caller.context),
    firstToken: (caller: Caller, span: Tracer.Span, seconds: number): void => firstToken(seconds, caller.context, span),
    usage: (caller: Caller, usage: Usage): void => {
      input.updateUnsafe(usage.prompt_tokens, caller.context)
      output.updateUnsafe(usage.completion_tokens, caller.context)
      cached.updateUnsafe(cachedTokens(usage) ?? 0, caller.context)
      reasoning.updateUnsafe(reasoningTokens(usage) ?? 0, caller.context)
    }
  }
}

const attemptMetrics = (labels: CallMetrics.Labels) => {
  const attempts = memoize((outcome) => CallMetrics.attempts({ ...labels, outcome }))
  return (caller: Caller, outcome: string): void => attempts(outcome).updateUnsafe(1, caller.context)
}

const memoize = <M>(make: (outcome: string) => M) => {
  const made = new Map<string, M>()
  return (outcome: string): M => {
    let metric = made.get(outcome)
    if (metric === undefined) {
      metric = make(outcome)
      made.set(outcome, metric)
    }
    return metric
  }
}

const memoize2 = <K extends string, M>(make: (outcome: string, key: K) => M) => {
  const all = new Map<string, M>()
  return (outcome: string, key: K): M => {
    const id = `${outcome} ${key}`
    let one = all.get(id)
    if (one === undefined) all.set(id, one = make(outcome, key))
    return one
  }
}
