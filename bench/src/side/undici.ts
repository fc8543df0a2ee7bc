import { Agent } from "undici"
import { concurrency, inFlight, type Side } from "../measure.ts"
import { requestBody } from "../traffic.ts"

const headers = { "content-type": "application/json", authorization: "Bearer bench" }

const optionsOf = (origin: string, manner: Manner | undefined, stream: boolean) => ({
  origin,
  path: manner?.path ?? "/chat/completions",
  method: "POST" as const,
  headers: { ...headers, ...manner?.headers },
  body: requestBody(stream)
})

/** How a server is called. */
export interface Manner {
  /** Default `/chat/completions`. */
  readonly path?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** `undici.request` and `JSON.parse`, the floor of a call. */
export const complete = async (url: string, lanes: number = concurrency, manner?: Manner): Promise<Side> => {
  const agent = new Agent()
  const options = optionsOf(url, manner, false)
  return inFlight(lanes, async () => {
    const response = await agent.request(options)
    return JSON.parse(await response.body.text()).choices[0].message.content.length
  })
}

/** `undici.request`, the lines of its body and `JSON.parse`, the floor of a stream. */
export const stream = async (url: string, lanes: number = concurrency, manner?: Manner): Promise<Side> => {
  const agent = new Agent()
  const options = optionsOf(url, manner, true)
  return inFlight(lanes, async () => {
    const response = await agent.request(options)
    let length = 0
    let rest = ""
    for await (const text of response.body.setEncoding("utf8")) {
      const lines = (rest + text).split("\n")
      rest = lines.pop() ?? ""
      for (const line of lines) {
        if (!line.startsWith("data: ") || line === "data: [DONE]") continue
        length += JSON.parse(line.slice(6)).choices[0].delta.content.length
      }
    }
    return length
  })
}
