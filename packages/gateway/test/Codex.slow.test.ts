import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { layer as gateway, post, Running } from "./harness.ts"

/** Tools as Codex declares them: functions, a custom tool with a grammar, and tools that a service would run. */
const tools = [
  {
    type: "function",
    name: "exec_command",
    description: "Runs a command in a terminal.",
    strict: false,
    parameters: {
      type: "object",
      properties: { cmd: { type: "string" }, workdir: { type: "string" }, yield_time_ms: { type: "number" } },
      required: ["cmd"],
      additionalProperties: false
    }
  },
  {
    type: "function",
    name: "update_plan",
    description: "Updates the plan.",
    strict: false,
    parameters: {
      type: "object",
      properties: {
        plan: {
          type: "array",
          items: { type: "object", properties: { step: { type: "string" }, status: { type: "string" } } }
        }
      },
      required: ["plan"]
    }
  },
  {
    type: "custom",
    name: "apply_patch",
    description: "Edits files.",
    format: { type: "grammar", syntax: "lark", definition: "start: \"*** Begin Patch\" /.+/" }
  },
  { type: "web_search", external_web_access: false }
]

const text = (role: string, text: string) => ({
  type: "message",
  role,
  content: [{ type: role === "assistant" ? "output_text" : "input_text", text }]
})

const body = (model: string, input: ReadonlyArray<object>) => ({
  model,
  instructions: "You are a coding agent in a terminal.",
  input,
  tools,
  tool_choice: "auto",
  parallel_tool_calls: true,
  reasoning: { effort: "medium", summary: "auto" },
  store: false,
  stream: true,
  include: ["reasoning.encrypted_content"],
  prompt_cache_key: "0199a213-81c0-7800-8aa1-bbab2a035a53",
  text: { verbosity: "low" },
  client_metadata: { "x-codex-installation-id": "0199a213" }
})

const headers = {
  accept: "text/event-stream",
  originator: "codex_exec",
  session_id: "0199a213-81c0-7800-8aa1-bbab2a035a53",
  "user-agent": "codex_exec/0.99.0 (Debian 12; x86_64)",
  authorization: "Bearer key-of-alice"
}

// oxlint-disable-next-line typescript/no-explicit-any -- items of the wire, read as Codex reads them
type Item = any

/** Reads a stream as Codex does: the items that are done, and the end with its usage. */
const readAll = (events: string): { readonly items: ReadonlyArray<Item>; readonly completed: Item } => {
  const items: Array<Item> = []
  let completed: Item
  for (const block of events.split("\n\n")) {
    const data = /^data: (.*)$/m.exec(block)?.[1]
    if (data === undefined) continue
    const event = JSON.parse(data)
    if (event.type === "response.output_item.done") items.push(event.item)
    if (event.type === "response.completed") completed = event.response
  }
  return { items, completed }
}

/** An item as Codex sends it back: without its id, and thinking only as the text that it can't read. */
const again = ({ id, status, ...item }: Item): Item => {
  if (item.type !== "reasoning") return item
  const { content, ...rest } = item
  return rest
}

/** What Codex answers to a call. */
const outputOf = (item: Item): ReadonlyArray<object> =>
  item.type === "function_call"
    ? [{
      type: "function_call_output",
      call_id: item.call_id,
      output: "Chunk ID: 1\nProcess exited with code 0\nOutput:\nREADME.md"
    }]
    : item.type === "custom_tool_call"
    ? [{
      type: "custom_tool_call_output",
      call_id: item.call_id,
      output: "{\"output\":\"Success.\",\"metadata\":{\"exit_code\":0}}"
    }]
    : []

const chatOnly = {
  providers: {
    other: { type: "openai", baseUrl: "http://other.invalid", accounts: { default: { keys: ["sk-test"] } } }
  }
}

const kinds = { native: {}, translated: { settings: chatOnly } }

for (const [kind, options] of Object.entries(kinds)) {
  describe(`Codex, ${kind}`, () => {
    layer(gateway({ clientKeys: ["key-of-alice"], ...options }), { excludeTestServices: true })((it) => {
      for (const model of ["deepseek-flash", "deepseek-v4-pro"]) {
        it.effect(`works for 20 turns with tools on ${model}`, () =>
          Effect.gen(function*() {
            const { url } = yield* Running
            const input: Array<object> = [
              text("developer", "<permissions>Never ask.</permissions>"),
              text("user", "<environment_context><cwd>/work</cwd></environment_context>"),
              text("user", "exec_command: list the files")
            ]
            const called = new Set<string>()
            for (let turn = 0; turn < 20; turn++) {
              const answer = yield* post(`${url}/v1/responses`, body(model, input), headers)
              assert.strictEqual(answer.status, 200, answer.text)
              const { completed, items } = readAll(answer.text)
              assert.isNotEmpty(completed.id)
              assert.isAbove(completed.usage.output_tokens, 0)
              assert.isAbove(items.length, 0)
              for (const item of items) {
                input.push(again(item), ...outputOf(item))
                if (item.name !== undefined) called.add(`${item.type} ${item.name}`)
              }
              if (!items.some((item) => outputOf(item).length > 0)) {
                input.push(
                  text("user", turn % 3 === 0 ? "apply_patch: edit README.md" : `exec_command: go on, ${turn}`)
                )
              }
            }
            assert.sameMembers([...called], ["function_call exec_command", "custom_tool_call apply_patch"])
          }))
      }
    })
  })
}
