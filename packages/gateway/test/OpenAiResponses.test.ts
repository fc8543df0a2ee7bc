import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import OpenAI from "openai"
import { layer as gateway, post, Running } from "./harness.ts"

const model = "deepseek-flash"
const input = "What is the weather in Paris?"

const tools = [{
  type: "function" as const,
  name: "weather",
  description: "The weather of a city",
  strict: false,
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] }
}]

const client = Effect.map(
  Running,
  ({ url }) => new OpenAI({ apiKey: "key-of-alice", baseURL: `${url}/v1`, maxRetries: 0 })
)

const asking = (headers: Record<string, string>) => ({ headers })

/** A provider that speaks chat alone: to it, everything is translated. */
const chatOnly = {
  providers: {
    other: { type: "openai", baseUrl: "http://other.invalid", accounts: { default: { keys: ["sk-test"] } } }
  }
}

const kinds = { native: {}, translated: { settings: chatOnly } }

for (const [kind, options] of Object.entries(kinds)) {
  describe(`Responses by the OpenAI SDK, ${kind}`, () => {
    layer(gateway({ clientKeys: ["key-of-alice"], ...options }), { excludeTestServices: true })((it) => {
      it.effect("answer, whole and streamed the same", () =>
        Effect.gen(function*() {
          const openai = yield* client
          const whole = yield* Effect.promise(() => openai.responses.create({ model, input }))
          assert.isNotEmpty(whole.output_text)
          assert.strictEqual(whole.status, "completed")
          assert.isAbove(whole.usage!.output_tokens_details.reasoning_tokens, 0)
          const stream = openai.responses.stream({ model, input })
          const streamed = yield* Effect.promise(() => stream.finalResponse())
          assert.strictEqual(streamed.output_text, whole.output_text)
          assert.strictEqual(streamed.usage?.total_tokens, whole.usage?.total_tokens)
        }))

      it.effect("count their events, and name them", () =>
        Effect.gen(function*() {
          const openai = yield* client
          const events = yield* Effect.promise(async () => {
            const seen: Array<OpenAI.Responses.ResponseStreamEvent> = []
            const stream = await openai.responses.create({ model, input, stream: true })
            for await (const event of stream) seen.push(event)
            return seen
          })
          assert.deepStrictEqual(events.map((event) => event.sequence_number), events.map((_, index) => index))
          assert.strictEqual(events[0]?.type, "response.created")
          assert.strictEqual(events.at(-1)?.type, "response.completed")
        }))

      it.effect("call a tool and go on with its result", () =>
        Effect.gen(function*() {
          const openai = yield* client
          const first = yield* Effect.promise(() => openai.responses.create({ model, input, tools }))
          const call = first.output.find((item) => item.type === "function_call")!
          assert.strictEqual(call.name, "weather")
          const second = yield* Effect.promise(() =>
            openai.responses.create({
              model,
              tools,
              input: [
                { role: "user", content: input },
                ...first.output as Array<OpenAI.Responses.ResponseInputItem>,
                { type: "function_call_output", call_id: call.call_id, output: "18 °C, sunny" }
              ]
            })
          )
          assert.include(second.output_text, "18 °C")
        }))

      it.effect("satisfy a schema", () =>
        Effect.gen(function*() {
          const openai = yield* client
          const schema = {
            type: "object",
            properties: { city: { type: "string" }, days: { type: "integer" } },
            required: ["city", "days"],
            additionalProperties: false
          }
          const format = { type: "json_schema" as const, name: "trip", schema, strict: true }
          const answer = yield* Effect.promise(() =>
            openai.responses.parse({ model, input: "Plan a trip.", text: { format } })
          )
          const { city, days } = Object(answer.output_parsed ?? JSON.parse(answer.output_text))
          assert.isString(city)
          assert.isNumber(days)
        }))

      it.effect("tell of an answer that was cut", () =>
        Effect.gen(function*() {
          const openai = yield* client
          const answer = yield* Effect.promise(() => openai.responses.create({ model, input, max_output_tokens: 20 }))
          assert.strictEqual(answer.status, "incomplete")
          assert.strictEqual(answer.incomplete_details?.reason, "max_output_tokens")
        }))

      it.effect("refuse with a status and a field", () =>
        Effect.gen(function*() {
          const openai = yield* client
          const error = yield* Effect.promise(() =>
            openai.responses.create({ model: "gpt-0", input }).then(() => assert.fail(), (error: unknown) => error)
          )
          assert.instanceOf(error, OpenAI.BadRequestError)
          assert.match(error.message, /supported API model names/)
          const { url } = yield* Running
          const headers = { authorization: "Bearer key-of-alice" }
          const wrong: ReadonlyArray<readonly [object, string]> = [
            [{ input }, "model"],
            [{ model }, "input"],
            [{ model, input: 5 }, "input"],
            [{ model, input: [{ role: "user", content: input }, { type: "item_reference", id: "rs_1" }] }, "input.1"],
            [{ model, input, stream: "yes" }, "stream"]
          ]
          for (const [body, param] of wrong) {
            const { json, status } = yield* post(`${url}/v1/responses`, body, headers)
            assert.strictEqual(status, 400)
            assert.strictEqual(json.error.param, param)
          }
        }))

      it.effect("end a stream that fails on its way in response.failed and an error", () =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const headers = { authorization: "Bearer key-of-alice", "x-simulate": "cut=12" }
          const { status, text } = yield* post(`${url}/v1/responses`, { model, input, stream: true }, headers)
          assert.strictEqual(status, 200)
          const events = text.split("\n").filter((line) => line.startsWith("data: ")).map((line) =>
            JSON.parse(line.slice(6))
          )
          assert.deepStrictEqual(events.map((event) => event.sequence_number), events.map((_, index) => index))
          // What is translated goes on by chat where it broke off.
          if (kind === "translated") return assert.strictEqual(events.at(-1).type, "response.completed")
          const [failed, error] = events.slice(-2)
          assert.strictEqual(failed.type, "response.failed")
          assert.strictEqual(failed.response.id, events[0].response.id)
          assert.strictEqual(failed.response.error.code, "upstream_truncated")
          assert.strictEqual(error.type, "error")
          const openai = yield* client
          const thrown = yield* Effect.promise(async () => {
            try {
              const stream = await openai.responses.create(
                { model, input, stream: true },
                asking({ "x-simulate": "cut=12" })
              )
              for await (const _ of stream);
              return undefined
            } catch (error) {
              return error
            }
          })
          assert.instanceOf(thrown, OpenAI.APIError)
        }))
    })
  })
}

describe("Responses in the gateway", () => {
  layer(gateway(), { excludeTestServices: true })((it) => {
    it.effect("pass on what they do not know, and the service's own text", () =>
      Effect.gen(function*() {
        const { log, url } = yield* Running
        const { headers, json, text } = yield* post(`${url}/responses`, {
          model,
          input,
          metadata: { a: "b" },
          odd: 1
        })
        assert.strictEqual(json.output[1].phase, "final_answer")
        assert.strictEqual(JSON.stringify(JSON.parse(text)), text)
        assert.strictEqual(headers.get("x-ballast-provider"), "simulator")
        const line = log.find(({ path }) => path === "/responses")
        assert.isAbove(Number(line?.["reasoning_tokens"]), 0)
      }))
  })
})

describe("text completions by the OpenAI SDK", () => {
  layer(gateway({ clientKeys: ["key-of-alice"] }), { excludeTestServices: true })((it) => {
    it.effect("fill in the middle, whole and streamed", () =>
      Effect.gen(function*() {
        const openai = yield* client
        const asked = { model, prompt: "def add(a, b):\n", suffix: "\nprint(1)" }
        const whole = yield* Effect.promise(() => openai.completions.create(asked))
        assert.strictEqual(whole.object, "text_completion")
        assert.isNotEmpty(whole.choices[0]?.text)
        const texts = yield* Effect.promise(async () => {
          const seen: Array<string> = []
          for await (const chunk of await openai.completions.create({ ...asked, stream: true })) {
            seen.push(chunk.choices[0]?.text ?? "")
          }
          return seen
        })
        assert.isAbove(texts.length, 2)
        assert.strictEqual(texts.join(""), whole.choices[0]?.text)
      }))

    it.effect("need a prompt", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const headers = { authorization: "Bearer key-of-alice" }
        const { json, status } = yield* post(`${url}/v1/completions`, { model, prompt: ["a"] }, headers)
        assert.deepStrictEqual([status, json.error.param], [400, "prompt"])
      }))
  })

  layer(gateway({ settings: chatOnly }), { excludeTestServices: true })((it) => {
    it.effect("are not there at hosts that have none", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const { json, status } = yield* post(`${url}/v1/completions`, { model, prompt: "a" })
        assert.deepStrictEqual([status, json.error.code], [404, "upstream_not_found"])
      }))
  })
})
