/**
 * Puts right what of a request of Messages DeepSeek would refuse.
 *
 * | in the request | becomes | why |
 * |---|---|---|
 * | an assistant turn without thinking, while thinking and with `tools` | the same with an empty thinking block in front | the service wants the thinking of every earlier turn back; an empty one passes |
 * | a turn of the role `system`, for a model that takes the system prompt at the beginning only | one of the user, in `<system-reminder>` | Claude Code sends such turns |
 * | a block `redacted_thinking` | left out | the service can't read it |
 * | a tool of the type `custom` | the same without the type | the service knows no such type |
 * | no word of thinking, and a tool that must be called | thinking off | with Anthropic no word means off; the service thinks then, and refuses to force a call |
 * | an effort that is an alias | the effort that it stands for | the service refuses some aliases |
 */
import type { Native } from "@ballast/chat/Native"
import type { Model } from "../Provider.ts"
import { effortOf } from "./efforts.ts"

type Fields = { readonly [name: string]: unknown }

const isFields = (u: unknown): u is Fields => typeof u === "object" && u !== null && !Array.isArray(u)

/** Whether the model thinks before it answers such a request. */
export const isThinking = ({ output_config: output, thinking }: Fields): boolean =>
  !(isFields(thinking) && thinking["type"] === "disabled") && !(isFields(output) && output["effort"] === "none")

/** Whether a tool must be called. */
export const isForced = ({ tool_choice: choice }: Fields): boolean =>
  isFields(choice) && (choice["type"] === "any" || choice["type"] === "tool")

const isOf = (type: string) => (u: unknown): boolean => isFields(u) && u["type"] === type

const isRedacted = isOf("redacted_thinking")
const isThought = isOf("thinking")
const isCustom = isOf("custom")

const nothing = { type: "thinking", thinking: "", signature: "" }

/** The same turn where nothing has to change. */
const mendTurn = (turn: unknown, wantsThinking: boolean): unknown => {
  if (!isFields(turn) || turn["role"] !== "assistant") return turn
  const { content } = turn
  if (typeof content === "string") {
    return wantsThinking ? { ...turn, content: [nothing, { type: "text", text: content }] } : turn
  }
  if (!Array.isArray(content)) return turn
  const readable = content.some(isRedacted) ? content.filter((block) => !isRedacted(block)) : content
  const lacksThinking = wantsThinking && !readable.some(isThought)
  return lacksThinking ?
    { ...turn, content: [nothing, ...readable] }
    : readable === content
    ? turn
    : { ...turn, content: readable }
}

const mendTool = (tool: unknown): unknown => {
  if (!isFields(tool) || !isCustom(tool)) return tool
  const { type: _, ...rest } = tool
  return rest
}

/** What stands in for a turn of the system on the way. */
const reminder = (turn: unknown): unknown => {
  if (!isFields(turn) || turn["role"] !== "system") return turn
  const { content } = turn
  const texts = Array.isArray(content) ? content.filter(isFields).map(({ text }) => text) : [content]
  return {
    role: "user",
    content: [{ type: "text", text: `<system-reminder>\n${texts.join("\n\n")}\n</system-reminder>` }]
  }
}

/** The same list where nothing has to change. */
const mapped = (list: unknown, f: (item: unknown) => unknown): unknown => {
  if (!Array.isArray(list)) return list
  const better = list.map(f)
  return better.every((item, index) => item === list[index]) ? list : better
}

const off = { type: "disabled" }

/** The fields beside turns and tools that have to change. */
const settings = (body: Native["body"], { efforts }: Model): Fields => {
  const { output_config: output, thinking } = body
  const effort = isFields(output) ? effortOf(output["effort"], efforts) : undefined
  return {
    ...(thinking == null && isForced(body) ? { thinking: off } : undefined),
    ...(isFields(output) && effort !== undefined ? { output_config: { ...output, effort } } : undefined)
  }
}

/** The very same body where nothing has to change. */
export const mend = (body: Native["body"], model: Model): Native["body"] => {
  const changed = settings(body, model)
  const asked = { ...body, ...changed }
  const wantsThinking = isThinking(asked) && Array.isArray(body["tools"]) && body["tools"].length > 0
  const turns = model.leadingSystem === true ? mapped(body["messages"], reminder) : body["messages"]
  const messages = mapped(turns, (turn) => mendTurn(turn, wantsThinking))
  const tools = mapped(body["tools"], mendTool)
  const isSame = messages === body["messages"] && tools === body["tools"] && Object.keys(changed).length === 0
  return isSame ? body : { ...asked, messages, tools }
}
