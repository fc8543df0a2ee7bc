/** Prompts and tools of `effect/ai` as a chat request has them. */
import type { Content, ContentPart, Message, Tool as ChatTool, ToolCall, ToolChoice } from "@ballast/chat/ChatRequest"
import * as AiError from "effect/ai/AiError"
import type * as LanguageModel from "effect/ai/LanguageModel"
import type * as Prompt from "effect/ai/Prompt"
import * as Tool from "effect/ai/Tool"
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"
import * as objectForm from "./objectForm.ts"

type Converted<A> = Result.Result<A, AiError.AiErrorReason>

const refuse = (description: string) => Result.fail(new AiError.InvalidUserInputError({ description }))

/** The messages of a prompt. */
export const messages = ({ content }: Prompt.Prompt): Converted<ReadonlyArray<Message>> =>
  Result.gen(function*() {
    const made: Array<Message> = []
    for (const message of content) made.push(...yield* messageOf(message))
    return made
  })

const messageOf = (message: Prompt.Message): Converted<ReadonlyArray<Message>> => {
  switch (message.role) {
    case "system":
      return Result.succeed([{ role: "system", content: message.content }])
    case "user":
      return Result.map(contentOf(message.content), (content) => [{ role: "user", content }])
    case "assistant":
      return assistant(message)
    case "tool":
      return toolResults(message)
  }
}

/** Content as text where it is no more than one, else as parts. */
const contentOf = (parts: ReadonlyArray<Prompt.TextPart | Prompt.FilePart>): Converted<Content> => {
  const [first] = parts
  if (parts.length === 1 && first?.type === "text") return Result.succeed(first.text)
  return Result.gen(function*() {
    const made: Array<ContentPart> = []
    for (const part of parts) made.push(part.type === "text" ? { type: "text", text: part.text } : yield* fileOf(part))
    return made
  })
}

const fileOf = ({ data, fileName, mediaType }: Prompt.FilePart): Converted<ContentPart> => {
  const isLink = data instanceof URL || (typeof data === "string" && /^(?:https?|data):/.test(data))
  if (mediaType.startsWith("image/")) {
    const type = mediaType === "image/*" ? "image/png" : mediaType
    return Result.succeed({ type: "image_url", image_url: { url: isLink ? String(data) : dataUrl(type, data) } })
  }
  return data instanceof URL && data.protocol !== "data:"
    ? refuse(`A file of type ${mediaType} can not be sent as a URL; give its data`)
    : Result.succeed({
      type: "file",
      file: { file_data: isLink ? String(data) : dataUrl(mediaType, data), filename: fileName ?? null }
    })
}

const dataUrl = (type: string, data: string | Uint8Array | URL): string =>
  `data:${type};base64,${data instanceof Uint8Array ? Base64.encode(data) : String(data)}`

const assistant = ({ content }: Prompt.AssistantMessage): Converted<ReadonlyArray<Message>> => {
  const texts: Array<string> = []
  const thoughts: Array<string> = []
  const calls: Array<ToolCall> = []
  for (const part of content) {
    switch (part.type) {
      case "text":
        texts.push(part.text)
        break
      case "reasoning":
        thoughts.push(part.text)
        break
      case "tool-call":
        if (!part.providerExecuted) calls.push(callOf(part))
        break
      case "file":
        return refuse("An assistant message can not have files")
      // Results of tools that a provider ran itself, and requests for approval, are no part of a chat.
      case "tool-result":
      case "tool-approval-request":
    }
  }
  if (texts.length === 0 && calls.length === 0) return Result.succeed([])
  return Result.succeed([{
    role: "assistant",
    content: texts.length === 0 ? null : texts.join(""),
    ...(thoughts.length === 0 ? undefined : { reasoning_content: thoughts.join("") }),
    ...(calls.length === 0 ? undefined : { tool_calls: calls })
  }])
}

const callOf = ({ id, name, params }: Prompt.ToolCallPart): ToolCall => ({
  id,
  type: "function",
  // Arguments that were no JSON go back as the model wrote them.
  function: { name, arguments: typeof params === "string" ? params : JSON.stringify(params ?? {}) }
})

const toolResults = ({ content }: Prompt.ToolMessage): Converted<ReadonlyArray<Message>> =>
  Result.gen(function*() {
    const made: Array<Message> = []
    for (const part of content) {
      if (part.type !== "tool-result") continue
      const { id, modelOutput, result } = part
      made.push({
        role: "tool",
        tool_call_id: id,
        content: yield* outputOf(modelOutput, result)
      })
    }
    return made
  })

/** The result of a tool as the model reads it: what the tool made of it for the model, else its text or JSON. */
export const outputOf = (
  output: ReadonlyArray<Prompt.ToolModelOutputPart> | undefined,
  result: unknown
): Converted<Content> =>
  output === undefined
    ? Result.succeed(typeof result === "string" ? result : JSON.stringify(result) ?? "null")
    : contentOf(output)

const known = new WeakMap<Tool.Any, ChatTool>()

/** A tool as the model sees it. */
export const toolOf = (tool: Tool.Any): Converted<ChatTool> => {
  if (Tool.isProviderDefined(tool)) {
    return Result.fail(
      new AiError.ToolConfigurationError({
        toolName: tool.name,
        description: "A chat has no tools that the provider runs itself"
      })
    )
  }
  let made = known.get(tool)
  if (made === undefined) known.set(tool, made = makeTool(tool))
  return Result.succeed(made)
}

const makeTool = (tool: Tool.Any): ChatTool => {
  const isGiven = Tool.isDynamic(tool) && tool.jsonSchema !== undefined
  const form = isGiven ? undefined : objectForm.make(tool.parametersSchema, tool.name)
  const strict = form?.strict !== undefined && Tool.getStrictMode(tool) === true
  const description = Tool.getDescription(tool)
  return {
    type: "function",
    function: {
      name: tool.name,
      ...(description === undefined ? undefined : { description }),
      parameters: (strict ? form.strict : form?.schema) ?? Tool.getJsonSchema(tool),
      ...(strict ? { strict } : undefined)
    }
  }
}

/** Which tool must be called. */
export const toolChoice = (choice: LanguageModel.ToolChoice<string>): ToolChoice => {
  if (typeof choice === "string") return choice
  if ("tool" in choice) return { type: "function", function: { name: choice.tool } }
  return choice.mode ?? "auto"
}

/** The arguments of a call; the text itself where it is no JSON, which fits no tool's parameters. */
export const argumentsOf = (text: string): unknown => {
  if (text.trim() === "") return {}
  try {
    return Tool.unsafeSecureJsonParse(text)
  } catch {
    return text
  }
}
