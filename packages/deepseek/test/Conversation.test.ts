import { type ChatRequest, WireText } from "@ballast/chat"
import { Conversation, DeepSeek, Provider } from "@ballast/deepseek"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { client } from "./support/simulated.ts"

const { deepSeek } = Provider
const ask = { role: "user", content: "Which port?" } as const
const said = { role: "assistant", content: "Bremen." } as const
const tools = [{
  type: "function",
  function: { name: "ports", parameters: { type: "object", properties: {} } }
}] as const
const base: ChatRequest.ChatRequest = { model: "deepseek-flash", messages: [ask, said, ask], tools }

const mend = (more: object) => Conversation.mend({ ...base, ...more }, deepSeek)

describe("Conversation", () => {
  it("gives lost thinking the empty text, while thinking and with tools", () => {
    assert.deepStrictEqual(mend({}).messages[1], { ...said, reasoning_content: "" })
    assert.deepStrictEqual(mend({ messages: [{ ...said, reasoning_content: null }] }).messages[0], {
      ...said,
      reasoning_content: ""
    })
  })

  it("leaves thinking that is there, and where none is asked for", () => {
    const kept: Array<object> = [
      { messages: [{ ...said, reasoning_content: "A harbour." }] },
      { messages: [{ ...said, prefix: true }] },
      { thinking: { type: "disabled" } },
      { reasoning_effort: "none" },
      { tools: [] },
      { tools: null },
      { messages: "no list" },
      { messages: [null] }
    ]
    for (const more of kept) {
      const request = { ...base, ...more }
      assert.strictEqual(Conversation.mend(request, deepSeek), request)
    }
  })

  it("keeps the text of a request that is right, and drops that of one that is mended", () => {
    const text = JSON.stringify({ ...base, tools: [] })
    const right = WireText.attach(JSON.parse(text), text)
    assert.strictEqual(WireText.of(Conversation.mend(right, deepSeek)), text)
    const wrong = WireText.attach({ ...base }, JSON.stringify(base))
    assert.isUndefined(WireText.of(Conversation.mend(wrong, deepSeek)))
  })

  it("names efforts as the service knows them", () => {
    const efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"]
    assert.deepStrictEqual(
      efforts.map((reasoning_effort) => mend({ reasoning_effort }).reasoning_effort),
      ["none", "low", "low", "high", "high", "high", "max", "max"]
    )
    assert.strictEqual(mend({ model: "another", reasoning_effort: "ultra" }).reasoning_effort, "ultra")
  })

  it("calls developers system, and adds a content that is missing", () => {
    const call = { role: "assistant", tool_calls: [], reasoning_content: "" }
    assert.deepStrictEqual<unknown>(mend({ messages: [{ role: "developer", content: "x" }, call] }).messages, [
      { role: "system", content: "x" },
      { ...call, content: null }
    ])
  })

  it("changes nothing for a provider without rules", () => {
    assert.strictEqual(
      Conversation.mend(base, Provider.make({ name: "wharf", baseUrl: "https://wharf.example" })),
      base
    )
  })

  it.effect("lets the client go on with a history that has lost its thinking", () =>
    Effect.gen(function*() {
      const model = yield* DeepSeek.DeepSeek
      for (const name of ["deepseek-flash", "deepseek-v4-pro"]) {
        yield* model.complete({ ...base, model: name, reasoning_effort: "ultra" })
      }
    }).pipe(Effect.provide(client())))
})
