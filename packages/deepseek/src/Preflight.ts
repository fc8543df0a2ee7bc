/**
 * Refuses requests that DeepSeek would surely refuse, before they are sent: with the field at fault, and what would be right.
 *
 * | path | rule |
 * |---|---|
 * | `temperature`, `top_p`, `max_tokens`, `top_logprobs` | 0 to 2; above 0, to 1; 1 to 393,216; 0 to 20 with `logprobs` |
 * | `stop`, `user_id` | at most 16 texts; at most 512 characters |
 * | `response_format` | no `json_schema`; with `json_object`, the word "json" somewhere in the messages |
 * | `tool_choice` | `required` and a named function only while not thinking |
 * | `tools` | functions; each name unique, 1 to 128 of `a-z A-Z 0-9 _ -` |
 * | `tools[…].function.parameters` | where strict tools are asked for: all of them, in the documented part of JSON Schema |
 * | `messages` | tool results answer the calls before them, all of them; an assistant turn says something |
 *
 * What only may be refused is sent: model names, the length of the context, images. A check takes time in proportion to the request.
 *
 * @since 0.1.0
 */
import * as ChatError from "@ballast/chat/ChatError"
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Effect from "effect/Effect"
import { hasProperty, isNumber, isObject, isString } from "effect/Predicate"
import * as Stream from "effect/Stream"
import { isThinking } from "./Conversation.ts"
import { namesJson } from "./internal/namesJson.ts"
import * as strictSchema from "./internal/strictSchema.ts"

/**
 * What is wrong with a request: the field, and what would be right.
 *
 * @category models
 * @since 0.1.0
 */
export interface Problem {
  readonly path: string
  readonly detail: string
}

/**
 * Options of the check.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Whether `strict` of a tool is in force where the request is sent: on DeepSeek's beta path. Default `false`. */
  readonly strict?: boolean | undefined
}

type Rule = (request: ChatRequest) => Problem | undefined

const at = (path: string, detail: string): Problem => ({ path, detail })

/** The number of a field; undefined where it is left out, or has another type, which the service tells in its own words. */
const numberIn = (request: ChatRequest, name: keyof ChatRequest): number | undefined => {
  const value = request[name]
  return isNumber(value) ? value : undefined
}

const range = (name: keyof ChatRequest, holds: (value: number) => boolean, right: string): Rule => (request) => {
  const value = numberIn(request, name)
  return value === undefined || holds(value) ? undefined : at(name, `must be ${right}, is ${value}`)
}

const logprobs: Rule = (request) =>
  numberIn(request, "top_logprobs") !== undefined && request.logprobs !== true
    ? at("top_logprobs", "needs logprobs: true")
    : undefined

const stop: Rule = ({ stop }) =>
  Array.isArray(stop) && stop.length > 16 ? at("stop", `must have at most 16 texts, has ${stop.length}`) : undefined

const userId: Rule = ({ user_id: id }) =>
  isString(id) && id.length > 512 && Array.from(id).length > 512
    ? at("user_id", "must have at most 512 characters")
    : undefined

const format: Rule = ({ messages, response_format: format }) => {
  const type: unknown = isObject(format) ? format.type : undefined
  if (type === "json_schema") {
    return at("response_format.type", "must be text or json_object, since DeepSeek's chat has no json_schema")
  }
  return type === "json_object" && Array.isArray(messages) && !messages.some(namesJson)
    ? at("messages", "must have the word \"json\" somewhere when response_format is json_object")
    : undefined
}

const toolChoice: Rule = (request) => {
  const { tool_choice: choice } = request
  const isForced = choice === "required" || isObject(choice)
  return isForced && isThinking(request)
    ? at("tool_choice", "can not force a call while thinking; set thinking: { type: \"disabled\" }, or \"auto\"")
    : undefined
}

const toolsOf = ({ tools }: ChatRequest): ReadonlyArray<unknown> => Array.isArray(tools) ? tools : []

const functionOf = (tool: unknown) =>
  hasProperty(tool, "function") && isObject(tool.function) ? tool.function : undefined

const tools: Rule = (request) => {
  const names = new Set<unknown>()
  for (const [index, tool] of toolsOf(request).entries()) {
    if (hasProperty(tool, "type") && tool.type !== "function") {
      return at(`tools[${index}].type`, "must be \"function\": the service has no other tools here")
    }
    const named = functionOf(tool)
    const name = hasProperty(named, "name") ? named.name : undefined
    if (!isString(name)) continue
    const path = `tools[${index}].function.name`
    if (!/^[a-zA-Z0-9_-]{1,128}$/.test(name)) {
      return at(path, "must be 1 to 128 letters, digits, underscores and hyphens")
    }
    if (names.has(name)) return at(path, `must be unique, and ${name} stands twice`)
    names.add(name)
  }
  return undefined
}

const isStrictTool = (tool: unknown): boolean => {
  const named = functionOf(tool)
  return hasProperty(named, "strict") && named.strict === true
}

/**
 * What is wrong with the strict tools of a request; undefined where there are none, or they are as documented.
 *
 * @category checks
 * @since 0.1.0
 */
export const strictProblem = (request: ChatRequest): Problem | undefined => {
  const all = toolsOf(request)
  if (!all.some(isStrictTool)) return undefined
  for (const [index, tool] of all.entries()) {
    const path = `tools[${index}].function`
    if (!isStrictTool(tool)) return at(`${path}.strict`, "must be true for all tools when it is for one")
    const named = functionOf(tool)
    const parameters = hasProperty(named, "parameters") ? named.parameters : undefined
    const found = parameters == null ? undefined : strictSchema.problem(parameters)
    if (found !== undefined) return at(`${path}.parameters${found.path}`, found.detail)
  }
  return undefined
}

/**
 * Whether a request has strict tools that can be strict.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isStrict = (request: ChatRequest): boolean =>
  toolsOf(request).some(isStrictTool) && strictProblem(request) === undefined

/** Tool results answer the calls of the assistant turn before them, and each call is answered before the next turn. */
const messages: Rule = ({ messages: given }) => {
  const all: ReadonlyArray<unknown> = Array.isArray(given) ? given : []
  let open = new Set<string>()
  let caller = -1
  const unanswered = () =>
    open.size === 0
      ? undefined
      : at(`messages[${caller}].tool_calls`, `must each be answered by a tool message; ${[...open].join(", ")} is not`)
  for (const [index, message] of all.entries()) {
    if (!hasProperty(message, "role")) return undefined
    if (message.role === "tool") {
      if (caller === -1) return at(`messages[${index}]`, "must follow an assistant message whose tool_calls it answers")
      if (hasProperty(message, "tool_call_id") && isString(message.tool_call_id)) open.delete(message.tool_call_id)
      continue
    }
    const missing = unanswered()
    if (missing !== undefined) return missing
    const calls = message.role === "assistant" ? callsOf(message) : []
    if (message.role === "assistant" && calls.length === 0 && saysNothing(message)) {
      return at(`messages[${index}].content`, "must have text, or the message must have tool_calls")
    }
    caller = calls.length > 0 ? index : -1
    open = new Set(calls)
  }
  return unanswered()
}

const callsOf = (message: object): ReadonlyArray<string> => {
  if (!hasProperty(message, "tool_calls") || !Array.isArray(message.tool_calls)) return []
  return message.tool_calls.flatMap((call) => hasProperty(call, "id") && isString(call.id) ? [call.id] : [])
}

const saysNothing = (message: object): boolean => {
  if (hasProperty(message, "prefix") && message.prefix === true) return false
  const content = hasProperty(message, "content") ? message.content : undefined
  return content == null || content === ""
}

/** TypeScript lets a variable of the environment through that is not set. */
const model: Rule = ({ model }) => isString(model) ? undefined : at("model", "must be a text")

const rules: ReadonlyArray<Rule> = [
  model,
  range("temperature", (value) => value >= 0 && value <= 2, "from 0 to 2"),
  range("top_p", (value) => value > 0 && value <= 1, "above 0, and at most 1"),
  range("max_tokens", (value) => value >= 1 && value <= 393_216, "from 1 to 393216"),
  range("top_logprobs", (value) => value >= 0 && value <= 20, "from 0 to 20"),
  logprobs,
  stop,
  userId,
  format,
  toolChoice,
  tools,
  messages
]

/**
 * What the service would surely refuse; undefined where nothing is known to be wrong.
 *
 * @category checks
 * @since 0.1.0
 */
export const check = (request: ChatRequest, options?: Options): Problem | undefined => {
  for (const rule of rules) {
    const problem = rule(request)
    if (problem !== undefined) return problem
  }
  return options?.strict === true ? strictProblem(request) : undefined
}

/**
 * The error of a problem: a `ClientError` with an `InvalidRequest`, which has the path.
 *
 * @category errors
 * @since 0.1.0
 */
export const toError = ({ detail, path }: Problem): ChatError.ClientError =>
  new ChatError.ClientError({
    reason: new ChatError.InvalidRequest({ status: 400, detail: `${path} ${detail}`, stated: true, path })
  })

/**
 * Checks each request of a model before the model gets it.
 *
 * **Example** (Checking before a model of one's own)
 *
 * ```ts
 * import { Preflight } from "@ballast/deepseek"
 *
 * Preflight.check({
 *   model: "deepseek-flash",
 *   messages: [{ role: "user", content: "Three ports, please." }],
 *   response_format: { type: "json_object" }
 * })
 * // { path: "messages", detail: 'must have the word "json" somewhere when response_format is json_object' }
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const make = (options?: Options) => <E>(self: ChatModel<E>): ChatModel<E | ChatError.ClientError> => {
  const checked = (request: ChatRequest): ChatError.ClientError | undefined => {
    const problem = check(request, options)
    return problem && toError(problem)
  }
  return {
    complete: (request) =>
      Effect.suspend((): ReturnType<ChatModel<E | ChatError.ClientError>["complete"]> => {
        const error = checked(request)
        return error === undefined ? self.complete(request) : Effect.fail(error)
      }),
    stream: (request) =>
      Stream.suspend((): ReturnType<ChatModel<E | ChatError.ClientError>["stream"]> => {
        const error = checked(request)
        return error === undefined ? self.stream(request) : Stream.fail(error)
      })
  }
}
