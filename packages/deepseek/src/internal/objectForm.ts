/** How a model is asked for a value of a schema, and where the value stands in its answer. */
import type { AssistantMessage, Choice } from "@ballast/chat/ChatCompletion"
import type { ChatRequest, Message } from "@ballast/chat/ChatRequest"
import type * as JsonSchema from "effect/JsonSchema"
import { isString } from "effect/Predicate"
import * as Schema from "effect/Schema"
import { isThinking } from "../Conversation.ts"
import * as strictSchema from "./strictSchema.ts"

/** Fields of a JSON Schema. */
type Fields = JsonSchema.JsonSchema

/** How a value of one schema is asked for. */
export interface Form {
  readonly name: string
  /** What the answer must be: always an object. */
  readonly schema: Fields
  /** The same in strict mode's part of JSON Schema; undefined where that can't say it. */
  readonly strict: Fields | undefined
  /** Whether the value stands in the field `value`, since it is no object itself. */
  readonly isWrapped: boolean
}

const isFields = (u: unknown): u is Fields => typeof u === "object" && u !== null && !Array.isArray(u)
const fieldsIn = (u: unknown): Fields => isFields(u) ? u : {}

export const make = (codec: Schema.Constraint, name: string | undefined): Form => {
  const { definitions, schema: given } = Schema.toJsonSchemaDocument(codec)
  const reference = isString(given["$ref"]) ? given["$ref"].slice("#/$defs/".length) : undefined
  const found = reference === undefined ? given : fieldsIn(definitions[reference])
  const isWrapped = found["type"] !== "object" && found["properties"] === undefined
  const body: Fields = isWrapped
    ? { type: "object", properties: { value: given }, required: ["value"], additionalProperties: false }
    : found
  // The definition that stands for the whole is needed where something within refers to it.
  const others = Object.entries(definitions).filter(([key]) => key !== reference)
  const isRecursive = reference !== undefined &&
    JSON.stringify([found, others]).includes(JSON.stringify(`#/$defs/${reference}`))
  const kept = isRecursive ? definitions : Object.fromEntries(others)
  const schema = Object.keys(kept).length === 0 ? body : { ...body, $defs: kept }
  const strict = fieldsIn(stricter(schema))
  return {
    name: nameOf(name ?? reference?.replace(/Encoded$/, "")),
    schema,
    strict: strictSchema.problem(strict) === undefined ? strict : undefined,
    isWrapped
  }
}

const nameOf = (given: string | undefined): string => {
  const name = (given ?? "").replace(/[^a-zA-Z0-9_-]+/g, "_").slice(0, 64)
  return name === "" || name === "_" ? "answer" : name
}

/** Bounds that strict mode does not have. The value is checked when it is decoded. */
const unchecked = new Set(["minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "contentMediaType"])

/** A schema that lets nothing further into objects, without the bounds that strict mode does not have. */
const stricter = (schema: unknown): unknown => {
  if (Array.isArray(schema)) return schema.map(stricter)
  if (!isFields(schema)) return schema
  const made: Record<string, unknown> = {}
  for (const [keyword, part] of Object.entries(schema)) {
    if (unchecked.has(keyword) || (keyword === "format" && !strictSchema.isFormat(part))) continue
    made[keyword] = keyword === "properties" || keyword === "$defs"
      ? Object.fromEntries(Object.entries(fieldsIn(part)).map(([name, part]) => [name, stricter(part)]))
      : keyword === "enum" || keyword === "const" || keyword === "required"
      ? part
      : stricter(part)
  }
  // A map of any names stays one, which strict mode does not have.
  return isFields(schema["properties"]) ? { ...made, additionalProperties: false } : made
}

/** Whether a strict tool is what the request's model can be made to call. */
const isTool = (form: Form, request: ChatRequest): boolean =>
  form.strict !== undefined && !isThinking(request) && (request.tools ?? []).length === 0

/** The request that asks for the value. */
export const ask = (form: Form, request: ChatRequest): ChatRequest => {
  if (isTool(form, request) && form.strict !== undefined) {
    const { name } = form
    return {
      ...request,
      tools: [{
        type: "function",
        function: { name, description: "Gives the answer.", parameters: form.strict, strict: true }
      }],
      tool_choice: { type: "function", function: { name } }
    }
  }
  const instructions = `Answer with one JSON object of this JSON schema, and nothing else:\n${
    JSON.stringify(form.schema)
  }`
  return { ...request, messages: instructed(request.messages, instructions), response_format: { type: "json_object" } }
}

/** The messages with instructions in the system message at their beginning. */
const instructed = (messages: ChatRequest["messages"], instructions: string): ChatRequest["messages"] => {
  const [first, ...rest] = messages
  return first.role === "system" && isString(first.content)
    ? [{ ...first, content: `${first.content}\n\n${instructions}` }, ...rest]
    : [{ role: "system", content: instructions }, ...messages]
}

/** The text in an answer that should be the value's JSON. */
export const textOf = (form: Form, { content, tool_calls }: AssistantMessage): string => {
  const call = tool_calls?.find((call) => call.function.name === form.name)
  return unfenced(call?.function.arguments ?? content ?? "")
}

/** A text without the fence of Markdown that some models put around JSON. */
export const unfenced = (text: string): string =>
  text.trimStart().startsWith("```") ? text.replace(/^\s*```\w*\s*/, "").replace(/\s*```\s*$/, "") : text.trim()

/** The value in the answer's JSON. */
export const unwrap = (form: Form, json: unknown): unknown => form.isWrapped ? fieldsIn(json)["value"] : json

/** The request that tells the model what is wrong with its answer. */
export const corrected = (request: ChatRequest, { message }: Choice, complaint: string): ChatRequest => {
  const turn: Message = { ...message, content: message.content ?? null }
  const calls = message.tool_calls ?? []
  const text = `${complaint}\nGive the whole answer again.`
  const replies: ReadonlyArray<Message> = calls.length === 0
    ? [{ role: "user", content: text }]
    : calls.map(({ id }) => ({ role: "tool", tool_call_id: id, content: text }))
  return { ...request, messages: [...request.messages, turn, ...replies] }
}

/** The most tokens that an answer may have. */
const maxTokens = 393_216

/** The request with room for an answer twice as long. */
export const longer = (request: ChatRequest): ChatRequest => {
  const usual = !isThinking(request) ? 8_192 : request.reasoning_effort === "max" ? 131_072 : 65_536
  return { ...request, max_tokens: Math.min(maxTokens, 2 * (request.max_tokens ?? usual)) }
}
