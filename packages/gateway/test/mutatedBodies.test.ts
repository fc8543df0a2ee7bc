import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { numbers } from "../../../test/support/numbers.ts"
import { layer as gateway, post, Running } from "./harness.ts"

const model = "deepseek-flash"

const odd: ReadonlyArray<unknown> = [null, 0, -1, 1e21, "", "x", "\ud800", true, [], {}, [[]], [null], { type: "x" }]

/** The value with one place in it replaced or taken away. */
const mutated = (value: unknown, random: (below: number) => number): unknown => {
  if (typeof value !== "object" || value === null || random(5) === 0) return odd[random(odd.length)]
  const entries = Object.entries(value)
  if (entries.length === 0) return odd[random(odd.length)]
  const chosen = random(entries.length)
  const changed = entries.flatMap(([name, part], index) =>
    index !== chosen ? [[name, part] as const] : random(8) === 0 ? [] : [[name, mutated(part, random)] as const]
  )
  return Array.isArray(value) ? changed.map(([, part]) => part) : Object.fromEntries(changed)
}

const bodies: Readonly<Record<string, object>> = {
  "/v1/responses": {
    model,
    instructions: "Be brief.",
    input: [
      {
        role: "user",
        content: [{ type: "input_text", text: "Hi" }, { type: "input_image", image_url: "https://a.example/b" }]
      },
      {
        type: "reasoning",
        summary: [],
        content: [{ type: "reasoning_text", text: "Hm" }],
        encrypted_content: "ballast:SG0="
      },
      { type: "function_call", call_id: "a", name: "f", arguments: "{}" },
      { type: "function_call_output", call_id: "a", output: "1" },
      { type: "custom_tool_call", call_id: "b", name: "apply_patch", input: "x" },
      { type: "custom_tool_call_output", call_id: "b", output: [{ type: "input_text", text: "1" }] }
    ],
    tools: [{ type: "function", name: "f", parameters: { type: "object" } }, { type: "custom", name: "apply_patch" }],
    tool_choice: "auto",
    text: { format: { type: "json_schema", name: "n", schema: { type: "object" } } },
    reasoning: { effort: "low" },
    include: ["reasoning.encrypted_content"],
    max_output_tokens: 20,
    stream: true
  },
  "/v1/completions": { model, prompt: "a", suffix: "b", logprobs: 1, max_tokens: 9, stop: ["x"], stream: true }
}

const chatOnly = {
  providers: {
    other: { type: "openai", baseUrl: "http://other.invalid", accounts: { default: { keys: ["sk-test"] } } }
  }
}

for (const [kind, settings] of Object.entries({ native: undefined, translated: chatOnly })) {
  describe(`mutated bodies, ${kind}`, () => {
    layer(gateway(settings === undefined ? {} : { settings }), { excludeTestServices: true })((it) => {
      it.effect("are answered, or refused as the client's fault", () =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const random = numbers(4)
          const statuses = new Set<number>()
          for (const [path, body] of Object.entries(bodies)) {
            for (let run = 0; run < 120; run++) {
              const sent = JSON.stringify(mutated(body, random))
              const { status, text } = yield* post(url + path, sent)
              assert.isBelow(status, 500, `${sent}: ${text}`)
              assert.notInclude(text, "internal_error")
              statuses.add(status)
            }
          }
          assert.isTrue(statuses.has(400))
          if (kind === "native") assert.isTrue(statuses.has(200))
        }))
    })
  })
}
