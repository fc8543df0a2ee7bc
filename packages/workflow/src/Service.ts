/**
 * What a step calls: one interface for HTTP services, models, rules and code of the program.
 *
 * A call is made at least once: after a crash, and for each attempt, it is made again with the same `idempotencyKey`. A service that changes
 * something outside keeps the keys that it has seen.
 *
 * A file describes services under `services:`, by `type`:
 *
 * | type | what it does |
 * |---|---|
 * | `http` | sends the input to a URL, answers with the JSON that comes back |
 * | `model` | asks a chat model, answers with its text, or with JSON that fits a schema |
 * | `rule` | answers with the `then` of the first rule whose `when` is true; null without one |
 * | `approval` | waits until a person decides (see `Runner.approve`) |
 *
 * Their texts may hold expressions, which see `input` (and the same as `output`), `env` and `run`.
 *
 * @since 0.1.0
 */
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest, Message } from "@ballast/chat/ChatRequest"
import * as Outcome from "@ballast/resilience/Outcome"
import * as Field from "@ballast/settings/Field"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Headers from "effect/http/Headers"
import type * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as JsonSchema from "effect/JsonSchema"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaRepresentation from "effect/SchemaRepresentation"
import * as Stream from "effect/Stream"
import type * as Expression from "./Expression.ts"
import * as Template from "./internal/template.ts"

/**
 * A call that failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class ServiceError extends Schema.TaggedError<ServiceError>()("ServiceError", {
  /** What went wrong, without a secret: it is recorded and shown. */
  detail: Schema.String,
  /** Whether the same call may succeed later. */
  retryable: Schema.Boolean
}) {
  override get message() {
    return this.detail
  }
}

/**
 * What a service knows of a call beside its input.
 *
 * @category models
 * @since 0.1.0
 */
export interface CallContext {
  readonly runId: string
  /** The name of the workflow. */
  readonly workflow: string
  /** The id of the step; with `[index]` for an element of a list. */
  readonly stepId: string
  /** From 1. */
  readonly attempt: number
  /** The same for every attempt. */
  readonly idempotencyKey: string
}

/**
 * What a step calls.
 *
 * @category models
 * @since 0.1.0
 */
export interface Service {
  /** Gives JSON. It is interrupted when the step's timeout or the run's deadline has passed. */
  readonly call: (input: unknown, context: CallContext) => Effect.Effect<unknown, ServiceError>
  /** The type of its output, as expressions see it. Default: anything. */
  readonly output?: Expression.Type | undefined
}

const templateText = Schema.NonEmptyString

const Http = Schema.Struct({
  type: Schema.Literal("http"),
  url: templateText.annotate({ description: "Where it is: an http or https URL." }),
  method: Schema.optionalKey(Schema.Literals(["GET", "POST", "PUT", "PATCH", "DELETE"])).annotate({
    description: "Default POST. GET sends no body."
  }),
  headers: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)).annotate({
    description: "Headers, such as authorization: \"Bearer ${env.TOKEN}\"."
  }),
  body: Schema.optionalKey(Schema.Unknown).annotate({ description: "The body. Default: the input." })
})

const Model = Schema.Struct({
  type: Schema.Literal("model"),
  model: Schema.NonEmptyString.annotate({ description: "The model's name." }),
  system: Schema.optionalKey(Schema.String).annotate({ description: "Instructions before the prompt." }),
  prompt: Schema.optionalKey(templateText).annotate({ description: "What is asked. Default: the input." }),
  schema: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown)).annotate({
    description: "JSON Schema of the output. Default: the output is the text."
  }),
  maxTokens: Schema.optionalKey(Schema.Int.check(Schema.isGreaterThan(0))).annotate({
    description: "The longest answer, in tokens."
  }),
  temperature: Schema.optionalKey(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 2 })))
})

const Rule = Schema.Struct({
  type: Schema.Literal("rule"),
  rules: Schema.Array(Schema.Struct({
    when: Schema.optionalKey(Schema.String).annotate({ description: "An expression. Default: always true." }),
    then: Schema.Unknown.annotate({ description: "The output." })
  })).check(Schema.isNonEmpty(), Schema.isMaxLength(1000))
})

const Approval = Schema.Struct({
  type: Schema.Literal("approval"),
  question: Schema.optionalKey(templateText).annotate({ description: "What the person is asked." }),
  deadline: Schema.optionalKey(Field.duration({ minimum: "1s", maximum: "365d" })).annotate({
    description: "How long it waits; then the step fails. Default: as long as the run."
  })
})

/**
 * The schema of a service in a file.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Settings = Schema.Union([Http, Model, Rule, Approval]).annotate({
  settingExpected: "a service of the type http, model, rule or approval"
})

/**
 * @category models
 * @since 0.1.0
 */
export type Settings = typeof Settings.Type

/** A value in the settings of a service that holds expressions. */
interface Templated {
  readonly path: ReadonlyArray<string | number>
  readonly value: unknown
  /** The type that it must have. */
  readonly expected?: string
}

/**
 * The values in the settings of a service that may hold expressions.
 *
 * @category accessors
 * @since 0.1.0
 */
export const templates = (settings: Settings): ReadonlyArray<Templated> => {
  switch (settings.type) {
    case "http":
      return [
        { path: ["url"], value: settings.url, expected: "string" },
        { path: ["headers"], value: settings.headers },
        { path: ["body"], value: settings.body }
      ]
    case "model":
      return [{ path: ["system"], value: settings.system }, { path: ["prompt"], value: settings.prompt }]
    case "rule":
      return settings.rules.flatMap(({ then, when }, index) => [
        ...when === undefined ? [] : [{ path: ["rules", index, "when"], value: when, expected: "bool" }],
        { path: ["rules", index, "then"], value: then }
      ])
    case "approval":
      return [{ path: ["question"], value: settings.question }]
  }
}

const schemaOf = (schema: JsonSchema.JsonSchema) =>
  Result.try({
    try: () => SchemaRepresentation.fromJsonSchemaDocument(JsonSchema.fromSchemaDraft2020_12(schema)),
    catch: (error) => error instanceof Error ? error.message : String(error)
  })

/**
 * What is wrong with the settings of a service beside its expressions; the place is within them.
 *
 * @category accessors
 * @since 0.1.0
 */
export const mistakes = (
  settings: Settings
): ReadonlyArray<{ readonly path: ReadonlyArray<string | number>; readonly reason: string }> => {
  if (settings.type === "http" && !/^(https?:\/\/|\$\{)/.test(settings.url)) {
    return [{ path: ["url"], reason: `found ${JSON.stringify(settings.url)}, expected an http or https URL` }]
  }
  if (settings.type === "model" && settings.schema !== undefined) {
    const schema = schemaOf(settings.schema)
    if (Result.isFailure(schema)) return [{ path: ["schema"], reason: `it is no JSON Schema: ${schema.failure}` }]
  }
  return []
}

const scalars: Readonly<Record<string, Expression.Type>> = {
  string: "string",
  number: "double",
  integer: "double",
  boolean: "bool",
  array: "list<dyn>"
}

const isObject = (u: unknown): u is Readonly<Record<string, unknown>> =>
  typeof u === "object" && u !== null && !Array.isArray(u)

/** The type of values of a JSON Schema: what it says of the fields of objects, without unions and references. */
const typeOf = (schema: unknown): Expression.Type => {
  if (!isObject(schema)) return "dyn"
  const { properties, type } = schema
  if (type === "object" && isObject(properties)) {
    return Object.fromEntries(Object.entries(properties).map(([name, field]) => [name, typeOf(field)]))
  }
  return typeof type === "string" ? scalars[type] ?? "dyn" : "dyn"
}

/**
 * The type of the output of a service, as far as its settings say it.
 *
 * @category accessors
 * @since 0.1.0
 */
export const outputOf = (settings: Settings): Expression.Type | undefined => {
  switch (settings.type) {
    case "model":
      return settings.schema === undefined ? "string" : typeOf(settings.schema)
    case "approval":
      return { approved: "bool", by: "string", comment: "string" }
    default:
      return undefined
  }
}

/**
 * What services in files need of the program.
 *
 * @category options
 * @since 0.1.0
 */
export interface Parts {
  /** What services of the type `model` ask. Default: their calls fail. */
  readonly model?: ChatModel<unknown> | undefined
  /** What services of the type `http` are called by. Default: their calls fail. */
  readonly http?: HttpClient.HttpClient | undefined
  /** What expressions see as `env`. Default: nothing. */
  readonly env?: Readonly<Record<string, string>> | undefined
}

const fail = (detail: string, retryable = false) => Effect.fail(new ServiceError({ detail, retryable }))

/**
 * A service from its settings in a file. One of the type `approval` can not be called: the runner waits in its place.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (settings: Settings, parts: Parts): Service => ({
  output: outputOf(settings),
  call: (input, context): Effect.Effect<unknown, ServiceError> => {
    const scope: Expression.Scope = {
      input,
      output: input,
      steps: {},
      env: parts.env ?? {},
      run: { id: context.runId, workflow: context.workflow }
    }
    const evaluate = (value: unknown) =>
      Effect.mapError(
        Effect.fromResult(Template.evaluate(value, scope)),
        ({ message }) => new ServiceError({ detail: message, retryable: false })
      )
    switch (settings.type) {
      case "http":
        return parts.http === undefined
          ? fail("the program has no HTTP client for services")
          : callHttp(settings, parts.http, evaluate, input, context)
      case "model":
        return parts.model === undefined
          ? fail("the program has no model for services")
          : callModel(settings, parts.model, evaluate, input)
      case "rule":
        return applyRules(settings, evaluate)
      case "approval":
        return fail("an approval can not be called")
    }
  }
})

type Evaluate = (value: unknown) => Effect.Effect<unknown, ServiceError>

const applyRules = Effect.fnUntraced(function*({ rules }: typeof Rule.Type, evaluate: Evaluate) {
  for (const { then, when } of rules) {
    if (when === undefined || (yield* evaluate(when)) === true) return yield* evaluate(then)
  }
  return null
})

/** Bytes of an answer. */
const maxAnswer = 16 * 1024 * 1024

/** Answers that may be others the next time. */
const isPassing = (status: number): boolean => status >= 500 || [408, 409, 425, 429].includes(status)

const readBody = Effect.fnUntraced(function*<E>(stream: Stream.Stream<Uint8Array, E>) {
  const parts: Array<Uint8Array> = []
  let size = 0
  yield* Stream.runForEach(stream, (part) => {
    size += part.length
    parts.push(part)
    return size > maxAnswer ? fail(`its answer is longer than ${maxAnswer} bytes`) : Effect.void
  })
  return new TextDecoder().decode(Buffer.concat(parts))
})

const requestOf = Effect.fnUntraced(function*(
  settings: typeof Http.Type,
  evaluate: Evaluate,
  input: unknown,
  { idempotencyKey }: CallContext
) {
  const url = Template.text(yield* evaluate(settings.url))
  if (!URL.canParse(url) || !/^https?:/.test(url)) return yield* fail("its url is no http or https URL")
  const headers: Record<string, string> = { accept: "application/json", "idempotency-key": idempotencyKey }
  for (const [name, value] of Object.entries(settings.headers ?? {})) {
    headers[name.toLowerCase()] = Template.text(yield* evaluate(value))
  }
  const request = HttpClientRequest.make(settings.method ?? "POST")(url, { headers })
  if (settings.method === "GET") return request
  const body = settings.body === undefined ? input : yield* evaluate(settings.body)
  return HttpClientRequest.bodyText(request, JSON.stringify(body ?? null), "application/json")
})

const callHttp = Effect.fnUntraced(function*(
  settings: typeof Http.Type,
  http: HttpClient.HttpClient,
  evaluate: Evaluate,
  input: unknown,
  context: CallContext
) {
  const request = yield* requestOf(settings, evaluate, input, context)
  // The client's own texts could show a header.
  const lost = ({ _tag }: { readonly _tag: string }) =>
    new ServiceError({ detail: `it can not be reached (${_tag})`, retryable: true })
  // A header may hold a secret, which no span shows.
  const hidden = yield* Headers.CurrentRedactedNames
  const response = yield* http.execute(request).pipe(
    Effect.mapError(({ reason }) => lost(reason)),
    Effect.provideService(Headers.CurrentRedactedNames, [...hidden, ...Object.keys(request.headers)])
  )
  if (response.status < 200 || response.status > 299) {
    return yield* fail(`it answered with status ${response.status}`, isPassing(response.status))
  }
  const text = yield* Effect.mapError(
    readBody(response.stream),
    (error) => error instanceof ServiceError ? error : lost(error.reason)
  )
  return text === "" ? null : yield* parseJson(text, "its answer")
}, Effect.scoped)

const parseJson = (text: string, what: string, retryable = false): Effect.Effect<unknown, ServiceError> =>
  Effect.try({
    try: (): unknown => JSON.parse(text),
    catch: () => new ServiceError({ detail: `${what} is no JSON`, retryable })
  })

const chatOf = Effect.fnUntraced(function*(settings: typeof Model.Type, evaluate: Evaluate, input: unknown) {
  const { maxTokens, model, schema, system, temperature } = settings
  const instructions = [
    ...system === undefined ? [] : [Template.text(yield* evaluate(system))],
    ...schema === undefined ? [] : [`Answer with JSON that fits this JSON Schema: ${JSON.stringify(schema)}`]
  ].join("\n\n")
  const prompt = Template.text(settings.prompt === undefined ? input : yield* evaluate(settings.prompt))
  const asked: Message = { role: "user", content: prompt }
  const request: ChatRequest = {
    model,
    messages: instructions === "" ? [asked] : [{ role: "system", content: instructions }, asked],
    ...schema && { response_format: { type: "json_object" } },
    ...maxTokens !== undefined && { max_tokens: maxTokens },
    ...temperature !== undefined && { temperature }
  }
  return request
})

/** Whether a failed call of a model may succeed later: its own classes of error say it. */
const mayPass = (error: unknown): boolean => {
  const outcome = Outcome.classify(Exit.fail(error))
  return outcome._tag === "Failure" && outcome.retryable
}

const callModel = Effect.fnUntraced(function*(
  settings: typeof Model.Type,
  model: ChatModel<unknown>,
  evaluate: Evaluate,
  input: unknown
) {
  const request = yield* chatOf(settings, evaluate, input)
  const { choices: [{ finish_reason, message }] } = yield* Effect.mapError(
    model.complete(request),
    (error) =>
      new ServiceError({
        detail: error instanceof Error ? error.message : "the call failed",
        retryable: mayPass(error)
      })
  )
  const text = message.content ?? ""
  if (finish_reason === "length") return yield* fail("the model's answer was cut at its longest length")
  if (settings.schema === undefined) return text
  const value = yield* parseJson(text, "the model's answer", true)
  const schema = schemaOf(settings.schema)
  if (Result.isFailure(schema)) return yield* fail(`its schema is no JSON Schema: ${schema.failure}`)
  if (!Schema.is(schema.success)(value)) return yield* fail("the model's answer does not fit its JSON Schema", true)
  return value
})
