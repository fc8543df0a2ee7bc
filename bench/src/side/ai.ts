import { createDeepSeek } from "@ai-sdk/deepseek"
import { generateText, streamText } from "ai"
import { concurrency, inFlight, type Side } from "../measure.ts"
import { model, question, system } from "../traffic.ts"

export const complete = async (url: string): Promise<Side> => {
  const deepseek = createDeepSeek({ baseURL: url, apiKey: "bench" })
  return inFlight(concurrency, async () => {
    const { text } = await generateText({ model: deepseek(model), system, prompt: question })
    return text.length
  })
}

export const stream = async (url: string): Promise<Side> => {
  const deepseek = createDeepSeek({ baseURL: url, apiKey: "bench" })
  return inFlight(concurrency, async () => {
    let length = 0
    for await (const text of streamText({ model: deepseek(model), system, prompt: question }).textStream) {
      length += text.length
    }
    return length
  })
}
