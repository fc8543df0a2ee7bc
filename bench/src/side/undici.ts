import { Agent } from "undici"
import { concurrency, inFlight, type Side } from "../measure.ts"
import { requestBody } from "../traffic.ts"

const headers = { "content-type": "application/json", authorization: "Bearer bench" }

/** `undici.request` and `JSON.parse`, the floor of a call. */
export const complete = async (url: string): Promise<Side> => {
  const agent = new Agent()
  const body = requestBody(false)
  return inFlight(concurrency, async () => {
    const response = await agent.request({ origin: url, path: "/chat/completions", method: "POST", headers, body })
    return JSON.parse(await response.body.text()).choices[0].message.content.length
  })
}

/** `undici.request`, the lines of its body and `JSON.parse`, the floor of a stream. */
export const stream = async (url: string): Promise<Side> => {
  const agent = new Agent()
  const body = requestBody(true)
  return inFlight(concurrency, async () => {
    const response = await agent.request({ origin: url, path: "/chat/completions", method: "POST", headers, body })
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
