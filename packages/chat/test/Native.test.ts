import { Native } from "@ballast/chat"
import { assert, describe, it } from "@effect/vitest"

const chat = { model: "a", messages: [{ role: "user", content: "Hi" }] } as const
const native = { protocol: "messages", body: { model: "a", max_tokens: 1 } } as const

describe("Native", () => {
  it("outlives copies of the request, and JSON does not see it", () => {
    const request = Native.attach(chat, native)
    assert.strictEqual(Native.of({ ...request, model: "b" }), native)
    assert.strictEqual(JSON.stringify(request), JSON.stringify(chat))
    assert.isUndefined(Native.of(chat))
    assert.isUndefined(Native.of(Native.without(request)))
    assert.deepStrictEqual(Native.without(request), chat)
    assert.strictEqual(Native.without(chat), chat)
  })

  it("keeps a text for one protocol, on one object", () => {
    const chunk = Native.attachText({ choices: [] }, "messages", "event: ping\n\n")
    assert.strictEqual(Native.textOf(chunk, "messages"), "event: ping\n\n")
    assert.isUndefined(Native.textOf(chunk, "responses"))
    assert.isUndefined(Native.textOf({ ...chunk }, "messages"))
    assert.strictEqual(Native.textOf(Native.attachText(chunk, "responses", "b"), "responses"), "b")
  })
})
