/** Streams through the gateway that break after text has arrived, read by the OpenAI SDK. */
import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import OpenAI from "openai"
import { eventually, layer as gateway, Running } from "./harness.ts"

const messages = [{ role: "user" as const, content: "Why does a ship carry ballast?" }]
const asked = { model: "deepseek-flash", messages, stream: true as const, stream_options: { include_usage: true } }

/** What the SDK reads of a stream, and the error that it ends with. */
const streamed = (simulate: string, more: object = {}) =>
  Effect.gen(function*() {
    const { url } = yield* Running
    const openai = new OpenAI({ apiKey: "any", baseURL: `${url}/v1`, maxRetries: 0 })
    const chunks: Array<OpenAI.ChatCompletionChunk> = []
    const error = yield* Effect.promise(async () => {
      try {
        const stream = await openai.chat.completions.create({ ...asked, ...more }, {
          headers: { "x-simulate": simulate }
        })
        for await (const chunk of stream) chunks.push(chunk)
        return undefined
      } catch (error) {
        return error
      }
    })
    const choices = chunks.flatMap(({ choices }) => choices)
    const text = (field: string) => choices.map(({ delta }) => Reflect.get(delta, field) ?? "").join("")
    return {
      error,
      content: text("content"),
      reasoning: text("reasoning_content"),
      ids: new Set(chunks.map(({ id }) => id)).size,
      roles: choices.filter(({ delta }) => delta.role != null).length,
      finished: choices.flatMap(({ finish_reason }) => finish_reason ?? []),
      usages: chunks.flatMap(({ usage }) => usage ?? [])
    }
  })

let scenarios = 0
const once = (fault: string) => `tokens=200, ${fault}, times=1, id=${++scenarios}`

describe("a stream through the gateway", () => {
  layer(gateway({ settings: { policies: { retry: { times: 1, base: "1ms" }, deadlines: { idle: "150ms" } } } }), {
    excludeTestServices: true
  })((it) => {
    it.effect("is one to its client, whatever breaks", () =>
      Effect.gen(function*() {
        const whole = yield* streamed("tokens=200")
        assert.isUndefined(whole.error)
        const [{ completion_tokens: tokens } = { completion_tokens: 0 }] = whole.usages
        for (
          const fault of [
            "cut=10",
            "cut=120",
            "end=150",
            "error=60",
            "stall=100",
            "finish=insufficient_system_resource, after=90",
            "finish=aborted, after=5",
            "finish=aborted, after=199"
          ]
        ) {
          const { error, usages, ...read } = yield* streamed(once(fault))
          assert.isUndefined(error, fault)
          const { error: _, usages: __, ...expected } = whole
          assert.deepStrictEqual(read, expected, fault)
          assert.deepStrictEqual([read.ids, read.roles, read.finished], [1, 1, ["stop"]])
          assert.deepStrictEqual(usages.map(({ completion_tokens }) => completion_tokens), [tokens], fault)
        }
      }))

    it.effect("keeps to max_tokens", () =>
      Effect.gen(function*() {
        const budget = { max_tokens: 150, thinking: { type: "disabled" } }
        const whole = yield* streamed("tokens=200", budget)
        const { content, finished, usages } = yield* streamed(once("cut=100"), budget)
        assert.deepStrictEqual([content, finished], [whole.content, ["length"]])
        assert.strictEqual(usages[0]?.completion_tokens, 150)
      }))

    it.effect("starts again while nothing of a tool call was given, and fails after that", () =>
      Effect.gen(function*() {
        const weather = {
          type: "function",
          function: {
            name: "weather",
            parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] }
          }
        }
        const more = { tools: [weather], thinking: { type: "disabled" } }
        const begun = yield* streamed(once("cut=4"), more)
        assert.instanceOf(begun.error, OpenAI.APIError)
        const early = yield* streamed(once("cut=1"), more)
        assert.deepStrictEqual([early.error, early.finished], [undefined, ["tool_calls"]])
      }))

    it.effect("is told of in the access log", () =>
      Effect.gen(function*() {
        yield* streamed(once("cut=20"))
        const { log } = yield* Running
        const line = log.findLast(({ message }) => message === "request")
        assert.deepInclude(line, { attempts: 2, resumptions: 1 })
      }))
  })

  layer(gateway({ settings: { policies: { retry: { times: 0 }, resume: { times: 0 } } } }), {
    excludeTestServices: true
  })((it) => {
    it.effect("ends in the typed error where streams do not go on", () =>
      Effect.gen(function*() {
        const { content, error, finished } = yield* streamed("tokens=200, cut=120")
        assert.instanceOf(error, OpenAI.APIError)
        assert.isNotEmpty(content)
        assert.isEmpty(finished)
      }))
  })

  const plan = [{ nth: 1, fault: { tokens: 200, cut: 20 } }, { nth: 2, fault: { tokens: 200, stall: 5 } }]
  layer(gateway({ simulator: { plan } }), { excludeTestServices: true })((it) => {
    it.effect("leaves nothing behind when its client goes away in the middle of the rest", () =>
      Effect.gen(function*() {
        const { inspect, url } = yield* Running
        const gone = new AbortController()
        const openai = new OpenAI({ apiKey: "any", baseURL: `${url}/v1`, maxRetries: 0 })
        const reading = openai.chat.completions.create(asked, { signal: gone.signal }).then(async (stream) => {
          for await (const _ of stream);
        })
        reading.catch(() => {})
        yield* eventually(Effect.map(inspect, ({ inFlight, requests }) => requests === 2 && inFlight === 1))
        gone.abort()
        yield* eventually(Effect.map(inspect, ({ inFlight }) => inFlight === 0))
        assert.strictEqual((yield* inspect).requests, 2)
      }))
  })
})
