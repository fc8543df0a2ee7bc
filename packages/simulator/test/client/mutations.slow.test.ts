/** Broken answers of every endpoint, as the simulator gives them, read by the client. */
import { ChatAccumulator, ChatError, type ChatRequest, Native } from "@ballast/chat"
import { Provider, Resume, Source } from "@ballast/deepseek"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Redacted, Stream } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { numbers } from "../../../../test/support/numbers.ts"
import { kinds, mutate } from "../../../deepseek/test/wire/mutations.ts"
import { Simulator } from "../../src/index.ts"
import { ask, get, hello, instant, post, read, user, weather } from "../support.ts"

const question = [user("What is the weather in Paris?")]
const chat = { ...hello, messages: question, tools: [weather] }
const { description, name, parameters } = weather.function
const messages = {
  model: hello.model,
  max_tokens: 500,
  messages: question,
  tools: [{ name, description, input_schema: parameters }]
}
const responses = {
  model: hello.model,
  input: question[0]!.content,
  tools: [{ type: "function", name, description, parameters }]
}
const fim = { model: hello.model, prompt: "def add(a, b):\n" }

type Call = (source: Source.Source) => Effect.Effect<unknown, unknown>

interface Endpoint {
  readonly name: string
  readonly texts: ReadonlyArray<string>
  readonly calls: ReadonlyArray<Call>
}

const request: ChatRequest.ChatRequest = {
  model: "deepseek-flash",
  messages: [{ role: "user", content: "What is the weather in Paris?" }]
}
const native = (protocol: Native.Protocol, body: object) =>
  Native.attach(request, { protocol, body: { ...body }, only: true })
const model = (request: ChatRequest.ChatRequest): ReadonlyArray<Call> => [
  (source) => source.complete(request),
  (source) => ChatAccumulator.collect(source.stream(request))
]
const labels = { name: "a", provider: "a", model: "a" }

const answers = Effect.fnUntraced(function*(path: string, body: object) {
  const [whole, streamed] = [yield* ask(body, { path }), yield* ask({ ...body, stream: true }, { path })]
  return [whole.text, streamed.text]
})

const endpoints = Effect.gen(function*() {
  const only = (path: string) => Effect.map(Effect.flatMap(get(path), read), ({ text }) => [text])
  const posted = (path: string, body: object) =>
    Effect.map(Effect.flatMap(post(body, { path }), read), ({ text }) => [text])
  const texts = [...yield* answers("/chat/completions", hello), ...yield* answers("/chat/completions", chat)]
  const file = `{"id":"file-api-1","object":"file","bytes":1,"created_at":1,"filename":"a","purpose":"user_data"}`
  const all: ReadonlyArray<Endpoint> = [
    { name: "chat", texts, calls: model(request) },
    {
      name: "a stream that goes on",
      texts,
      calls: [(source) => ChatAccumulator.collect(Resume.make(source, labels).stream(request))]
    },
    {
      name: "Messages",
      texts: yield* answers("/anthropic/v1/messages", messages),
      calls: model(native("messages", messages))
    },
    { name: "Responses", texts: yield* answers("/responses", responses), calls: model(native("responses", responses)) },
    { name: "FIM", texts: yield* answers("/beta/completions", fim), calls: model(native("completions", fim)) },
    { name: "models", texts: yield* only("/models"), calls: [({ models }) => models] },
    { name: "balance", texts: yield* only("/user/balance"), calls: [({ balance }) => balance] },
    {
      name: "files",
      texts: [file, `{"object":"list","data":[${file}],"first_id":"a","last_id":"a","has_more":false}`],
      calls: [({ files }) => files.get("file-api-1"), ({ files }) => files.page()]
    },
    {
      name: "search",
      texts: yield* posted("/v1/tools/search", { query: "ballast", count: 3 }),
      calls: [({ search }) => search({ query: "ballast" })]
    },
    {
      name: "fetch",
      texts: yield* posted("/v1/tools/fetch", { url: "https://ships.example/a" }),
      calls: [({ fetch }) => fetch({ url: "https://ships.example/a" })]
    }
  ]
  return all
})

const runs = 40_000
const MiB = 1024 * 1024

describe("40,000 mutated answers of all endpoints", () => {
  it.live("are read, or typed errors, in bounded memory", () =>
    Effect.gen(function*() {
      const all = (yield* Effect.provide(endpoints, Simulator.layerHttpClient(instant))).map((endpoint) => ({
        ...endpoint,
        bytes: endpoint.texts.map((text) => new TextEncoder().encode(text))
      }))
      const random = numbers(2)
      let texts: ReadonlyArray<Uint8Array> = []
      /** A status of an error comes now and then. */
      const client = HttpClient.make((request) =>
        Effect.sync(() => {
          let bytes: Uint8Array = texts[random(texts.length)] ?? new Uint8Array()
          for (let changes = random(4); changes > 0; changes--) {
            bytes = mutate(bytes, kinds[random(kinds.length)] ?? "cut", random(1_000_000))
          }
          const status = random(20) === 0 ? 400 + random(200) : 200
          const response = HttpClientResponse.fromWeb(request, new Response(null, { status }))
          const half = random(bytes.length + 1)
          const stream = Stream.make(bytes.subarray(0, half), bytes.subarray(half))
          return Object.create(response, {
            stream: { value: stream },
            text: { value: Effect.sync(() => new TextDecoder().decode(bytes)) }
          })
        })
      )
      const source = yield* Effect.provideService(
        Source.make({ provider: Provider.deepSeek, apiKey: Redacted.make("sk-test") }),
        HttpClient.HttpClient,
        client
      )
      const outcomes = new Map<string, { good: number; bad: number }>()
      const before = process.memoryUsage().rss
      for (let run = 0; run < runs; run++) {
        const { bytes, calls, name } = all[run % all.length]!
        texts = bytes
        const exit = yield* Effect.exit(calls[random(calls.length)]!(source))
        const outcome = outcomes.get(name) ?? { good: 0, bad: 0 }
        outcomes.set(name, outcome)
        if (Exit.isSuccess(exit)) {
          outcome.good++
          continue
        }
        outcome.bad++
        const [reason, ...more] = exit.cause.reasons
        assert.isEmpty(more)
        if (reason?._tag !== "Fail" || !ChatError.isChatError(reason.error)) assert.fail(`${name}: ${exit.cause}`)
      }
      // Changes are neither harmless nor all fatal.
      for (const [name, { bad, good }] of outcomes) {
        assert.isAbove(good, 100, name)
        assert.isAbove(bad, 100, name)
      }
      assert.isBelow(process.memoryUsage().rss - before, 512 * MiB)
    }), 300_000)
})
