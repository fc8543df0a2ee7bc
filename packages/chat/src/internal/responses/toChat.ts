/** Translates a request of Responses to chat. What has another shape than documented is left out, so that the service says what it misses. */
import type * as ChatRequest from "../../ChatRequest.ts"
import { isObject, type Json } from "../read.ts"
import * as sealed from "./sealed.ts"

const textOf = (u: unknown): string | undefined => typeof u === "string" ? u : undefined

const listOf = (u: unknown): ReadonlyArray<Json> => Array.isArray(u) ? u.filter(isObject) : []

/** The texts in parts, joined. */
const textsOf = (u: unknown): string =>
  textOf(u) ?? listOf(u).map((part) => textOf(part["text"]) ?? textOf(part["refusal"]) ?? "").join("")

type Part = ChatRequest.ContentPart

const details: ReadonlySet<unknown> = new Set(["low", "high", "original", "auto"])

const partOf = (part: Json): Part | undefined => {
  const { detail, file_data, file_id, filename, image_url } = part
  const file = textOf(file_id)
  switch (part["type"]) {
    case "input_image": {
      const url = textOf(image_url)
      if (url === undefined) return file === undefined ? undefined : { type: "file", file: { file_id: file } }
      // The set holds those that the type names.
      const shown = details.has(detail) ? { detail: detail as "low" } : undefined
      return { type: "image_url", image_url: { url, ...shown } }
    }
    case "input_file": {
      const data = textOf(file_data)
      const name = textOf(filename)
      if (file !== undefined) return { type: "file", file: { file_id: file } }
      return data === undefined
        ? undefined
        : { type: "file", file: { file_data: data, ...(name === undefined ? undefined : { filename: name }) } }
    }
    default: {
      const text = textOf(part["text"]) ?? textOf(part["refusal"])
      return text === undefined ? undefined : { type: "text", text }
    }
  }
}

/** Content that may have images: a text where it is one. */
const contentOf = (u: unknown): ChatRequest.Content => {
  const text = textOf(u)
  if (text !== undefined) return text
  const parts = listOf(u).map(partOf).filter((part) => part !== undefined)
  const [first] = parts
  if (first === undefined) return ""
  return parts.length === 1 && first.type === "text" ? first.text : parts
}

/** What a tool gave; some clients send an object of their own. */
const outputOf = (u: unknown): ChatRequest.Content => isObject(u) ? JSON.stringify(u) : contentOf(u)

/** Thinking: in the open, or as we gave it to carry, or at least its summary. */
const thoughtOf = (item: Json): string =>
  textsOf(item["content"]) || sealed.open(item["encrypted_content"]) || textsOf(item["summary"])

const callOf = (item: Json, given: string): ChatRequest.ToolCall => ({
  id: textOf(item["call_id"]) ?? "",
  type: "function",
  function: { name: textOf(item["name"]) ?? "", arguments: given }
})

interface Turn {
  content: string
  reasoning: string
  readonly calls: Array<ChatRequest.ToolCall>
}

/** Joins the items of the assistant's turns, to which chat gives one message each. Reasoning belongs to what follows it. */
class Conversation {
  readonly messages: Array<ChatRequest.Message> = []
  private turn: Turn | undefined

  private open(): Turn {
    return this.turn ??= { content: "", reasoning: "", calls: [] }
  }

  private end(): void {
    const { turn } = this
    this.turn = undefined
    // Reasoning alone is no turn.
    if (turn === undefined || turn.content === "" && turn.calls.length === 0) return
    this.messages.push({
      role: "assistant",
      content: turn.content === "" ? null : turn.content,
      ...(turn.reasoning === "" ? undefined : { reasoning_content: turn.reasoning }),
      ...(turn.calls.length === 0 ? undefined : { tool_calls: turn.calls })
    })
  }

  say(message: ChatRequest.Message): void {
    this.end()
    this.messages.push(message)
  }

  add(item: Json): void {
    switch (item["type"] ?? "message") {
      case "message":
        return this.addMessage(item)
      case "reasoning": {
        const { content = "", calls = [] } = this.turn ?? {}
        if (content !== "" || calls.length > 0) this.end()
        this.open().reasoning += thoughtOf(item)
        return
      }
      case "function_call":
        this.open().calls.push(callOf(item, textOf(item["arguments"]) ?? ""))
        return
      case "custom_tool_call":
        this.open().calls.push(callOf(item, JSON.stringify({ input: textOf(item["input"]) ?? "" })))
        return
      case "function_call_output":
      case "custom_tool_call_output":
        return this.say({
          role: "tool",
          tool_call_id: textOf(item["call_id"]) ?? "",
          content: outputOf(item["output"])
        })
    }
  }

  private addMessage(item: Json): void {
    const { content, role } = item
    switch (role) {
      case "assistant": {
        const turn = this.open()
        const text = textsOf(content)
        if (turn.content !== "" && text !== "") {
          this.end()
          this.open().content = text
        } else turn.content += text
        return
      }
      case "system":
      case "developer":
        return this.say({ role: "system", content: textsOf(content) })
      default:
        return this.say({ role: "user", content: contentOf(content) })
    }
  }

  finish(): ReadonlyArray<ChatRequest.Message> {
    this.end()
    return this.messages
  }
}

/** The names of tools whose input is plain text. */
export const customTools = (request: Json): ReadonlySet<string> =>
  new Set(
    listOf(request["tools"]).flatMap((tool) => {
      const name = tool["type"] === "custom" ? textOf(tool["name"]) : undefined
      return name === undefined ? [] : [name]
    })
  )

/** The grammar that a custom tool's input has to follow, in words. */
const grammarOf = (format: unknown): string => {
  const definition = isObject(format) ? textOf(format["definition"]) : undefined
  return definition === undefined ? "" : `\n\nThe input must follow this grammar:\n${definition}`
}

const toolOf = (tool: Json, strict: boolean): ReadonlyArray<ChatRequest.Tool> => {
  const name = textOf(tool["name"])
  if (name === undefined) return []
  const description = textOf(tool["description"])
  if (tool["type"] === "function") {
    const { parameters } = tool
    return [{
      type: "function",
      function: {
        name,
        ...(description === undefined ? undefined : { description }),
        ...(isObject(parameters) ? { parameters } : undefined),
        ...(strict ? { strict } : undefined)
      }
    }]
  }
  return tool["type"] !== "custom" ? [] : [{
    type: "function",
    function: {
      name,
      description: (description ?? "") + grammarOf(tool["format"]),
      parameters: { type: "object", properties: { input: { type: "string" } }, required: ["input"] }
    }
  }]
}

const toolsOf = (request: Json): ReadonlyArray<ChatRequest.Tool> => {
  const tools = listOf(request["tools"])
  const callable = tools.filter(({ type }) => type === "function" || type === "custom")
  // Chat wants all of them to be strict, or none.
  const strict = callable.every((tool) => tool["strict"] === true)
  return tools.flatMap((tool) => toolOf(tool, strict))
}

const choiceOf = (u: unknown): ChatRequest.ToolChoice | undefined => {
  if (u === "none" || u === "auto" || u === "required") return u
  if (!isObject(u)) return undefined
  const { mode, name, type } = u
  const named = textOf(name)
  if ((type === "function" || type === "custom") && named !== undefined) {
    return { type: "function", function: { name: named } }
  }
  return type === "allowed_tools" && (mode === "auto" || mode === "required") ? mode : undefined
}

const efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max"] as const

/** The guide has another name for the highest one. */
const effortOf = (given: unknown) => given === "ultra" ? "max" : efforts.find((effort) => effort === given)

const numberOf = (u: unknown): number | undefined => typeof u === "number" ? u : undefined

/** The fields of a chat that are there. */
const given = <A extends object>(fields: A): Partial<{ [K in keyof A]: Exclude<A[K], undefined> }> => {
  const found = { ...fields }
  for (const name in found) if (found[name] === undefined) delete found[name]
  // What is undefined has gone.
  return found as Partial<{ [K in keyof A]: Exclude<A[K], undefined> }>
}

interface Format {
  readonly asked: ChatRequest.ChatRequest["response_format"] | undefined
  /** What the model is told about it. */
  readonly told: string | undefined
}

const formatOf = (text: unknown): Format => {
  const format = isObject(text) && isObject(text["format"]) ? text["format"] : {}
  const asked = { type: "json_object" } as const
  switch (format["type"]) {
    case "json_object":
      return { asked, told: undefined }
    case "json_schema":
      return {
        asked,
        told: "Answer with one JSON object that satisfies this JSON Schema, and with nothing else:\n" +
          JSON.stringify(format["schema"] ?? {})
      }
    default:
      return { asked: undefined, told: undefined }
  }
}

export const translate = (request: Json): ChatRequest.ChatRequest => {
  const conversation = new Conversation()
  const { input, reasoning, text, top_logprobs, user } = request
  const format = formatOf(text)
  const told = [textOf(request["instructions"]), format.told].filter((part) => part !== undefined)
  if (told.length > 0) conversation.say({ role: "system", content: told.join("\n\n") })
  const asked = textOf(input)
  if (asked !== undefined) conversation.say({ role: "user", content: asked })
  else for (const item of listOf(input)) conversation.add(item)
  const [first = { role: "user", content: "" } as const, ...rest] = conversation.finish()
  const tools = toolsOf(request)
  const likely = numberOf(top_logprobs) ?? 0
  return {
    model: textOf(request["model"]) ?? "",
    messages: [first, ...rest],
    ...given({
      reasoning_effort: isObject(reasoning) ? effortOf(reasoning["effort"]) : undefined,
      max_tokens: numberOf(request["max_output_tokens"]),
      response_format: format.asked,
      stream: typeof request["stream"] === "boolean" ? request["stream"] : undefined,
      temperature: numberOf(request["temperature"]),
      top_p: numberOf(request["top_p"]),
      tools: tools.length === 0 ? undefined : tools,
      tool_choice: tools.length === 0 ? undefined : choiceOf(request["tool_choice"]),
      logprobs: likely > 0 ? true : undefined,
      top_logprobs: likely > 0 ? likely : undefined,
      user_id: textOf(user)
    })
  }
}
