/** Reads answers: looks at the fields in use, repairs what is needed in place, and leaves everything else as it came. */
import { limits } from "../Limits.ts"
import { parse as parseExactly, Unreadable } from "../WireText.ts"
import { isNothing } from "./message.ts"

/** Parsed JSON that is repaired in place. */
export type Json = Record<string, unknown>

/** Whether a repair has changed what other readers of the text rely on, so that the text must not be passed on. */
export interface Repairs {
  changed: boolean
}

export const isObject = (u: unknown): u is Json => typeof u === "object" && u !== null && !Array.isArray(u)

/** Arguments of a tool as values, which are read as text. */
const holdsValues = /"(?:arguments|input)"\s*:\s*[[{]/

/** Parses a text that holds one object. An object that states an error is unreadable as an answer. */
export const parse = (text: string): Json | Unreadable => {
  let json: unknown
  try {
    json = holdsValues.test(text) ? parseExactly(text) : JSON.parse(text)
  } catch {
    return new Unreadable(undefined, text.trim() === "" ? "nothing but blank space" : "not JSON")
  }
  if (!isObject(json)) return new Unreadable(json, "JSON that is no object")
  const { error } = json
  return error === undefined || error === false || isNothing(error) ? json : new Unreadable(json, "an error")
}

/** Fields beside the choices. None of them can cost an answer: what has another type is read as missing. */
export const head = (json: Json): void => {
  textOrNull(json, "id")
  textOrNull(json, "object")
  textOrNull(json, "model")
  textOrNull(json, "system_fingerprint")
  numberOrNull(json, "created")
  const { usage } = json
  if (isObject(usage)) readUsage(usage)
  else if (usage != null) json["usage"] = null
}

const readUsage = (usage: Json): void => {
  if (typeof usage["prompt_tokens"] !== "number") usage["prompt_tokens"] = numberOr(usage["input_tokens"], 0)
  if (typeof usage["completion_tokens"] !== "number") usage["completion_tokens"] = numberOr(usage["output_tokens"], 0)
  numberOrNull(usage, "total_tokens")
  numberOrNull(usage, "prompt_cache_hit_tokens")
  numberOrNull(usage, "prompt_cache_miss_tokens")
  detail(usage, "prompt_tokens_details", "cached_tokens")
  detail(usage, "completion_tokens_details", "reasoning_tokens")
}

const detail = (usage: Json, name: string, field: string): void => {
  const details = usage[name]
  if (isObject(details)) numberOrNull(details, field)
  else if (details != null) usage[name] = null
}

const numberOr = (value: unknown, otherwise: number): number => typeof value === "number" ? value : otherwise

const numberOrNull = (json: Json, name: string): void => {
  const value = json[name]
  if (typeof value !== "number" && value != null) json[name] = null
}

const textOrNull = (json: Json, name: string): void => {
  const value = json[name]
  if (typeof value !== "string" && value != null) json[name] = null
}

/** The choices that are objects, or why there are none. */
export const choicesOf = (json: Json, repairs: Repairs): Array<Json> | Unreadable => {
  const { choices } = json
  if (!Array.isArray(choices)) return new Unreadable(json, "JSON without choices")
  if (choices.length > limits.choices) return new Unreadable(json, `more than ${limits.choices} choices`)
  if (choices.every(isObject)) return choices
  const objects = choices.filter(isObject)
  json["choices"] = objects
  repairs.changed = true
  return objects
}

/** Texts that some hosts send as finish reason while the answer is not finished. */
const noReason = /^\s*(?:null|none|undefined)?\s*$/i

/** The fields of a choice beside its message. */
export const choice = (choice: Json, repairs: Repairs): void => {
  numberOrNull(choice, "index")
  const { finish_reason: reason, logprobs } = choice
  if (reason != null && (typeof reason !== "string" || noReason.test(reason))) {
    choice["finish_reason"] = null
    repairs.changed = true
  }
  if (logprobs != null && !isLogprobs(logprobs)) choice["logprobs"] = null
}

const isLogprobs = (logprobs: unknown): boolean =>
  isObject(logprobs) && isTokens(logprobs["content"]) && isTokens(logprobs["reasoning_content"])

const isTokens = (tokens: unknown): boolean => tokens == null || Array.isArray(tokens) && tokens.every(isToken)

const isToken = (token: unknown): boolean =>
  isObject(token) && typeof token["token"] === "string" && typeof token["logprob"] === "number" &&
  (token["bytes"] == null || Array.isArray(token["bytes"])) && isTokens(token["top_logprobs"])

/** What a message says in text. Some services give content as parts, or name the reasoning `reasoning`. */
export const says = (message: Json, repairs: Repairs): void => {
  const { content, reasoning, reasoning_content } = message
  if (typeof reasoning_content !== "string") {
    if (reasoning_content != null) message["reasoning_content"] = null
    if (typeof reasoning === "string") message["reasoning_content"] = reasoning
  }
  if (typeof content !== "string" && content != null) {
    joinParts(message, content)
    repairs.changed = true
  }
}

const joinParts = (message: Json, content: unknown): void => {
  const parts = Array.isArray(content) ? content : isPart(content) ? [content] : undefined
  const thought = parts?.filter(isObject).flatMap(({ thinking }) => textsOf(thinking)).join("") ?? ""
  message["content"] = parts?.flatMap(textsOf).join("") ?? JSON.stringify(content)
  if (thought !== "" && typeof message["reasoning_content"] !== "string") message["reasoning_content"] = thought
}

/** Whether an object is a part of a content, and no value that a service has parsed. */
const isPart = (content: unknown): boolean =>
  isObject(content) && typeof content["type"] === "string" && ("text" in content || "thinking" in content)

/** The texts in a part, or in a list of parts. */
const textsOf = (part: unknown): ReadonlyArray<string> => {
  if (typeof part === "string") return [part]
  if (Array.isArray(part)) return part.flatMap((part) => isObject(part) ? textsOf(part) : [])
  return isObject(part) && typeof part["text"] === "string" ? [part["text"]] : []
}

/** The tool calls of a message that are objects; the field may be one of them. */
export const toolCallsOf = (message: Json, repairs: Repairs): ReadonlyArray<Json> => {
  const { tool_calls: calls } = message
  if (calls == null) return []
  if (Array.isArray(calls) && calls.every(isObject)) return calls
  const objects = (Array.isArray(calls) ? calls : [calls]).filter(isObject)
  message["tool_calls"] = objects.length === 0 ? null : objects
  repairs.changed = true
  return objects
}

/** The arguments of a call's function as text, however they come. */
export const argumentsOf = (call: Json, repairs: Repairs): string => {
  const { function: named } = call
  if (!isObject(named) || named["arguments"] == null) return ""
  const { arguments: given } = named
  if (typeof given === "string") return given
  repairs.changed = true
  return named["arguments"] = JSON.stringify(given)
}

/** An id for a call that came without one: a message that answers the call has to name it. */
export const makeId = (index: number, answer: unknown): string =>
  typeof answer === "string" && answer !== "" ? `call_${index}_${answer}` : `call_${index}`
