/** Which tool the model calls, and with what arguments. */
import type * as Chat from "./chat.ts"
import * as Draw from "./draw.ts"
import * as JsonSchema from "./jsonSchema.ts"

/**
 * The tools to call: the tool that `tool_choice` names, else the tools that the prompt names, in its order, else the tool whose description has
 * most in common with the prompt.
 */
export const choose = (chat: Chat.Chat, prompt: string): ReadonlyArray<Chat.Tool> => {
  const { toolChoice, tools } = chat
  if (toolChoice === "none") return []
  if (typeof toolChoice !== "string") return tools.filter(({ name }) => name === toolChoice.name)
  const named = tools.map((tool) => ({ tool, at: positionOf(tool.name, prompt) })).filter(({ at }) => at !== -1)
  if (named.length > 0) return named.sort((a, b) => a.at - b.at).map(({ tool }) => tool)
  const likely = mostLike(tools, prompt)
  return likely === undefined ? [] : [likely]
}

/** Where a prompt names a tool, as it is spelled or in words: `get_weather`, `get weather`. */
const positionOf = (name: string, prompt: string): number => {
  const words = name.replace(/([a-z])([A-Z])/g, "$1 $2").split(/[\s_-]+/).filter((word) => word !== "")
  return words.length === 0
    ? -1
    : prompt.slice(0, longest).search(new RegExp(`(?<![\\w-])${words.join("[\\s_-]*")}(?![\\w-])`, "i"))
}

const mostLike = (tools: ReadonlyArray<Chat.Tool>, prompt: string): Chat.Tool | undefined => {
  const words = new Set(wordsOf(prompt))
  const shared = (tool: Chat.Tool) =>
    wordsOf(`${tool.name} ${tool.description}`).filter((word) => words.has(word)).length
  return tools.reduce<Chat.Tool | undefined>(
    (best, tool) => best === undefined || shared(tool) > shared(best) ? tool : best,
    undefined
  )
}

/** How much of a text is looked at. */
const longest = 4_000

/** Words of an identifier or a text; single characters of Chinese. */
const wordsOf = (text: string): ReadonlyArray<string> =>
  text.slice(0, longest).replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase().match(/\p{Script=Han}|[a-z]{3,}|\d+/gu) ?? []

/** A call whose arguments satisfy the tool's schema. */
export const call = (tool: Chat.Tool, index: number, context: JsonSchema.Context): Chat.ToolCall => ({
  id: Draw.toolCallId(context.draw, index),
  name: tool.name,
  arguments: JSON.stringify(
    tool.parameters === undefined ? {} : JsonSchema.sample({ type: "object", ...tool.parameters }, tool.name, context)
  )
})
