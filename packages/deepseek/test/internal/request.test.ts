import { type ChatRequest, WireText } from "@ballast/chat"
import { assert, describe, it } from "@effect/vitest"
import * as requests from "../../src/internal/request.ts"

const read = (text: string): ChatRequest.ChatRequest => WireText.attach(JSON.parse(text), text)
const plain = `{"model": "m","messages":[{"role":"user","content":"hi"}],"seed":12345678901234567890`

const textOf = (body: object): string => "text" in body ? String(body.text) : ""
const streamed = (request: ChatRequest.ChatRequest, takesUsage = true) =>
  textOf(requests.streamed(request, takesUsage).body)

describe("request", () => {
  it("is sent as its own text where nothing has to change", () => {
    for (const text of [`${plain}}`, `${plain},"stream":false} `, `${plain},"stream":null}`]) {
      assert.strictEqual(textOf(requests.whole(read(text))), text)
    }
    const text = `${plain},"stream":true,"stream_options":{"include_usage":true}}`
    assert.strictEqual(streamed(read(text)), text)
    assert.strictEqual(streamed(read(`${plain},"stream":true}`), false), `${plain},"stream":true}`)
  })

  it("has what is added at its end, and the rest as it was", () => {
    const usage = `"stream_options":{"include_usage":true}`
    assert.strictEqual(streamed(read(`${plain},"stream":true}\n`)), `${plain},"stream":true,${usage}}\n`)
    assert.strictEqual(streamed(read(`${plain}}`)), `${plain},"stream":true,${usage}}`)
    assert.strictEqual(streamed(read(`${plain}}`), false), `${plain},"stream":true}`)
  })

  it("is written anew where a field of it has to change", () => {
    const streaming = read(`${plain},"stream":true,"stream_options":{"include_usage":true}}`)
    const { stream_options: _, ...rest } = streaming
    assert.deepStrictEqual(JSON.parse(textOf(requests.whole(streaming))), { ...rest, stream: false })
    for (const fields of [`"stream":false`, `"stream":true,"stream_options":null`]) {
      assert.deepInclude(JSON.parse(streamed(read(`${plain},${fields}}`))), {
        stream: true,
        stream_options: { include_usage: true }
      })
    }
  })

  it("asks for usage where the caller has not, and where the body has room for it", () => {
    const sized = (bytes: number): ChatRequest.ChatRequest => {
      const empty = `{"model":"m","messages":[{"role":"user","content":""}],"stream":true}`
      const content = "x".repeat(bytes - empty.length)
      const value = { model: "m", messages: [{ role: "user", content }] as const, stream: true }
      return WireText.attach(value, empty.replace(`""`, `"${content}"`))
    }
    const room = `,"stream_options":{"include_usage":true}`.length
    const asks = [room, room - 1].map((room) => requests.streamed(sized(48 * 1024 * 1024 - room), true).asksForUsage)
    assert.deepStrictEqual(asks, [true, false])
    assert.isFalse(requests.streamed(read(`${plain},"stream_options":{"include_usage":false}}`), true).asksForUsage)
  })

  it("has no lone surrogates, and every other escape as it was", () => {
    const text = String
      .raw`{"model":"m","messages":[{"role":"user","content":"\ud83c\udf0a \ud83c \uDF0A\\ud83c \u00e9 \"\ud83c\ud83c\udf0a"}]}`
    const expected = String
      .raw`{"model":"m","messages":[{"role":"user","content":"\ud83c\udf0a \ufffd \ufffd\\ud83c \u00e9 \"\ufffd\ud83c\udf0a"}]}`
    assert.strictEqual(textOf(requests.whole(read(text))), expected)
    const lone: ChatRequest.ChatRequest = { model: "m", messages: [{ role: "user", content: "a\ud83c" }] }
    assert.deepStrictEqual(JSON.parse(textOf(requests.whole(lone))).messages, [{ role: "user", content: "a\ufffd" }])
  })
})
