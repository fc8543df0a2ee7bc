import { ChatChunk } from "@ballast/chat/ChatChunk"
import { ChatCompletion } from "@ballast/chat/ChatCompletion"
import { Effect, Schema } from "effect"
import { HttpClient, HttpClientRequest, type HttpClientResponse } from "effect/http"

/** A simulator that takes no time. */
export const instant = { latency: 0, timeToFirstToken: 0, tokensPerSecond: Infinity } as const

export const user = (content: string) => ({ role: "user", content })

/** A valid body. */
export const hello = { model: "deepseek-flash", messages: [user("Why does a ship carry ballast?")] }

export const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Weather of a city",
    parameters: {
      type: "object",
      properties: { city: { type: "string" }, unit: { type: "string", enum: ["celsius", "fahrenheit"] } },
      required: ["city", "unit"]
    }
  }
}

export interface Ask {
  readonly path?: string
  readonly key?: string
  readonly simulate?: string
}

export const post = (body: unknown, { key = "sk-test", path = "/chat/completions", simulate }: Ask = {}) =>
  HttpClient.execute(
    HttpClientRequest.post(`https://api.deepseek.com${path}`, {
      headers: { authorization: `Bearer ${key}`, ...(simulate !== undefined && { "x-simulate": simulate }) }
    }).pipe(HttpClientRequest.bodyText(typeof body === "string" ? body : JSON.stringify(body), "application/json"))
  )

export const get = (path: string, headers: Record<string, string> = { authorization: "Bearer sk-test" }) =>
  HttpClient.get(`https://api.deepseek.com${path}`, { headers })

/** Status and text of the answer. */
export const read = (response: HttpClientResponse.HttpClientResponse) =>
  Effect.map(response.text, (text) => ({ status: response.status, headers: response.headers, text }))

export const ask = (body: unknown, options?: Ask) => Effect.flatMap(post(body, options), read)

const decodeCompletion = Schema.decodeUnknownEffect(Schema.fromJsonString(ChatCompletion))

const decodeChunk = Schema.decodeUnknownEffect(Schema.fromJsonString(ChatChunk))

export const complete = (body: unknown, options?: Ask) =>
  Effect.flatMap(ask(body, options), ({ text }) => decodeCompletion(text))

/** The data of every event. */
export const eventsOf = (text: string): ReadonlyArray<string> =>
  text.split("\n\n").filter((event) => event.startsWith("data: ")).map((event) => event.slice("data: ".length))

export const streamed = (body: object, options?: Ask) =>
  Effect.flatMap(
    ask({ ...body, stream: true }, options),
    ({ text }) => Effect.forEach(eventsOf(text).filter((data) => data !== "[DONE]"), (data) => decodeChunk(data))
  )

/** The message of an error in JSON, without its request id. */
export const message = (text: string): string =>
  String(Object(Object(JSON.parse(text)).error).message).replace(/ \(request_id: [0-9a-f-]{36}\)$/, "")
