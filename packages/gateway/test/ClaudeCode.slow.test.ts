import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { layer as gateway, type Options, post, Running } from "./harness.ts"

/**
 * Requests in the shapes that Claude Code sends, written by hand after what its documentation for gateways and captures of it say.
 *
 * @see {@link https://code.claude.com/docs/en/llm-gateway-protocol}
 */
const headers = {
  accept: "application/json",
  "x-api-key": "key-of-alice",
  "user-agent": "claude-cli/2.1.69 (external, cli)",
  "x-app": "cli",
  "x-stainless-lang": "js",
  "x-stainless-retry-count": "0",
  "x-stainless-timeout": "600",
  "anthropic-dangerous-direct-browser-access": "true",
  "anthropic-version": "2023-06-01",
  "anthropic-beta":
    "claude-code-20250219,interleaved-thinking-2025-05-14,adaptive-thinking-2026-01-28,context-management-2025-06-27,effort-2025-11-24"
}

const cached = { cache_control: { type: "ephemeral", ttl: "1h" } }
const text = (text: string, more: object = {}) => ({ type: "text", text, ...more })

const system = [
  text("x-anthropic-billing-header: cc_version=2.1.69.a3f; cc_entrypoint=cli; cch=5e91c;"),
  text("You are Claude Code, Anthropic's official CLI for Claude.", cached),
  text("You are an interactive agent that helps with software.\n\n# Environment\n - Platform: linux", cached)
]

const tool = (name: string, properties: object, more: object = {}) => ({
  name,
  description: `What ${name} does.`,
  input_schema: {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    type: "object",
    properties,
    required: Object.keys(properties).slice(0, 1),
    additionalProperties: false
  },
  ...more
})

const tools = [
  tool("Bash", { command: { type: "string" }, timeout: { type: "number" } }),
  tool("Read", { file_path: { type: "string" }, offset: { type: "integer", minimum: 0 } }),
  tool("WebFetch", { url: { type: "string", format: "uri" } }, { defer_loading: true }),
  tool("mcp__tracker__find_issue", { query: { type: "string" } }, { eager_input_streaming: true, ...cached })
]

const metadata = {
  user_id: `user_${"0784b260".repeat(8)}_account__session_b4e5aaaa-9a3e-47c4-84ad-3a70f38c676e`
}

const reminder = text("<system-reminder>\nThe date is 2026-11-29.\n</system-reminder>\n")

const base = {
  model: "claude-opus-5",
  max_tokens: 32_000,
  system,
  tools,
  metadata,
  thinking: { type: "adaptive" },
  context_management: { edits: [{ type: "clear_thinking_20251015", keep: "all" }] },
  output_config: { effort: "medium" },
  stream: true
}

const requests: Readonly<Record<string, { readonly path?: string; readonly body: object }>> = {
  "a look whether the key works": {
    body: { model: "claude-haiku-5", max_tokens: 1, messages: [{ role: "user", content: "quota" }], metadata }
  },
  "a title in JSON, without thinking": {
    body: {
      ...base,
      model: "claude-haiku-5",
      tools: [],
      thinking: { type: "disabled" },
      temperature: 1,
      output_config: {
        format: {
          type: "json_schema",
          schema: { type: "object", properties: { title: { type: "string" } }, required: ["title"] }
        }
      },
      messages: [{ role: "user", content: [text("Name this session in json: fix the build")] }]
    }
  },
  "the first turn": {
    body: { ...base, messages: [{ role: "user", content: [reminder, text("Fix the build", cached)] }] }
  },
  "a turn after tools": {
    body: {
      ...base,
      model: "claude-sonnet-5",
      thinking: { type: "enabled", budget_tokens: 31_999 },
      messages: [
        { role: "user", content: "<available-deferred-tools>\nWebFetch\n</available-deferred-tools>" },
        { role: "user", content: [reminder, text("Fix the build")] },
        {
          role: "assistant",
          content: [
            { type: "thinking", thinking: "I run it first.", signature: "EqQB" },
            text("I run the build."),
            { type: "tool_use", id: "toolu_01", name: "Bash", input: { command: "make" } },
            { type: "tool_use", id: "toolu_02", name: "Read", input: { file_path: "/a/Makefile" } }
          ]
        },
        {
          role: "user",
          content: [
            { type: "tool_result", tool_use_id: "toolu_01", content: "exit 2", is_error: true },
            { type: "tool_result", tool_use_id: "toolu_02", content: [text("all:\n\tcc a.c")], ...cached },
            reminder
          ]
        }
      ]
    }
  },
  "a turn with words of the system on the way": {
    body: {
      ...base,
      max_tokens: 64_000,
      metadata: { user_id: "{\"device_id\":\"0c42ed75\",\"account_uuid\":\"\",\"session_id\":\"513b80c5\"}" },
      thinking: { type: "adaptive", display: "omitted" },
      messages: [
        { role: "user", content: [reminder, text("Read a.txt")] },
        { role: "system", content: "# Environment\nThe model is claude-opus-5." },
        {
          role: "assistant",
          content: [
            { type: "thinking", thinking: "I read it.", signature: "EqQB" },
            { type: "tool_use", id: "toolu_01", name: "Read", input: { file_path: "a.txt" } }
          ]
        },
        { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_01", content: "hello" }] },
        { role: "system", content: [text("<total_tokens>14984528 tokens left</total_tokens>", cached)] }
      ]
    }
  },
  "a turn after an interruption": {
    body: {
      ...base,
      messages: [
        { role: "user", content: [text("Fix the build")] },
        {
          role: "assistant",
          content: [
            { type: "thinking", thinking: "Hm", signature: "EqQB" },
            { type: "tool_use", id: "toolu_01", name: "Bash", input: {} }
          ]
        },
        {
          role: "user",
          content: [
            {
              type: "tool_result",
              tool_use_id: "toolu_01",
              content: "The user doesn't want to proceed with this tool use.",
              is_error: true
            },
            text("[Request interrupted by user for tool use]"),
            text("Use ninja instead")
          ]
        }
      ]
    }
  },
  "a count of tokens": {
    path: "/v1/messages/count_tokens?beta=true",
    body: { model: "claude-opus-5", messages: [{ role: "user", content: "foo" }], tools }
  }
}

const chatOnly: Options = {
  clientKeys: ["key-of-alice"],
  settings: {
    providers: {
      local: { type: "openai", baseUrl: "https://api.deepseek.com", accounts: { default: { keys: ["sk-test"] } } }
    }
  }
}

describe("Claude Code", () => {
  for (const [name, options] of Object.entries({ Messages: { clientKeys: ["key-of-alice"] }, chat: chatOnly })) {
    layer(gateway(options), { excludeTestServices: true })((it) => {
      for (const [what, { body, path = "/v1/messages?beta=true" }] of Object.entries(requests)) {
        it.effect(`${what}, to a service that speaks ${name}`, () =>
          Effect.gen(function*() {
            const { url } = yield* Running
            const answer = yield* post(url + path, body, headers)
            assert.strictEqual(answer.status, 200, answer.text)
            if (path.includes("count")) return assert.isAbove(answer.json.input_tokens, 0)
            if (!("stream" in body)) return assert.strictEqual(answer.json.stop_reason, "max_tokens")
            const events = answer.text.split("\n").filter((line) => line.startsWith("event: "))
            assert.deepStrictEqual([events[0], events.at(-1)], ["event: message_start", "event: message_stop"])
            assert.include(answer.text, "\"stop_reason\":\"")
          }))
      }
    })
  }

  const odd = [null, 7, "", "x", [], {}, [null], { type: "text" }, { type: 1 }, true, -1, [[]], { a: { b: [] } }]

  /** A copy in which one value, the `place`th in their order, is another one. */
  const changed = (value: unknown, place: number, other: unknown): unknown => {
    let at = 0
    const copy = (value: unknown): unknown => {
      if (at++ === place) return other
      if (Array.isArray(value)) return value.map(copy)
      if (typeof value !== "object" || value === null) return value
      return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, copy(inner)]))
    }
    return copy(value)
  }

  for (const [name, options] of Object.entries({ Messages: { clientKeys: ["key-of-alice"] }, chat: chatOnly })) {
    layer(gateway(options), { excludeTestServices: true })((it) => {
      it.effect(`never makes the gateway fail, whatever is wrong in a request to a service that speaks ${name}`, () =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const statuses = new Set<number>()
          const bodies = Object.values(requests)
          for (let run = 0; run < 150; run++) {
            const { body, path = "/v1/messages" } = bodies[run % bodies.length]!
            const answer = yield* post(url + path, changed(body, (run * 7) % 90, odd[run % odd.length]), headers)
            statuses.add(answer.status)
            if (answer.status !== 200) assert.strictEqual(answer.json.type, "error", answer.text)
          }
          assert.sameMembers([...statuses], [200, 400])
        }))
    })
  }
})
