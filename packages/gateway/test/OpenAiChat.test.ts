import { WireText } from "@ballast/chat"
import { OpenAiChat } from "@ballast/gateway"
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { hello } from "./harness.ts"

const { dialect } = OpenAiChat

const decode = (body: object | string) => {
  const text = typeof body === "string" ? body : JSON.stringify(body)
  return Result.getOrThrow(dialect.decode({ json: JSON.parse(text), text }, {}))
}

const usage = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 }
const usageAlone = { id: "1", choices: [], usage }

describe("OpenAiChat", () => {
  it("hands a request on with its text", () => {
    const text = JSON.stringify(hello).replace("}]}", "}],\"seed\":12345678901234567890,\"new\":[1.0,\"a\"]}")
    assert.strictEqual(WireText.stringify(decode(text).request), text)
  })

  it("changes the role developer to system, and nothing else", () => {
    const messages = [{ role: "developer", content: "Be brief.", name: "x" }, ...hello.messages]
    const { request } = decode({ ...hello, messages, new: 1 })
    assert.deepStrictEqual(JSON.parse(WireText.stringify(request)), {
      ...hello,
      messages: [{ role: "system", content: "Be brief.", name: "x" }, ...hello.messages],
      new: 1
    })
  })

  it.each([
    [{ max_completion_tokens: 5 }, { max_tokens: 5 }],
    [{ max_completion_tokens: 5, max_tokens: 4 }, { max_completion_tokens: 5, max_tokens: 4 }],
    [{ max_completion_tokens: null }, { max_completion_tokens: null }]
  ])("changes %j to %j", (sent, got) => {
    assert.deepStrictEqual(JSON.parse(WireText.stringify(decode({ ...hello, ...sent }).request)), { ...hello, ...got })
  })

  it.each([
    [{ stream: true }, ""],
    [{ stream: true, stream_options: { include_usage: false } }, ""],
    [{ stream: true, stream_options: { include_usage: true } }, `data: ${JSON.stringify(usageAlone)}\n\n`]
  ])("sends usage alone only to who asked: %j", (options, sent) => {
    assert.strictEqual(decode({ ...hello, ...options }).events?.chunk(usageAlone), sent)
  })

  it("leaves usage beside a choice, which the service sends by itself, and chunks without choices that say something else", () => {
    const { events } = decode({ ...hello, stream: true })
    assert.include(events?.chunk({ ...usageAlone, choices: [{ delta: {}, finish_reason: "stop" }] }), "usage")
    assert.isNotEmpty(events?.chunk({ id: "", choices: [] }))
  })

  it("sends a chunk as it came", () => {
    const text = "{\"id\":\"1\", \"choices\":[],\"created\":1.0}"
    const chunk = WireText.attach({ id: "1", choices: [] }, text)
    assert.strictEqual(decode({ ...hello, stream: true }).events?.chunk(chunk), `data: ${text}\n\n`)
  })
})
