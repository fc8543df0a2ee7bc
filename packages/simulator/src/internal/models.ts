/** The models on offer, the names they answer to, what they can do and cost. Retired names are not in here, and so refused. */
import type { ModelList } from "@ballast/chat/ModelList"

export type Family = "deepseek-flash" | "deepseek-v4-pro"

/** USD per million tokens, off-peak; twice as much in peak hours. */
export interface Price {
  readonly hit: number
  readonly miss: number
  readonly output: number
}

export const contextWindow = 1_048_576
export const maxOutput = 393_216

export const prices: Record<Family, Price> = {
  "deepseek-flash": { hit: 0.003, miss: 0.15, output: 0.6 },
  "deepseek-v4-pro": { hit: 0.022, miss: 0.66, output: 1.98 }
}

export const images: Record<Family, boolean> = { "deepseek-flash": true, "deepseek-v4-pro": false }

const names = new Map<string, Family>([
  ["deepseek-flash", "deepseek-flash"],
  ["deepseek-v4-pro", "deepseek-v4-pro"],
  ["deepseek-v4-flash", "deepseek-flash"],
  ["deepseek-v4-flash-vision-exp", "deepseek-flash"]
])

export const family = (model: string): Family | undefined => names.get(model)

const info = (id: Family, name: string, promptUpdate: string) => ({
  id,
  object: "model",
  owned_by: "deepseek",
  name,
  context_window: contextWindow,
  max_output_tokens: maxOutput,
  input_modalities: images[id] ? ["text", "image"] : ["text"],
  output_modalities: ["text"],
  effort: { supported_levels: ["low", "high", "max"], default_level: "high" },
  api_capabilities: { anthropic_messages: { system_prompt_update: promptUpdate } }
})

export const list: ModelList = {
  object: "list",
  data: [
    info("deepseek-flash", "DeepSeek-V4.1-Flash", "in-history"),
    info("deepseek-v4-pro", "DeepSeek-V4-Pro-0813", "leading-only")
  ]
}
