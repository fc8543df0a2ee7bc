/** Translates a request of Messages to chat: `MessagesChat.toChat` says how, and what is lost. */
import type { ChatRequest } from "../../ChatRequest.ts"
import { isObject, type Json } from "../read.ts"

export const translate = (request: object): ChatRequest => {
  const from: Json = { ...request }
  const tools = objects(from["tools"]).flatMap(toolOf)
  const to: Json = {
    model: from["model"],
    messages: [
      ...systemOf(from["system"]),
      ...objects(from["messages"]).flatMap(turnOf)
    ]
  }
  put(to, "max_tokens", from["max_tokens"])
  put(to, "stop", from["stop_sequences"])
  put(to, "stream", from["stream"])
  put(to, "temperature", from["temperature"])
  put(to, "top_p", from["top_p"])
  put(to, "reasoning_effort", isObject(from["output_config"]) ? from["output_config"]["effort"] : undefined)
  put(to, "user_id", isObject(from["metadata"]) ? userId(from["metadata"]["user_id"]) : undefined)
  if (tools.length > 0) to["tools"] = tools
  const choice = tools.length > 0 ? choiceOf(from["tool_choice"]) : undefined
  put(to, "tool_choice", choice)
  put(to, "thinking", thinkingOf(from["thinking"], choice))
  // Whatever is missing here, the service misses too, and says so.
  return to as unknown as ChatRequest
}

const put = (to: Json, name: string, value: unknown): void => {
  if (value != null) to[name] = value
}

const objects = (u: unknown): ReadonlyArray<Json> => Array.isArray(u) ? u.filter(isObject) : []

const textOf = (block: Json): string => typeof block["text"] === "string" ? block["text"] : ""

const textsOf = (content: unknown): ReadonlyArray<string> =>
  typeof content === "string"
    ? [content]
    : objects(content).filter(({ type }) => type === "text").map(textOf)

const billing = /^x-anthropic-billing-header:/

const systemOf = (content: unknown): ReadonlyArray<Json> => {
  const texts = textsOf(content).filter((text) => text !== "" && !billing.test(text))
  return texts.length === 0 ? [] : [{ role: "system", content: texts.join("\n\n") }]
}

const turnOf = (turn: Json): ReadonlyArray<Json> => {
  const { content, role } = turn
  switch (role) {
    case "user":
      return userTurn(content)
    case "assistant":
      return assistantTurn(content)
    case "system":
      return systemOf(content)
    default:
      return []
  }
}

const wordsOf = (content: unknown): string => typeof content === "string" ? content : ""

/** The results of tools, and then what the user says. */
const userTurn = (content: unknown): ReadonlyArray<Json> => {
  if (!Array.isArray(content)) return [{ role: "user", content: wordsOf(content) }]
  const blocks = objects(content)
  const said = contentOf(blocks)
  return [
    ...blocks.filter(({ type }) => type === "tool_result").map((block) => ({
      role: "tool",
      tool_call_id: block["tool_use_id"],
      content: typeof block["content"] === "string" ? block["content"] : contentOf(objects(block["content"])) ?? ""
    })),
    ...(said === undefined ? [] : [{ role: "user", content: said }])
  ]
}

/** One text where there is nothing else, for the sake of models that take no parts. */
const contentOf = (blocks: ReadonlyArray<Json>): unknown => {
  const parts = blocks.flatMap(partOf)
  if (parts.length === 0) return undefined
  return parts.every(({ type }) => type === "text") ? parts.map(textOf).join("\n\n") : parts
}

const partOf = (block: Json): ReadonlyArray<Json> => {
  switch (block["type"]) {
    case "text":
      return [{ type: "text", text: textOf(block) }]
    case "image":
      return isObject(block["source"]) ? imageOf(block["source"]) : []
    case "tool_result":
      return []
    case "tool_reference":
      return [{ type: "text", text: `The tool ${String(block["tool_name"])} is there.` }]
    default:
      // The model shall know that something was there.
      return [{ type: "text", text: `[A block of the type ${String(block["type"]).slice(0, 64)} was left out.]` }]
  }
}

const imageOf = (source: Json): ReadonlyArray<Json> => {
  switch (source["type"]) {
    case "base64":
      return [{
        type: "image_url",
        image_url: { url: `data:${String(source["media_type"])};base64,${String(source["data"])}` }
      }]
    case "url":
      return [{ type: "image_url", image_url: { url: source["url"] } }]
    case "file":
      return [{ type: "file", file: { file_id: source["file_id"] } }]
    default:
      return []
  }
}

/** A turn that says nothing to chat is left out: the service would refuse it. */
const assistantTurn = (content: unknown): ReadonlyArray<Json> => {
  if (!Array.isArray(content)) return [{ role: "assistant", content: wordsOf(content) }]
  const blocks = objects(content)
  const text = textsOf(blocks).join("")
  const thinking = blocks.filter(({ type }) => type === "thinking")
  const calls = blocks.filter(({ type }) => type === "tool_use")
  if (text === "" && calls.length === 0) return []
  const turn: Json = { role: "assistant", content: text }
  if (thinking.length > 0) {
    turn["reasoning_content"] = thinking.map((block) => typeof block["thinking"] === "string" ? block["thinking"] : "")
      .join("")
  }
  if (calls.length > 0) turn["tool_calls"] = calls.map(callOf)
  return [turn]
}

const callOf = ({ id, input, name }: Json): Json => ({
  id,
  type: "function",
  function: { name, arguments: JSON.stringify(input ?? {}) }
})

const toolOf = ({ description, input_schema: parameters, name }: Json): ReadonlyArray<Json> => {
  if (!isObject(parameters)) return []
  const named: Json = { name, parameters }
  put(named, "description", description)
  return [{ type: "function", function: named }]
}

const choiceOf = (choice: unknown): unknown => {
  if (!isObject(choice)) return undefined
  switch (choice["type"]) {
    case "any":
      return "required"
    case "tool":
      return { type: "function", function: { name: choice["name"] } }
    default:
      return choice["type"]
  }
}

const isForced = (choice: unknown): boolean => choice === "required" || isObject(choice)

const thinkingOf = (thinking: unknown, choice: unknown): Json | undefined => {
  if (!isObject(thinking)) return isForced(choice) ? { type: "disabled" } : undefined
  return { type: thinking["type"] === "disabled" ? "disabled" : "enabled" }
}

const userId = (id: unknown): string | undefined =>
  typeof id === "string" && id !== "" ? id.slice(0, 512).replace(/[^\w-]/g, "_") : undefined
