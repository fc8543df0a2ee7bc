/** Whole answers in the shapes that services publish, by hand as in `shapes`, and what they say. */
export interface Whole {
  readonly name: string
  readonly json: object
  readonly content?: string | null
  readonly reasoning?: string
  readonly calls?: ReadonlyArray<readonly [name: string, args: string]>
  readonly finish?: string
  /** Whether the text is passed on. Default true. */
  readonly kept?: boolean
}

const head = (id: string, model: string) => ({ id, object: "chat.completion", created: 1789805239, model })
const choice = (message: object, more: object = {}) => ({
  index: 0,
  message: { role: "assistant", ...message },
  finish_reason: "stop",
  ...more
})
const usage = (prompt_tokens: number, completion_tokens: number, more: object = {}) => ({
  prompt_tokens,
  completion_tokens,
  total_tokens: prompt_tokens + completion_tokens,
  ...more
})
const called = { finish_reason: "tool_calls" }
const named = { name: "weather", arguments: "{\"a\": 1}" }

export const wholes: ReadonlyArray<Whole> = [
  {
    name: "DeepSeek, thinking, with a call",
    json: {
      ...head("930c60df", "deepseek-flash"),
      choices: [
        choice({
          content: "",
          reasoning_content: "Hm",
          tool_calls: [{ index: 0, id: "call_00_a", type: "function", function: named }]
        }, { ...called, logprobs: null })
      ],
      usage: usage(9, 3, { prompt_cache_hit_tokens: 8, prompt_cache_miss_tokens: 1 }),
      system_fingerprint: "fp_1"
    },
    content: "",
    reasoning: "Hm",
    calls: [["weather", "{\"a\": 1}"]],
    finish: "tool_calls"
  },
  {
    name: "Azure, filters beside the choice, and head after it",
    json: {
      choices: [choice({ content: "Hello" }, { content_filter_results: { hate: { filtered: false } } })],
      usage: usage(4, 1, { audio_prompt_tokens: 0 }),
      ...head("d1", "deepseek-v4"),
      prompt_filter_results: null
    },
    content: "Hello"
  },
  {
    name: "Mistral, content in parts with thinking",
    json: {
      ...head("c1", "magistral-medium"),
      usage: usage(5, 2),
      choices: [
        choice({
          content: [
            { type: "thinking", thinking: [{ type: "text", text: "Hm" }] },
            { type: "text", text: "Hel" },
            { type: "text", text: "lo" }
          ]
        })
      ]
    },
    content: "Hello",
    reasoning: "Hm",
    kept: false
  },
  {
    name: "Mistral, a call without a type, and no content",
    json: {
      ...head("c2", "mistral-small"),
      choices: [choice({ tool_calls: [{ id: "gR1", function: named }] }, called)]
    },
    calls: [["weather", "{\"a\": 1}"]],
    finish: "tool_calls",
    kept: false
  },
  {
    name: "Model Studio, a call with an index, and the id at the end",
    json: {
      choices: [
        choice({ content: "", tool_calls: [{ function: named, id: "call_b", index: 0, type: "function" }] }, called)
      ],
      object: "chat.completion",
      usage: usage(5, 2, { prompt_tokens_details: { cached_tokens: 0 } }),
      system_fingerprint: null,
      model: "qwen-max",
      id: "chatcmpl-q"
    },
    content: "",
    calls: [["weather", "{\"a\": 1}"]],
    finish: "tool_calls"
  },
  {
    name: "Fireworks, token ids and raw output",
    json: {
      ...head("f1", "accounts/fireworks/models/deepseek-v4"),
      choices: [choice({ content: "Hello" }, { token_ids: [1, 2], raw_output: null })],
      usage: usage(3, 1, { prompt_tokens_details: { cached_tokens: 2 } })
    },
    content: "Hello"
  },
  {
    name: "Groq, reasoning under its short name, and times as usage",
    json: {
      ...head("g1", "qwen/qwen3"),
      choices: [choice({ content: "Hello", reasoning: "Hm" }, { logprobs: null })],
      usage: usage(6, 2, { queue_time: 0.031, completion_time: 0.2 }),
      usage_breakdown: null,
      x_groq: { id: "req_1", seed: 1 },
      service_tier: "on_demand"
    },
    content: "Hello",
    reasoning: "Hm"
  },
  {
    name: "xAI, refusal and ticks of a dollar",
    json: {
      ...head("x1", "grok-4"),
      choices: [choice({ content: "Hello", reasoning_content: "Hm", refusal: null })],
      usage: usage(8, 2, { num_sources_used: 0, cost_in_usd_ticks: 31_500 }),
      system_fingerprint: "fp_2"
    },
    content: "Hello",
    reasoning: "Hm"
  },
  {
    name: "Perplexity, citations and search results",
    json: {
      ...head("p1", "sonar"),
      usage: usage(4, 3, { cost: { total_cost: 0.005 } }),
      citations: ["https://example.com/a"],
      search_results: [{ title: "A", url: "https://example.com/a", date: null }],
      choices: [choice({ content: "Hello" }, { delta: { role: "assistant", content: "" } })]
    },
    content: "Hello"
  },
  {
    name: "Moonshot, cached tokens beside the others",
    json: {
      ...head("m1", "kimi"),
      choices: [choice({ content: "Hello", reasoning_content: "Hm" })],
      usage: usage(3, 2, { cached_tokens: 1 })
    },
    content: "Hello",
    reasoning: "Hm"
  },
  {
    name: "OpenAI, annotations and null as content",
    json: {
      ...head("chatcmpl-o", "gpt-nano"),
      choices: [
        choice({
          content: null,
          refusal: null,
          annotations: [],
          tool_calls: [{ id: "call_c", type: "function", function: named }]
        }, { ...called, logprobs: null })
      ],
      service_tier: "default"
    },
    content: null,
    calls: [["weather", "{\"a\": 1}"]],
    finish: "tool_calls"
  },
  {
    name: "Ollama, arguments that are an object",
    json: {
      ...head("chatcmpl-1", "deepseek-r1"),
      choices: [choice({ content: "", tool_calls: [{ function: { name: "weather", arguments: { a: 1 } } }] }, called)]
    },
    content: "",
    calls: [["weather", "{\"a\":1}"]],
    finish: "tool_calls",
    kept: false
  },
  {
    name: "a proxy, JSON that it has parsed as content, and one call that is no list",
    json: {
      ...head("p1", "m"),
      choices: [
        choice({ content: { city: "Paris" }, tool_calls: { id: "call_a", type: "function", function: named } }, called)
      ]
    },
    content: "{\"city\":\"Paris\"}",
    calls: [["weather", "{\"a\": 1}"]],
    finish: "tool_calls",
    kept: false
  },
  {
    name: "a proxy, a part of a content that is no list",
    json: { ...head("p1", "m"), choices: [choice({ content: { type: "text", text: "Hello" } })] },
    content: "Hello",
    kept: false
  },
  {
    name: "MiniMax, a code that says that all is well",
    json: {
      ...head("n1", "MiniMax"),
      choices: [choice({ content: "Hello", name: "MM", audio_content: "" })],
      input_sensitive: false,
      base_resp: { status_code: 0, status_msg: "" }
    },
    content: "Hello"
  }
]
