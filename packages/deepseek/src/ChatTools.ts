/**
 * A conversation with tools over any `ChatModel`: the model calls tools, their handlers answer, and so on until it answers in text.
 *
 * Tools are those of `effect/ai`: `Tool.make` with schemas, handlers by `Toolkit.toLayer`. The calls of one round run at the same time, and their
 * results go back in the order of the calls. Each turn of the model goes back whole, its thinking too. A call of a tool that is not there, with
 * arguments that are no JSON or of another shape goes back to the model with what is wrong; too many rounds of that in a row, or in all, are
 * an error. A forced `tool_choice` holds for the first round alone, since the model could never answer otherwise.
 *
 * Each run of a handler has a span, `execute_tool <name>`, without arguments and result. Interruption interrupts the handlers.
 *
 * @since 0.1.0
 */
import * as ChatAccumulator from "@ballast/chat/ChatAccumulator"
import type { ChatChunk } from "@ballast/chat/ChatChunk"
import type { ChatCompletion } from "@ballast/chat/ChatCompletion"
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest, Content, Message, ToolCall } from "@ballast/chat/ChatRequest"
import type { Usage } from "@ballast/chat/Usage"
import * as AiError from "effect/ai/AiError"
import type * as Tool from "effect/ai/Tool"
import type * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import type { Concurrency } from "effect/Types"
import * as prompts from "./internal/prompt.ts"
import * as usages from "./internal/usages.ts"

/**
 * The model went on to call tools, or to call them wrongly.
 *
 * @category errors
 * @since 0.1.0
 */
export class TooManyRounds extends Schema.TaggedError<TooManyRounds>()("TooManyRounds", { rounds: Schema.Finite }) {
  override get message() {
    return `The model still calls tools after ${this.rounds} ${this.rounds === 1 ? "round" : "rounds"}`
  }
}

/**
 * The model called a tool that is not there, or with arguments that are no JSON or do not fit, and could not be put right.
 *
 * @category errors
 * @since 0.1.0
 */
export class WrongToolCall extends Schema.TaggedError<WrongToolCall>()("WrongToolCall", {
  issue: Schema.Literals(["unknownTool", "noJson", "mismatch"]),
  /** The tool that was called. */
  tool: Schema.String,
  /** What is wrong: it has been told to the model in these words. */
  detail: Schema.String,
  /** The beginning of the arguments, at most 200 characters. */
  arguments: Schema.String
}) {
  override get message() {
    return `The model called ${this.tool} wrongly: ${this.detail}`
  }
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Calls of the model at most, at least 1. Default 20. */
  readonly rounds?: number | undefined
  /** Rounds in a row with a wrong call that are told to the model, zero or more. Default 3. */
  readonly mistakes?: number | undefined
  /** Handlers that run at the same time. Default: all of a round. */
  readonly concurrency?: Concurrency | undefined
}

/**
 * What is used where `Options` say nothing.
 *
 * @category options
 * @since 0.1.0
 */
export const defaults = { rounds: 20, mistakes: 3, concurrency: "unbounded" } as const

/**
 * The model's answer, and the conversation that led to it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answer {
  readonly completion: ChatCompletion
  /** All messages with the answer as the last one: what the next request goes on with. */
  readonly messages: ChatRequest["messages"]
  readonly rounds: number
  /** Of all rounds, where the service tells it. */
  readonly usage: Usage | undefined
}

/**
 * What a stream gives: the chunks of each round, each call of a tool with its result, and the answer at the end.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  | { readonly _tag: "Chunk"; readonly chunk: ChatChunk }
  | {
    readonly _tag: "Call"
    readonly call: ToolCall
    readonly result: Content
    readonly wrong: WrongToolCall | undefined
  }
  | ({ readonly _tag: "Answer" } & Answer)

type Tools = Record<string, Tool.Any>

/**
 * Why a conversation failed: the model, a handler, or too many rounds or mistakes.
 *
 * @category errors
 * @since 0.1.0
 */
export type LoopError<E, T extends Tools> =
  | E
  | TooManyRounds
  | WrongToolCall
  | AiError.AiError
  | Tool.HandlerError<T[keyof T]>

type Services<T extends Tools> = Tool.HandlerServices<T[keyof T]>

/** A conversation between two rounds. */
interface State {
  readonly messages: ChatRequest["messages"]
  readonly round: number
  readonly mistakes: number
  readonly usage: Usage | undefined
}

interface Called {
  readonly call: ToolCall
  readonly result: Content
  readonly wrong: WrongToolCall | undefined
}

/** What follows a turn of the model. */
interface Step {
  readonly calls: ReadonlyArray<Called>
  readonly next: State | Answer
}

const isAnswer = (next: State | Answer): next is Answer => "completion" in next

const check = ({ mistakes = defaults.mistakes, rounds = defaults.rounds }: Options): void => {
  if (!(Number.isInteger(rounds) && rounds >= 1)) {
    throw new RangeError(`ChatTools: rounds must be a whole number of at least 1, got ${rounds}`)
  }
  if (!(Number.isInteger(mistakes) && mistakes >= 0)) {
    throw new RangeError(`ChatTools: mistakes must be a whole number of at least 0, got ${mistakes}`)
  }
}

const declared = (toolkit: { readonly tools: Tools }): Effect.Effect<ChatRequest["tools"], AiError.AiError> =>
  Effect.forEach(Object.values(toolkit.tools), (tool) =>
    Effect.mapError(
      Effect.fromResult(prompts.toolOf(tool)),
      (reason) => AiError.make({ module: "ChatTools", method: "complete", reason })
    ))

/** The request of a round. The first may force a call. */
const requestOf = (request: ChatRequest, tools: ChatRequest["tools"], { messages, round }: State): ChatRequest => {
  const { tool_choice: choice, ...rest } = request
  const kept = choice === undefined || (round > 1 && choice !== "none") ? undefined : { tool_choice: choice }
  return { ...rest, ...kept, messages, ...(tools == null || tools.length === 0 ? undefined : { tools }) }
}

const wrongCall = (issue: WrongToolCall["issue"], { function: { arguments: given, name } }: ToolCall, detail: string) =>
  new WrongToolCall({ issue, tool: name, detail, arguments: given.slice(0, 200) })

const isWrongParameters = (error: unknown): error is AiError.AiError =>
  AiError.isAiError(error) && error.reason._tag === "ToolParameterValidationError"

const descriptionOf = ({ reason }: AiError.AiError): string => "description" in reason ? reason.description ?? "" : ""

/** Runs the handler of a call. */
const run = <T extends Tools>(
  toolkit: Toolkit.WithHandler<T>,
  call: ToolCall
): Effect.Effect<Called, AiError.AiError | Tool.HandlerError<T[keyof T]>, Services<T>> => {
  const { function: { arguments: given, name }, id } = call
  const wrong = (issue: WrongToolCall["issue"], detail: string): Called => {
    const error = wrongCall(issue, call, detail)
    return { call, result: error.detail, wrong: error }
  }
  if (!Object.hasOwn(toolkit.tools, name)) {
    return Effect.succeed(
      wrong("unknownTool", `There is no tool of this name, only ${Object.keys(toolkit.tools).join(", ")}.`)
    )
  }
  const parameters = prompts.argumentsOf(given)
  if (typeof parameters === "string") return Effect.succeed(wrong("noJson", "The arguments are not JSON."))
  // The toolkit decodes what it is given, whatever that is.
  const results = Stream.unwrap(toolkit.handle(name as keyof T, parameters as Tool.ParametersEncoded<T[keyof T]>, id))
  const last = Stream.runLast(Stream.filter(results, ({ preliminary }) => !preliminary))
  return Effect.catch(
    Effect.flatMap(traced(name, id, last), (result) => {
      if (Option.isNone(result)) return Effect.succeed<Called>({ call, result: "null", wrong: undefined })
      const { encodedResult, failureOrigin, modelOutput, result: value } = result.value
      return failureOrigin === "parameters" && AiError.isAiError(value)
        ? Effect.succeed(wrong("mismatch", `The arguments do not fit: ${descriptionOf(value)}`))
        : Effect.map(outputOf(modelOutput, encodedResult), (result): Called => ({ call, result, wrong: undefined }))
    }),
    (error) =>
      isWrongParameters(error)
        ? Effect.succeed(wrong("mismatch", `The arguments do not fit: ${descriptionOf(error)}`))
        : Effect.fail(error)
  )
}

const outputOf = (
  output: Parameters<typeof prompts.outputOf>[0],
  result: unknown
): Effect.Effect<Content, AiError.AiError> =>
  Effect.mapError(
    Effect.fromResult(prompts.outputOf(output, result)),
    (reason) => AiError.make({ module: "ChatTools", method: "complete", reason })
  )

/** A span that children name as their parent, and that no one can write the arguments to. */
const traced = <A, E, R>(name: string, id: string, effect: Effect.Effect<A, E, R>) =>
  Effect.useSpan(
    `execute_tool ${name}`,
    { attributes: { "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name, "gen_ai.tool.call.id": id } },
    ({ sampled, spanId, traceId }) =>
      Effect.provideService(effect, Tracer.ParentSpan, Tracer.externalSpan({ sampled, spanId, traceId }))
  )

/** What follows a turn of the model: the answer, or the results of its calls and the next round. */
const follow = <T extends Tools>(
  toolkit: Toolkit.WithHandler<T>,
  { concurrency, mistakes = defaults.mistakes, rounds = defaults.rounds }: Options,
  state: State,
  completion: ChatCompletion
): Effect.Effect<Step, LoopError<never, T>, Services<T>> => {
  const { message } = completion.choices[0]
  const usage = usages.sum(state.usage, completion.usage ?? undefined)
  const turn: Message = { ...message, content: message.content ?? null }
  const asked = message.tool_calls ?? []
  if (asked.length === 0) {
    const messages: ChatRequest["messages"] = [...state.messages, turn]
    return Effect.succeed({ calls: [], next: { completion, messages, rounds: state.round, usage } })
  }
  if (state.round === rounds) return Effect.fail(new TooManyRounds({ rounds }))
  return Effect.flatMap(
    Effect.forEach(asked, (call) => run(toolkit, call), { concurrency: concurrency ?? defaults.concurrency }),
    (calls) => {
      const wrong = calls.find(({ wrong }) => wrong !== undefined)?.wrong
      if (wrong !== undefined && state.mistakes === mistakes) return Effect.fail(wrong)
      const results = calls.map(({ call, result }): Message => ({
        role: "tool",
        tool_call_id: call.id,
        content: result
      }))
      return Effect.succeed<Step>({
        calls,
        next: {
          messages: [...state.messages, turn, ...results],
          round: state.round + 1,
          mistakes: wrong === undefined ? 0 : state.mistakes + 1,
          usage
        }
      })
    }
  )
}

const first = ({ messages }: ChatRequest): State => ({ messages, round: 1, mistakes: 0, usage: undefined })

/**
 * Talks with a model until it answers without a call. Tools of the request are replaced by those of the toolkit.
 *
 * **Example** (A tool and its handler)
 *
 * ```ts
 * import { ChatTools, DeepSeek } from "@ballast/deepseek"
 * import { Simulator } from "@ballast/simulator"
 * import { Effect, Layer, Redacted, Schema } from "effect"
 * import { Tool, Toolkit } from "effect/ai"
 *
 * const Tools = Toolkit.make(Tool.make("tide", {
 *   description: "The tide in a port",
 *   parameters: Schema.Struct({ port: Schema.String }),
 *   success: Schema.Struct({ metres: Schema.Finite })
 * }))
 *
 * const program = Effect.gen(function*() {
 *   const { messages, rounds } = yield* ChatTools.complete(yield* DeepSeek.DeepSeek, {
 *     model: "deepseek-flash",
 *     messages: [{ role: "user", content: "What is the tide in Hamburg?" }]
 *   }, yield* Tools)
 *   return [rounds, messages.length] // [2, 4]
 * })
 *
 * await Effect.runPromise(Effect.provide(program, [
 *   DeepSeek.layer({ apiKey: Redacted.make("sk-simulated") }).pipe(Layer.provide(Simulator.layerHttpClient())),
 *   Tools.toLayer({ tide: () => Effect.succeed({ metres: 3.4 }) })
 * ]))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const complete = <E, T extends Tools>(
  model: ChatModel<E>,
  request: ChatRequest,
  toolkit: Toolkit.WithHandler<T>,
  options: Options = {}
): Effect.Effect<Answer, LoopError<E, T>, Services<T>> =>
  Effect.suspend(() => {
    check(options)
    return Effect.flatMap(declared(toolkit), (tools) => {
      const take = (state: State): Effect.Effect<Answer, LoopError<E, T>, Services<T>> =>
        model.complete(requestOf(request, tools, state)).pipe(
          Effect.flatMap((completion) => follow(toolkit, options, state, completion)),
          Effect.flatMap(({ next }) => isAnswer(next) ? Effect.succeed(next) : take(next))
        )
      return take(first(request))
    })
  })

/**
 * The same as it comes: the chunks of each round, the calls and the answer.
 *
 * @category constructors
 * @since 0.1.0
 */
export const stream = <E, T extends Tools>(
  model: ChatModel<E>,
  request: ChatRequest,
  toolkit: Toolkit.WithHandler<T>,
  options: Options = {}
): Stream.Stream<Event, LoopError<E, T>, Services<T>> =>
  Stream.suspend(() => {
    check(options)
    type Events = Stream.Stream<Event, LoopError<E, T>, Services<T>>
    return Stream.unwrap(Effect.map(declared(toolkit), (tools) => {
      const take = (state: State): Events =>
        Stream.suspend(() => {
          const accumulator = ChatAccumulator.make()
          const chunks = Stream.map(model.stream(requestOf(request, tools, state)), (chunk): Event => {
            ChatAccumulator.add(accumulator, chunk)
            return { _tag: "Chunk", chunk }
          })
          const rest = Effect.suspend(() =>
            Effect.map(
              follow(toolkit, options, state, ChatAccumulator.toCompletion(accumulator) ?? nothing),
              ({ calls, next }): Events =>
                Stream.concat(
                  Stream.fromIterable(calls.map((called): Event => ({ _tag: "Call", ...called }))),
                  isAnswer(next) ? Stream.succeed<Event>({ _tag: "Answer", ...next }) : take(next)
                )
            )
          )
          return Stream.concat(chunks, Stream.unwrap(rest))
        })
      return take(first(request))
    }))
  })

/** A stream without chunks. */
const nothing: ChatCompletion = { choices: [{ message: { role: "assistant", content: "" }, finish_reason: "stop" }] }
