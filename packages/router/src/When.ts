/**
 * Conditions of routes, in CEL (Common Expression Language).
 *
 * | variable | fields |
 * |---|---|
 * | `request` | `model`, `stream`, `thinking` (bool; not switched off), `json` (bool), `tools` (count), `messages` (count), `size` (characters of all messages), `max_tokens` (0 when not given) |
 * | `client` | `name`, `labels` (map of strings) |
 * | `headers` | map of strings, names in lower case |
 * | `time` | now, as a timestamp: `time.getHours("Asia/Shanghai") >= 22`, `time.getDayOfWeek() == 0` is Sunday in UTC |
 *
 * A condition is compiled and type-checked once; evaluating it takes a few microseconds. One that asks for a header or a label that the
 * call does not have is false.
 *
 * @see {@link https://github.com/google/cel-spec/blob/master/doc/langdef.md}
 * @since 0.1.0
 */
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import { Environment, type ParseResult } from "@marcbachmann/cel-js"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as CallContext from "./CallContext.ts"

/**
 * A condition that can not be compiled: a wrong syntax, an unknown name, or types that do not fit.
 *
 * @category errors
 * @since 0.1.0
 */
export class WrongCondition extends Schema.TaggedError<WrongCondition>()("WrongCondition", {
  expression: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return `The condition ${JSON.stringify(this.expression)} is wrong: ${this.detail}`
  }
}

/**
 * Whether a request meets a condition.
 *
 * @category models
 * @since 0.1.0
 */
export type When = (request: ChatRequest) => Effect.Effect<boolean>

/** The longest expression that is compiled, in characters. */
const maxLength = 4096

const environment = new Environment({ unlistedVariablesAreDyn: false, limits: { maxAstNodes: 500, maxDepth: 32 } })
  .registerVariable("request", {
    schema: {
      model: "string",
      stream: "bool",
      thinking: "bool",
      json: "bool",
      tools: "int",
      messages: "int",
      size: "int",
      max_tokens: "int"
    }
  })
  .registerVariable("client", { schema: { name: "string", labels: "map<string, string>" } })
  .registerVariable("headers", "map<string, string>")
  .registerVariable("time", "google.protobuf.Timestamp")

const sizeOf = ({ messages }: ChatRequest): number => {
  let size = 0
  for (const { content } of messages) {
    if (typeof content === "string") size += content.length
    else for (const part of content ?? []) if (part.type === "text") size += part.text.length
  }
  return size
}

const whole = (value: number | null | undefined): bigint => BigInt(Math.trunc(Number.isFinite(value) ? value ?? 0 : 0))

/** The variables of a request. CEL's integers are bigints here. */
const requestOf = (request: ChatRequest) => ({
  model: request.model,
  stream: request.stream === true,
  thinking: request.thinking?.type !== "disabled" && request.reasoning_effort !== "none",
  json: request.response_format?.type === "json_object",
  tools: BigInt(request.tools?.length ?? 0),
  messages: BigInt(request.messages.length),
  size: BigInt(sizeOf(request)),
  max_tokens: whole(request.max_tokens)
})

const compile = (expression: string): ParseResult => {
  if (expression.length > maxLength) throw new RangeError(`it is longer than ${maxLength} characters`)
  const parsed = environment.parse(expression)
  const { error, type, valid } = parsed.check()
  if (!valid) throw error ?? new TypeError("its types do not fit")
  if (type !== "bool") throw new TypeError(`it gives ${type}, and should give bool`)
  return parsed
}

/** What an error of the compiler says, without the picture of the place. */
const detailOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split("\n", 1)[0] ?? ""

/**
 * Compiles a condition.
 *
 * **Example** (Long prompts at night)
 *
 * ```ts
 * import { When } from "@ballast/router"
 *
 * When.make("request.size > 20000 && time.getHours(\"Asia/Shanghai\") >= 22")
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (expression: string): Result.Result<When, WrongCondition> =>
  Result.map(
    Result.try({
      try: () => compile(expression),
      catch: (error) => new WrongCondition({ expression: expression.slice(0, maxLength), detail: detailOf(error) })
    }),
    (parsed): When => (request) =>
      Effect.withFiber((fiber) => {
        const { client, headers } = fiber.getRef(CallContext.Current)
        const time = DateTime.toDate(DateTime.makeUnsafe(fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()))
        try {
          return Effect.succeed(parsed({ request: requestOf(request), client, headers, time }) === true)
        } catch {
          // A key that is not there; all other mistakes were found when it was compiled.
          return Effect.succeed(false)
        }
      })
  )
