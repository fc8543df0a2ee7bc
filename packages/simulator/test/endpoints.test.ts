import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { HttpClient, HttpClientRequest } from "effect/http"
import { TestClock } from "effect/testing"
import { Simulator } from "../src/index.ts"
import { ask, eventsOf, get, instant, message, read, weather } from "./support.ts"

const simulated = (options: Parameters<typeof Simulator.layerHttpClient>[0] = {}) =>
  Effect.provide(Simulator.layerHttpClient({ ...instant, ...options }))

const json = (text: string) => JSON.parse(text)

describe("FIM completions", () => {
  const body = { model: "deepseek-flash", prompt: "def add(a, b):\n", suffix: "\nprint(add(1, 2))" }
  const path = "/beta/completions"

  it.effect("have the documented shape, whole and streamed", () =>
    Effect.gen(function*() {
      const whole = json((yield* ask({ ...body, logprobs: 2 }, { path })).text)
      assert.strictEqual(whole.object, "text_completion")
      const [{ finish_reason, logprobs, text }] = whole.choices
      assert.strictEqual(finish_reason, "stop")
      assert.strictEqual(logprobs.tokens.join(""), text)
      assert.strictEqual(logprobs.text_offset[0], body.prompt.length)
      assert.notProperty(whole.usage, "completion_tokens_details")
      const events = eventsOf((yield* ask({ ...body, stream: true }, { path })).text)
      assert.strictEqual(events.at(-1), "[DONE]")
      const chunks = events.slice(0, -1).map(json)
      assert.strictEqual(chunks.map(({ choices: [{ text }] }) => text).join(""), text)
      assert.deepStrictEqual(chunks.at(-1).usage.total_tokens, whole.usage.total_tokens)
    }).pipe(simulated()))

  it.effect("echo the prompt", () =>
    Effect.gen(function*() {
      const { text } = yield* ask({ model: body.model, prompt: body.prompt, echo: true }, { path })
      assert.isTrue(json(text).choices[0].text.startsWith(body.prompt))
    }).pipe(simulated()))

  it.effect("refuse what the service refuses", () =>
    Effect.gen(function*() {
      const refusals: ReadonlyArray<readonly [object, RegExp]> = [
        [{ echo: true }, /echo can not be used with suffix/],
        [{ suffix: null, echo: true, logprobs: 1 }, /echo can not be used with logprobs/],
        [{ logprobs: 21 }, /top_logprobs is \[0, 20\]/],
        [{ max_tokens: 4097 }, /\[1, 4096\]/],
        [{ prompt: undefined }, /missing field `prompt`/],
        [{ model: "x" }, /supported API model names/]
      ]
      for (const [change, expected] of refusals) {
        const { status, text } = yield* ask({ ...body, ...change }, { path })
        assert.strictEqual(status, 400)
        assert.match(message(text), expected)
      }
    }).pipe(simulated()))
})

const boundary = "x-x-x"

const form = (parts: Readonly<Record<string, string>>) =>
  Object.entries(parts).map(([name, value]) =>
    `--${boundary}\r\ncontent-disposition: form-data; name="${name}"${
      name === "file" ? "; filename=\"a \\\"b\\\".png\"\r\ncontent-type: image/png" : ""
    }\r\n\r\n${value}\r\n`
  ).join("") + `--${boundary}--\r\n`

const upload = (parts: Readonly<Record<string, string>>, path = "/files") =>
  Effect.flatMap(
    HttpClient.execute(
      HttpClientRequest.post(`https://api.deepseek.com${path}`, { headers: { authorization: "Bearer sk-test" } }).pipe(
        HttpClientRequest.bodyText(form(parts), `multipart/form-data; boundary=${boundary}`)
      )
    ),
    read
  )

const remove = (id: string) =>
  Effect.flatMap(
    HttpClient.del(`https://api.deepseek.com/files/${id}`, { headers: { authorization: "Bearer sk-test" } }),
    read
  )

describe("files", () => {
  it.effect("are kept, listed in pages, and deleted", () =>
    Effect.gen(function*() {
      const ids: Array<string> = []
      for (const content of ["a", "bb", "ccc"]) {
        const { status, text } = yield* upload({ purpose: "user_data", file: content })
        assert.strictEqual(status, 200)
        const file = json(text)
        assert.match(file.id, /^file-api-[0-9a-f-]{36}$/)
        assert.deepInclude(file, {
          bytes: content.length,
          filename: "a \"b\".png",
          purpose: "user_data",
          object: "file"
        })
        ids.push(file.id)
      }
      const page = (query: string) =>
        Effect.map(Effect.flatMap(get(`/v1/files${query}`), read), ({ text }) => json(text))
      const first = yield* page("?limit=2&order=asc")
      assert.deepStrictEqual([first.first_id, first.last_id, first.has_more], [ids[0], ids[1], true])
      const second = yield* page(`?limit=2&order=asc&after=${first.last_id}`)
      assert.deepStrictEqual(second.data.map(({ id }: { id: string }) => id), [ids[2]])
      assert.isFalse(second.has_more)
      assert.deepStrictEqual(json((yield* remove(ids[0]!)).text), { id: ids[0], object: "file", deleted: true })
      assert.strictEqual((yield* remove(ids[0]!)).status, 404)
      assert.strictEqual((yield* Effect.flatMap(get(`/files/${ids[1]}`), read)).status, 200)
    }).pipe(simulated()))

  it.effect("expire", () =>
    Effect.gen(function*() {
      const { text } = yield* upload({
        purpose: "user_data",
        "expires_after[anchor]": "created_at",
        "expires_after[seconds]": "3600",
        file: "a"
      })
      const { created_at, expires_at, id } = json(text)
      assert.strictEqual(expires_at - created_at, 3600)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* Effect.flatMap(get(`/files/${id}`), read)).status, 404)
    }).pipe(simulated()))

  it.effect("refuse wrong forms", () =>
    Effect.gen(function*() {
      const refusals: ReadonlyArray<readonly [Readonly<Record<string, string>>, RegExp]> = [
        [{ purpose: "user_data" }, /Missing the form's field file/],
        [{ file: "a", purpose: "batch" }, /user_data/],
        [{ file: "", purpose: "user_data" }, /empty/],
        [{ file: "a", purpose: "user_data", "expires_after[seconds]": "1" }, /anchor/]
      ]
      for (const [parts, expected] of refusals) {
        const { status, text } = yield* upload(parts)
        assert.strictEqual(status, 400)
        assert.match(message(text), expected)
      }
      const { text } = yield* ask({}, { path: "/files" })
      assert.match(message(text), /multipart\/form-data/)
    }).pipe(simulated()))
})

describe("search and fetch", () => {
  it.effect("give as many results as asked for, of the site asked for", () =>
    Effect.gen(function*() {
      const { text } = yield* ask({ query: "ballast site:ships.example", count: 3 }, { path: "/v1/tools/search" })
      const { results } = json(text)
      assert.lengthOf(results, 3)
      for (const { content, rerank_score, url } of results) {
        assert.match(url, /^https:\/\/ships\.example\//)
        assert.strictEqual(content, "")
        assert.isAtMost(rerank_score, 3)
      }
    }).pipe(simulated()))

  it.effect("give a page in Markdown", () =>
    Effect.gen(function*() {
      const { text } = yield* ask({ url: "https://ships.example/ballast" }, { path: "/v1/tools/fetch" })
      const { content, title } = json(text)
      assert.isTrue(content.startsWith(`# ${title}\n`))
    }).pipe(simulated()))

  it.effect("refuse what is out of bounds", () =>
    Effect.gen(function*() {
      const search = "/v1/tools/search"
      const fetch = "/v1/tools/fetch"
      const refusals: ReadonlyArray<readonly [string, object, RegExp]> = [
        [search, {}, /missing field `query`/],
        [search, { query: "船".repeat(129) }, /query/],
        [search, { query: "a", count: 51 }, /count/],
        [search, { query: "a", ori_question: "" }, /ori_question/],
        [fetch, { url: "/a" }, /absolute/],
        [fetch, { url: "https://a:b@c.example" }, /credentials/],
        [fetch, { url: `https://c.example/${"a".repeat(8192)}` }, /8192/]
      ]
      for (const [path, body, expected] of refusals) {
        const { status, text } = yield* ask(body, { path })
        assert.strictEqual(status, 400)
        assert.match(message(text), expected)
      }
    }).pipe(simulated()))
})

describe("Responses", () => {
  const path = "/responses"
  const body = { model: "deepseek-flash", input: "Why does a ship carry ballast?" }
  const { description, name, parameters } = weather.function
  const tools = [{ type: "function", name, description, parameters }, { type: "web_search" }]

  const events = (change: object) =>
    Effect.map(ask({ ...body, stream: true, ...change }, { path }), ({ text }) => {
      const all = text.split("\n\n").filter((event) => event !== "").map((event) => {
        const [, type, data] = /^event: (\S+)\ndata: (.*)$/.exec(event) ?? []
        const parsed = json(data!)
        assert.strictEqual(parsed.type, type)
        return parsed
      })
      assert.deepStrictEqual(all.map((event) => event.sequence_number), all.map((_, index) => index))
      return all
    })

  it.effect("have the recorded shape, and the same output whole and streamed", () =>
    Effect.gen(function*() {
      const whole = json((yield* ask(body, { path })).text)
      assert.deepInclude(whole, { object: "response", status: "completed", store: false, truncation: "disabled" })
      assert.deepStrictEqual(whole.output.map(({ type }: { type: string }) => type), ["reasoning", "message"])
      assert.strictEqual(whole.output[1].phase, "final_answer")
      assert.isAbove(whole.usage.output_tokens_details.reasoning_tokens, 0)
      const streamed = yield* events({})
      const { response } = streamed.at(-1)
      assert.strictEqual(streamed.at(-1).type, "response.completed")
      const texts = (output: ReadonlyArray<{ content: ReadonlyArray<{ text: string }> }>) =>
        output.map(({ content }) => content[0]!.text)
      assert.deepStrictEqual(texts(response.output), texts(whole.output))
      const deltas = (type: string) =>
        streamed.filter((event) => event.type === `response.${type}.delta`).map(({ delta }) => delta).join("")
      assert.deepStrictEqual([deltas("reasoning_text"), deltas("output_text")], texts(whole.output))
    }).pipe(simulated()))

  it.effect("ignore what the service ignores", () =>
    Effect.gen(function*() {
      const ignored = {
        store: true,
        previous_response_id: "resp_1",
        metadata: { a: "b" },
        include: ["x"],
        truncation: "auto"
      }
      const { status, text } = yield* ask({ ...body, ...ignored, service_tier: "flex", stream_options: {} }, { path })
      assert.strictEqual(status, 200)
      assert.deepInclude(json(text), { store: false, previous_response_id: null, truncation: "disabled" })
    }).pipe(simulated()))

  it.effect("call functions, and want the thinking back", () =>
    Effect.gen(function*() {
      const ask1 = { ...body, input: "What is the weather in Paris?", tools }
      const { output } = json((yield* ask(ask1, { path })).text)
      const call = output.find(({ type }: { type: string }) => type === "function_call")
      assert.strictEqual(call.name, "get_weather")
      const done = (yield* events(ask1)).find(({ type }) => type === "response.function_call_arguments.done")
      assert.property(json(done.arguments), "city")
      const user = { role: "user", content: ask1.input }
      const result = { type: "function_call_output", call_id: call.call_id, output: "18 °C" }
      const again = (items: ReadonlyArray<object>) =>
        ask({ ...ask1, input: [user, ...items, result] }, { path, simulate: "calls=0" })
      assert.strictEqual((yield* again(output)).status, 200)
      const [{ content: _, ...carried }] = output
      assert.strictEqual((yield* again([carried, call])).status, 200)
      for (const items of [[call], [{ ...carried, content: [], encrypted_content: null }, call], [call, output[0]]]) {
        const { status, text } = yield* again(items)
        assert.strictEqual(status, 400)
        assert.strictEqual(message(text), "The `reasoning_text` in the thinking mode must be passed back to the API.")
      }
    }).pipe(simulated()))

  it.effect("call apply_patch, and no other custom tool", () =>
    Effect.gen(function*() {
      const custom = (name: string) => ({ tools: [{ type: "custom", name, format: { type: "grammar" } }] })
      const asked = { ...custom("apply_patch"), input: "Apply patch to a.txt" }
      const streamed = yield* events(asked)
      const { output } = streamed.at(-1).response
      assert.strictEqual(output.at(-1).type, "custom_tool_call")
      assert.isNotEmpty(output.at(-1).input)
      assert.strictEqual(
        streamed.filter(({ type }) => type === "response.custom_tool_call_input.delta").map(({ delta }) => delta).join(
          ""
        ),
        output.at(-1).input
      )
      const refused = yield* ask({ ...body, ...custom("other") }, { path })
      assert.strictEqual(refused.status, 400)
      assert.match(message(refused.text), /tools\[0\].*custom tool other/)
    }).pipe(simulated()))

  it.effect("satisfy a JSON Schema, and end when tokens do", () =>
    Effect.gen(function*() {
      const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] }
      const format = { type: "json_schema", name: "place", schema }
      const { output } = json((yield* ask({ ...body, text: { format }, reasoning: { effort: "none" } }, { path })).text)
      assert.property(json(output[0].content[0].text), "city")
      const cut = (yield* events({ max_output_tokens: 3 })).at(-1)
      assert.strictEqual(cut.type, "response.incomplete")
      assert.deepStrictEqual(cut.response.incomplete_details, { reason: "max_output_tokens" })
    }).pipe(simulated()))

  it.effect("need an input", () =>
    Effect.gen(function*() {
      const { status, text } = yield* ask({ model: body.model }, { path })
      assert.strictEqual(status, 400)
      assert.match(message(text), /missing field `input`/)
    }).pipe(simulated()))
})
