/** What Effect's own examples import of other providers, made of ours: their layer is all that is changed. */
import { DeepSeekLanguageModel } from "@ballast/deepseek"
import { Tool } from "effect/ai"
import { client } from "./simulated.ts"

const layerConfig = (_: unknown) => client()
const model = (_: string) => DeepSeekLanguageModel.model("deepseek-flash")

export const AnthropicClient = { layerConfig }
export const OpenAiClient = { layerConfig }
export const AnthropicLanguageModel = { model }
export const OpenAiLanguageModel = { model }

/** Is in a toolkit that is never sent. */
export const OpenAiTool = {
  WebSearch: (_: unknown) =>
    Tool.providerDefined({ id: "openai.web_search", customName: "WebSearch", providerName: "web_search" })()
}
