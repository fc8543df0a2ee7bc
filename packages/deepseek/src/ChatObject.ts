/**
 * From a `Schema` to a value in one call, over any `ChatModel`.
 *
 * | the request | the schema | the model is asked by |
 * |---|---|---|
 * | does not think, has no tools | objects whose fields are all required, no `null` | a strict tool, which it must call |
 * | any other | any | JSON mode, with the schema in the system message |
 *
 * A value that is no object is asked for in a field `value`. Bounds that strict mode does not have (lengths, formats) are left out there, and
 * checked when the value is decoded, as everything is. An answer that is no such value is asked for again, at most `attempts` in all: an
 * empty one as it was, one that was cut at `max_tokens` with twice as many, any other with the answer and what is wrong with it. Each
 * further attempt is a call of the model's own, with its policies.
 *
 * @since 0.1.0
 */
import * as ChatAccumulator from "@ballast/chat/ChatAccumulator"
import type { ChatChunk } from "@ballast/chat/ChatChunk"
import type { ChatCompletion, Choice } from "@ballast/chat/ChatCompletion"
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import type { Usage } from "@ballast/chat/Usage"
import type * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import * as Stream from "effect/Stream"
import * as objectForm from "./internal/objectForm.ts"
import * as partialJson from "./internal/partialJson.ts"
import * as usages from "./internal/usages.ts"

/**
 * The model gave no value of the schema, as often as it was asked.
 *
 * **Details**
 *
 * | issue | the last answer |
 * |---|---|
 * | `empty` | said nothing |
 * | `cut` | was cut off at `max_tokens` |
 * | `filtered` | was withheld by the service; it is not asked for again |
 * | `noJson` | is no JSON; `actual` is its beginning |
 * | `mismatch` | is JSON, but `actual` came at `path` in place of what is `expected` |
 *
 * @category errors
 * @since 0.1.0
 */
export class ObjectError extends Schema.TaggedError<ObjectError>()("ObjectError", {
  issue: Schema.Literals(["empty", "cut", "filtered", "noJson", "mismatch"]),
  /** Where in the value, such as `items[2].price`; empty for the value itself. */
  path: Schema.String,
  expected: Schema.String,
  /** What came instead: the beginning of its JSON, at most 200 characters. */
  actual: Schema.String,
  /** How many answers were asked for. */
  attempts: Schema.Finite
}) {
  override get message() {
    const where = this.path === "" ? "" : ` at ${this.path}`
    const asked = this.attempts === 1 ? "" : ` (the last of ${this.attempts} answers)`
    switch (this.issue) {
      case "empty":
        return `The model's answer is empty${asked}`
      case "cut":
        return `The model's answer was cut off at max_tokens${asked}`
      case "filtered":
        return "The service withheld the model's answer"
      case "noJson":
        return `The model's answer is no JSON: ${this.actual}${asked}`
      case "mismatch":
        return `The model's answer does not fit${where}: ${this.expected}, got ${this.actual}${asked}`
    }
  }
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Answers that are asked for at most, at least 1. Default 3. */
  readonly attempts?: number | undefined
  /** What the value is called to the model. Default: the schema's identifier. */
  readonly name?: string | undefined
}

/**
 * What is used where `Options` say nothing.
 *
 * @category options
 * @since 0.1.0
 */
export const defaults = { attempts: 3 } as const

/**
 * A value, and what it took.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answer<out A> {
  readonly value: A
  /** Its JSON, as the model wrote it. */
  readonly json: unknown
  /** The answer that the value was in. */
  readonly completion: ChatCompletion
  readonly attempts: number
  /** Of all attempts, where the service tells it. */
  readonly usage: Usage | undefined
}

/**
 * A value of JSON as far as it has come.
 *
 * @category models
 * @since 0.1.0
 */
export type Partially<I> = I extends ReadonlyArray<infer Item> ? ReadonlyArray<Partially<Item>>
  : I extends object ? { readonly [K in keyof I]?: Partially<I[K]> }
  : I

/**
 * What a stream gives: the value as far as it has come, again and again, each in place of the one before; then the answer.
 *
 * @category models
 * @since 0.1.0
 */
export type Part<A, I> =
  | { readonly _tag: "Partial"; readonly value: Partially<I> }
  | ({ readonly _tag: "Whole" } & Answer<A>)

interface Asker<A, R> {
  readonly form: objectForm.Form
  readonly attempts: number
  readonly decode: (json: unknown) => Effect.Effect<A, Schema.SchemaError, R>
}

const asker = <S extends Schema.Constraint>(
  schema: S,
  options: Options = {}
): Asker<S["Type"], S["DecodingServices"]> => {
  const { attempts = defaults.attempts, name } = options
  if (!(Number.isInteger(attempts) && attempts >= 1)) {
    throw new RangeError(`ChatObject: attempts must be a whole number of at least 1, got ${attempts}`)
  }
  const codec = Schema.toCodecJson(schema)
  return { form: objectForm.make(codec, name), attempts, decode: Schema.decodeUnknownEffect(codec) }
}

type Issue = Omit<ConstructorParameters<typeof ObjectError>[0], "attempts" | "_tag">

const whole = (issue: Issue["issue"], actual = ""): Issue => ({
  issue,
  path: "",
  expected: "a value of the schema",
  actual
})

const excerpt = (json: unknown): string => {
  const text = JSON.stringify(json) ?? "nothing"
  return text.length > 200 ? `${text.slice(0, 200)}…` : text
}

const format = SchemaIssue.makeFormatterStandardSchemaV1()

/** Where a value does not fit, and what stands there. */
const mismatch = (error: Schema.SchemaError, json: unknown): Issue => {
  const [first] = format(error.issue).issues
  const steps = (first?.path ?? []).map((step) => typeof step === "object" ? step.key : step)
  let actual = json
  let path = ""
  for (const step of steps) {
    actual = typeof actual === "object" && actual !== null ? Reflect.get(actual, step) : undefined
    path += typeof step === "number" ? `[${step}]` : path === "" ? String(step) : `.${String(step)}`
  }
  return { issue: "mismatch", path, expected: first?.message ?? error.message, actual: excerpt(actual) }
}

/** What an answer is: the value, or what is wrong with it. */
const judge = <A, R>(
  { decode, form }: Asker<A, R>,
  { finish_reason, message }: Choice
): Effect.Effect<Pick<Answer<A>, "value" | "json">, Issue, R> => {
  if (finish_reason === "content_filter") return Effect.fail(whole("filtered"))
  const text = objectForm.textOf(form, message)
  if (finish_reason === "length") return Effect.fail(whole("cut", excerpt(text)))
  if (text === "") return Effect.fail(whole("empty"))
  const parsed = Result.try((): unknown => JSON.parse(text))
  if (Result.isFailure(parsed)) return Effect.fail(whole("noJson", excerpt(text)))
  const json = objectForm.unwrap(form, parsed.success)
  return Effect.mapBoth(decode(json), {
    onSuccess: (value) => ({ value, json }),
    onFailure: (error) => mismatch(error, json)
  })
}

/** One attempt among several: what was asked, and what the attempts before it used. */
interface Turn {
  readonly number: number
  readonly request: ChatRequest
  readonly usage: Usage | undefined
}

const first = ({ form }: Asker<unknown, unknown>, request: ChatRequest): Turn => ({
  number: 1,
  request: objectForm.ask(form, request),
  usage: undefined
})

/** What follows a completion: the answer, or the next turn. */
const follow = <A, R>(
  self: Asker<A, R>,
  { number, request, usage: before }: Turn,
  completion: ChatCompletion
): Effect.Effect<Answer<A> | Turn, ObjectError, R> => {
  const [choice] = completion.choices
  const usage = usages.sum(before, completion.usage ?? undefined)
  return Effect.matchEffect(judge(self, choice), {
    onSuccess: (found) => Effect.succeed({ ...found, completion, attempts: number, usage }),
    onFailure: (issue) =>
      number === self.attempts || issue.issue === "filtered"
        ? Effect.fail(new ObjectError({ ...issue, attempts: number }))
        : Effect.succeed({ number: number + 1, request: again(request, choice, issue), usage })
  })
}

const again = (request: ChatRequest, choice: Choice, issue: Issue): ChatRequest => {
  switch (issue.issue) {
    case "empty":
    case "filtered":
      return request
    case "cut":
      return objectForm.longer(request)
    case "noJson":
      return objectForm.corrected(request, choice, "The answer is not JSON.")
    case "mismatch": {
      const where = issue.path === "" ? "" : ` at ${issue.path}`
      return objectForm.corrected(
        request,
        choice,
        `The answer does not fit the schema${where}: ${issue.expected}, got ${issue.actual}`
      )
    }
  }
}

const isTurn = (next: Answer<unknown> | Turn): next is Turn => "request" in next

/**
 * Asks a model for a value of a schema.
 *
 * **Example** (A value from a text)
 *
 * ```ts
 * import { ChatObject, DeepSeek } from "@ballast/deepseek"
 * import { Simulator } from "@ballast/simulator"
 * import { Effect, Layer, Redacted, Schema } from "effect"
 *
 * const Port = Schema.Struct({ name: Schema.String, country: Schema.String })
 *
 * const program = Effect.gen(function*() {
 *   const { usage, value } = yield* ChatObject.complete(yield* DeepSeek.DeepSeek, Port, {
 *     model: "deepseek-flash",
 *     messages: [{ role: "user", content: "The largest port of Germany" }]
 *   })
 *   return [value.name, value.country, usage?.total_tokens]
 * })
 *
 * await Effect.runPromise(Effect.provide(program, DeepSeek.layer({ apiKey: Redacted.make("sk-simulated") }).pipe(
 *   Layer.provide(Simulator.layerHttpClient())
 * )))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const complete = <E, S extends Schema.Constraint>(
  model: ChatModel<E>,
  schema: S,
  request: ChatRequest,
  options?: Options
): Effect.Effect<Answer<S["Type"]>, E | ObjectError, S["DecodingServices"]> =>
  Effect.suspend(() => {
    const self = asker(schema, options)
    const take = (turn: Turn): Effect.Effect<Answer<S["Type"]>, E | ObjectError, S["DecodingServices"]> =>
      model.complete(turn.request).pipe(
        Effect.flatMap((completion) => follow(self, turn, completion)),
        Effect.flatMap((next) => isTurn(next) ? take(next) : Effect.succeed(next))
      )
    return take(first(self, request))
  })

/** A text is read again when it has grown by this share, so that all reading is linear in it. */
const growth = 1 / 64

/** The value as far as it has come, of the pieces of one answer. */
const growing = <I>(form: objectForm.Form, accumulator: ChatAccumulator.ChatAccumulator) => {
  let text = ""
  let read = 0
  let last = ""
  return (chunks: Arr.NonEmptyReadonlyArray<ChatChunk>): ReadonlyArray<Part<never, I>> => {
    for (const chunk of chunks) {
      ChatAccumulator.add(accumulator, chunk)
      const delta = chunk.choices[0]?.delta
      text += (delta?.content ?? "") + (delta?.tool_calls?.[0]?.function?.arguments ?? "")
    }
    if (text.length <= read * (1 + growth)) return []
    read = text.length
    const value = objectForm.unwrap(form, partialJson.parse(objectForm.unfenced(text)))
    const written = JSON.stringify(value)
    if (value === undefined || written === last) return []
    last = written
    // As far as it has come, and unchecked, as the type says.
    return [{ _tag: "Partial", value: value as Partially<I> }]
  }
}

/**
 * Asks a model for a value of a schema, and gives the value as it comes.
 *
 * **Details**
 *
 * Partial values are in the encoded form and unchecked: a field may still be missing, a text unfinished. When an answer is asked for again, the
 * next partial value begins anew. The last element is the whole answer, decoded.
 *
 * @category constructors
 * @since 0.1.0
 */
export const stream = <E, S extends Schema.Constraint>(
  model: ChatModel<E>,
  schema: S,
  request: ChatRequest,
  options?: Options
): Stream.Stream<Part<S["Type"], S["Encoded"]>, E | ObjectError, S["DecodingServices"]> =>
  Stream.suspend(() => {
    type Parts = Stream.Stream<Part<S["Type"], S["Encoded"]>, E | ObjectError, S["DecodingServices"]>
    const self = asker(schema, options)
    const take = (turn: Turn): Parts =>
      Stream.suspend(() => {
        const accumulator = ChatAccumulator.make()
        const grow = growing<S["Encoded"]>(self.form, accumulator)
        const partial = Stream.mapAccumArray(
          model.stream(turn.request),
          () => undefined,
          (state, chunks) => [state, grow(chunks)] as const
        )
        const rest = Effect.suspend(() => {
          const completion = ChatAccumulator.toCompletion(accumulator) ?? nothing
          return Effect.map(
            follow(self, turn, completion),
            (next): Parts => isTurn(next) ? take(next) : Stream.succeed({ _tag: "Whole", ...next })
          )
        })
        return Stream.concat(partial, Stream.unwrap(rest))
      })
    return take(first(self, request))
  })

/** A stream without chunks. */
const nothing: ChatCompletion = { choices: [{ message: { role: "assistant", content: "" }, finish_reason: "stop" }] }
