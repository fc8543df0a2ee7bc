/** Which tool the model calls, and with what arguments. */
import type * as Chat from "./chat.ts"
import * as Draw from "./draw.ts"
import * as JsonSchema from "./jsonSchema.ts"

/** The tools to call: those that `tool_choice` names, else the one whose description has most in common with the prompt. */
export const choose = (chat: Chat.Chat, prompt: string): Chat.Tool | undefined => {
  const { toolChoice, tools } = chat
  if (toolChoice === "none") return undefined
  if (typeof toolChoice !== "string") return tools.find(({ name }) => name === toolChoice.name)
  const words = new Set(wordsOf(prompt))
  const shared = (tool: Chat.Tool) =>
    wordsOf(`${tool.name} ${tool.description}`).filter((word) => words.has(word)).length
  return tools.reduce<Chat.Tool | undefined>(
    (best, tool) => best === undefined || shared(tool) > shared(best) ? tool : best,
    undefined
  )
}

/** Words of an identifier or a text; single characters of Chinese. */
const wordsOf = (text: string): ReadonlyArray<string> =>
  text.slice(0, 4_000).replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase().match(/\p{Script=Han}|[a-z]{3,}|\d+/gu) ?? []

/** A call whose arguments satisfy the tool's schema. */
export const call = (tool: Chat.Tool, index: number, context: JsonSchema.Context): Chat.ToolCall => ({
  id: Draw.toolCallId(context.draw, index),
  name: tool.name,
  arguments: JSON.stringify(
    tool.parameters === undefined ? {} : JsonSchema.sample({ type: "object", ...tool.parameters }, tool.name, context)
  )
})
