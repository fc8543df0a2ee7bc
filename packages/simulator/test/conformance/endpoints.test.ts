import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { HttpClient, HttpClientRequest } from "effect/http"
import { ask, eventsOf, get, read } from "../support.ts"
import { all, client, refuses, section, takes } from "./rows.ts"

const json = (body: object, path: string) =>
  Effect.map(ask(body, { path }), ({ status, text }) => {
    assert.strictEqual(status, 200, text)
    return JSON.parse(text)
  })

const fim = { path: "/beta/completions" }
const code = { model: "deepseek-flash", prompt: "def add(a, b):\n", suffix: "\nprint(add(1, 2))" }

section("§10.1 FIM", {
  "model and prompt are required; both models": all(
    refuses({ model: code.model }, /missing field `prompt`/, fim),
    takes(code, fim),
    takes({ ...code, model: "deepseek-v4-pro" }, fim)
  ),
  "echo: not with suffix, not with logprobs": all(
    takes({ ...code, suffix: undefined, echo: true }, fim),
    refuses({ ...code, echo: true }, /suffix/, fim),
    refuses({ ...code, suffix: undefined, echo: true, logprobs: 1 }, /logprobs/, fim)
  ),
  "logprobs at most 20, max_tokens at most 4K, stop at most 16": all(
    refuses({ ...code, logprobs: 21 }, /20/, fim),
    refuses({ ...code, max_tokens: 4097 }, /4096/, fim),
    refuses({ ...code, stop: Array(17).fill("x") }, /17/, fim)
  ),
  "text_completion, without thoughts": Effect.map(json(code, fim.path), (answer) => {
    assert.strictEqual(answer.object, "text_completion")
    assert.hasAllKeys(answer.choices[0], ["text", "index", "finish_reason", "logprobs"])
    assert.notProperty(answer.usage, "completion_tokens_details")
  }),
  "streams end with [DONE]": Effect.map(
    ask({ ...code, stream: true }, fim),
    ({ text }) => assert.strictEqual(eventsOf(text).at(-1), "[DONE]")
  )
})

section("§10.2 models, §10.3 balance", {
  "models: with what they can": Effect.map(client((deepseek) => deepseek.models), ({ data }) => {
    assert.deepStrictEqual(data.map(({ id }) => id), ["deepseek-flash", "deepseek-v4-pro"])
    assert.deepInclude(data[0], { context_window: 1_048_576, max_output_tokens: 393_216 })
  }),
  "balance: amounts are texts": Effect.map(client((deepseek) => deepseek.balance), (balance) => {
    assert.isTrue(balance.is_available)
    assert.match(String(balance.balance_infos[0]?.total_balance), /^\d+\.\d\d$/)
  }),
  "balance: errors may be plain text": Effect.map(
    Effect.flatMap(get("/user/balance", {}), read),
    ({ text }) => assert.throws(() => JSON.parse(text), SyntaxError)
  )
})

const responses = { path: "/responses" }
const asked = { model: "deepseek-flash", input: "Why does a ship carry ballast?" }

section("§10.4 Responses", {
  "input or instructions is required": all(
    refuses({ model: asked.model }, /input/, responses),
    takes(asked, responses)
  ),
  "what is ignored": takes(
    {
      ...asked,
      store: true,
      previous_response_id: "r",
      metadata: {},
      include: [],
      service_tier: "flex",
      truncation: "auto"
    },
    responses
  ),
  "text.format json_schema": Effect.map(
    json({
      ...asked,
      reasoning: { effort: "none" },
      text: { format: { type: "json_schema", name: "a", schema: { type: "object", properties: {} } } }
    }, responses.path),
    ({ output }) => assert.isObject(JSON.parse(output.at(-1).content[0].text))
  ),
  "the constants of an answer": Effect.map(json(asked, responses.path), (answer) =>
    assert.deepInclude(answer, {
      object: "response",
      status: "completed",
      store: false,
      parallel_tool_calls: true,
      truncation: "disabled",
      service_tier: "default",
      previous_response_id: null
    })),
  "events are numbered from 0, and there is no [DONE]": Effect.map(
    ask({ ...asked, stream: true }, responses),
    ({ text }) => {
      assert.notInclude(text, "[DONE]")
      const numbers = Array.from(text.matchAll(/"sequence_number":(\d+)/g), ([, number]) => Number(number))
      assert.deepStrictEqual(numbers, numbers.map((_, index) => index))
    }
  ),
  "custom tools other than apply_patch": refuses(
    { ...asked, tools: [{ type: "custom", name: "other" }] },
    /custom tool/,
    responses
  )
})

const messages = { path: "/anthropic/v1/messages" }
const turn = { model: "deepseek-flash", max_tokens: 2000, messages: [{ role: "user", content: "Hello!" }] }

section("§10.5 Messages", {
  "both paths": all(takes(turn, messages), takes(turn, { path: "/anthropic/messages" })),
  "claude-opus is pro, other claude names are flash, other names a 400": Effect.gen(function*() {
    assert.strictEqual((yield* json({ ...turn, model: "claude-opus-5" }, messages.path)).model, "deepseek-v4-pro")
    assert.strictEqual((yield* json({ ...turn, model: "claude-haiku-5" }, messages.path)).model, "deepseek-flash")
    yield* refuses({ ...turn, model: "gpt-5" }, /supported API model names/, messages)
  }),
  "what is ignored": takes(
    {
      ...turn,
      top_k: 3,
      service_tier: "auto",
      container: "c",
      mcp_servers: [],
      thinking: { type: "enabled", budget_tokens: 1 }
    },
    messages
  ),
  "blocks that there are not": refuses(
    { ...turn, messages: [{ role: "user", content: [{ type: "document" }] }] },
    /unknown variant `document`/,
    messages
  ),
  "tools of type custom": refuses(
    { ...turn, tools: [{ type: "custom", name: "a", input_schema: { type: "object" } }] },
    /unknown variant `custom`/,
    messages
  ),
  "counts are disjoint, and agree with count_tokens": Effect.gen(function*() {
    const { usage } = yield* json(turn, messages.path)
    const { input_tokens } = yield* json(turn, `${messages.path}/count_tokens`)
    assert.strictEqual(
      usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens,
      input_tokens
    )
  })
})

const upload = (fields: Readonly<Record<string, string>>) => {
  const form = new FormData()
  form.append("file", new Blob(["x"]), "a.png")
  for (const [name, value] of Object.entries(fields)) form.append(name, value)
  const headers = { authorization: "Bearer sk-test" }
  const request = HttpClientRequest.bodyFormData(
    HttpClientRequest.post("https://api.deepseek.com/files", { headers }),
    form
  )
  return Effect.flatMap(HttpClient.execute(request), read)
}

section("§10.6 files", {
  "upload with purpose user_data": Effect.gen(function*() {
    const file = JSON.parse((yield* upload({ purpose: "user_data" })).text)
    assert.match(file.id, /^file-api-[0-9a-f-]{36}$/)
    assert.deepInclude(file, { object: "file", bytes: 1, filename: "a.png", purpose: "user_data" })
    assert.strictEqual((yield* upload({ purpose: "batch" })).status, 400)
  }),
  "expires_after: 3600 to 2592000 seconds after its creation": Effect.gen(function*() {
    const after = (seconds: string) =>
      upload({ purpose: "user_data", "expires_after[anchor]": "created_at", "expires_after[seconds]": seconds })
    const file = JSON.parse((yield* after("3600")).text)
    assert.strictEqual(file.expires_at, file.created_at + 3600)
    for (const seconds of ["3599", "2592001"]) assert.strictEqual((yield* after(seconds)).status, 400)
  }),
  "a list of pages": Effect.gen(function*() {
    for (let n = 0; n < 3; n++) yield* upload({ purpose: "user_data" })
    const page = JSON.parse((yield* Effect.flatMap(get("/files?limit=2"), read)).text)
    assert.hasAllKeys(page, ["object", "data", "first_id", "last_id", "has_more"])
    assert.deepStrictEqual([page.data.length, page.has_more], [2, true])
  })
})

section("§10.7 search and fetch", {
  "search: query of 1 to 128 characters, count 1 to 50": Effect.gen(function*() {
    const path = "/v1/tools/search"
    assert.lengthOf((yield* json({ query: "ballast" }, path)).results, 10)
    assert.lengthOf((yield* json({ query: "ballast", count: 50 }, path)).results, 50)
    yield* refuses({ query: "" }, /query/, { path })
    yield* refuses({ query: "a".repeat(129) }, /query/, { path })
    yield* refuses({ query: "a", count: 51 }, /count/, { path })
  }),
  "fetch: an absolute URL of at most 8,192 characters, without credentials": Effect.gen(function*() {
    const path = "/v1/tools/fetch"
    assert.hasAllKeys(yield* json({ url: "https://ships.example/a" }, path), ["title", "content"])
    yield* refuses({ url: "/a" }, /absolute/, { path })
    yield* refuses({ url: "https://a:b@c.example" }, /credentials/, { path })
    yield* refuses({ url: `https://c.example/${"a".repeat(8192)}` }, /8192/, { path })
  })
})
