import OpenAI from "openai"
import { concurrency, inFlight, type Side } from "../measure.ts"
import { model, question, system } from "../traffic.ts"

const messages = [{ role: "system" as const, content: system }, { role: "user" as const, content: question }]

export const complete = async (url: string): Promise<Side> => {
  const client = new OpenAI({ baseURL: url, apiKey: "bench" })
  return inFlight(concurrency, async () => {
    const completion = await client.chat.completions.create({ model, messages })
    return completion.choices[0]?.message.content?.length ?? 0
  })
}

export const stream = async (url: string): Promise<Side> => {
  const client = new OpenAI({ baseURL: url, apiKey: "bench" })
  return inFlight(concurrency, async () => {
    let length = 0
    for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
      length += chunk.choices[0]?.delta.content?.length ?? 0
    }
    return length
  })
}
