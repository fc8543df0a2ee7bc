/**
 * Answers in the shapes that services publish, written by hand after their documentation and recorded answers. Each entry is the data
 * of the events, and what they say when they are joined.
 */
export interface Shape {
  readonly name: string
  readonly events: ReadonlyArray<object>
  readonly content?: string
  readonly reasoning?: string
  readonly calls?: ReadonlyArray<readonly [name: string, args: string]>
  readonly finish?: string
  readonly tokens?: readonly [prompt: number, completion: number]
  /** Whether each event's text is passed on. Default true. */
  readonly kept?: boolean
}

const head = (id: string, model: string) => ({ id, object: "chat.completion.chunk", created: 1789805239, model })
const choice = (delta: unknown, finish_reason: unknown = null, more: object = {}) => ({
  index: 0,
  delta,
  finish_reason,
  ...more
})
const usage = (prompt_tokens: number, completion_tokens: number, more: object = {}) => ({
  prompt_tokens,
  completion_tokens,
  total_tokens: prompt_tokens + completion_tokens,
  ...more
})
const call = (more: object, named: object = {}) => ({
  index: 0,
  id: "call_a",
  type: "function",
  function: { name: "weather", arguments: "{}", ...named },
  ...more
})

const deepseek = head("930c60df-bf64-41c9-a88e-3ec75f81e00e", "deepseek-flash")
const azure = head("chatcmpl-B1", "gpt-4o")
const mistral = head("cmpl-1", "magistral-medium")
const qwen = head("chatcmpl-q", "qwen3-max")
const groq = head("chatcmpl-g", "openai/gpt-oss-120b")
const router = { ...head("gen-1", "deepseek/deepseek-v4"), provider: "DeepInfra" }

const openai = { ...head("chatcmpl-o", "gpt-nano"), service_tier: "default" }
const nulls = (delta: object) =>
  choice({ role: null, content: null, reasoning_content: null, tool_calls: null, ...delta }, null, {
    logprobs: null,
    matched_stop: null
  })
const sonar = (completion_tokens: number) => ({
  ...head("p1", "sonar"),
  usage: usage(4, completion_tokens, { search_context_size: "low" }),
  citations: ["https://example.com/a", "https://example.com/b"]
})

export const shapes: ReadonlyArray<Shape> = [
  {
    name: "DeepSeek, thinking",
    events: [
      { ...deepseek, choices: [choice({ role: "assistant", content: null, reasoning_content: "" })] },
      { ...deepseek, choices: [choice({ content: null, reasoning_content: "Hm" }, null, { logprobs: null })] },
      { ...deepseek, choices: [choice({ content: "Hello", reasoning_content: null })], system_fingerprint: "fp" },
      {
        ...deepseek,
        choices: [choice({ content: "", reasoning_content: null }, "stop")],
        usage: usage(9, 3, { prompt_cache_hit_tokens: 0, completion_tokens_details: { reasoning_tokens: 1 } })
      }
    ],
    content: "Hello",
    reasoning: "Hm",
    tokens: [9, 3]
  },
  {
    name: "Azure, content filters before, beside and after",
    events: [
      { id: "", object: "", created: 0, model: "", choices: [], prompt_filter_results: [{ prompt_index: 0 }] },
      {
        ...azure,
        choices: [choice({ role: "assistant", content: "", refusal: null }, null, { content_filter_results: {} })]
      },
      {
        ...azure,
        choices: [choice({ content: "Hello" }, null, { content_filter_results: { hate: { filtered: false } } })]
      },
      { ...azure, choices: [choice({}, "stop", { content_filter_results: {} })], obfuscation: "x7" },
      { ...azure, choices: [], usage: usage(4, 1, { prompt_tokens_details: { audio_tokens: 0, cached_tokens: 0 } }) }
    ],
    content: "Hello",
    tokens: [4, 1]
  },
  {
    name: "Azure, an asynchronous filter's choice without a delta",
    events: [
      { ...azure, choices: [choice({ content: "Hello" })] },
      { ...azure, choices: [{ index: 0, finish_reason: null, content_filter_offsets: { check_offset: 4 } }] },
      { ...azure, choices: [choice({}, "stop")] }
    ],
    content: "Hello",
    kept: false
  },
  {
    name: "Mistral, content in parts with thinking",
    events: [
      { ...mistral, choices: [choice({ role: "assistant", content: "" })] },
      { ...mistral, choices: [choice({ content: [{ type: "thinking", thinking: [{ type: "text", text: "Hm" }] }] })] },
      { ...mistral, choices: [choice({ content: [{ type: "text", text: "Hel" }, { type: "text", text: "lo" }] })] },
      { ...mistral, choices: [choice({ content: "" }, "stop")], usage: usage(5, 2) }
    ],
    content: "Hello",
    reasoning: "Hm",
    tokens: [5, 2],
    kept: false
  },
  {
    name: "Mistral, a whole call in one chunk",
    events: [{
      ...mistral,
      choices: [
        choice({
          content: "",
          tool_calls: [{ id: "gR1", function: { name: "weather", arguments: "{\"a\":1}" }, index: 0 }]
        }, "tool_calls")
      ]
    }],
    calls: [["weather", "{\"a\":1}"]],
    finish: "tool_calls",
    kept: false
  },
  {
    name: "Qwen, later ids and names are empty",
    events: [
      { ...qwen, choices: [choice({ content: null, role: "assistant", tool_calls: [call({}, { arguments: "" })] })] },
      { ...qwen, choices: [choice({ tool_calls: [call({ id: "" }, { name: "", arguments: "{\"a\"" })] })] },
      { ...qwen, choices: [choice({ tool_calls: [call({ id: "" }, { name: "", arguments: ":1}" })] })] },
      { ...qwen, choices: [choice({ tool_calls: null }, "tool_calls")] },
      { ...qwen, choices: [], usage: usage(5, 2) }
    ],
    calls: [["weather", "{\"a\":1}"]],
    finish: "tool_calls",
    tokens: [5, 2],
    kept: false
  },
  {
    name: "DashScope, the text null as finish reason",
    events: [
      { ...qwen, choices: [choice({ content: "Hel" }, "null")] },
      { ...qwen, choices: [choice({ content: "lo" }, "null")] },
      { ...qwen, choices: [choice({ content: "" }, "stop")] }
    ],
    content: "Hello",
    kept: false
  },
  {
    name: "Fireworks, usage and token ids beside",
    events: [
      {
        ...head("f1", "accounts/fireworks/models/deepseek-v4"),
        choices: [choice({ role: "assistant" }, null, { token_ids: [1, 2] })],
        usage: null
      },
      {
        ...head("f1", "accounts/fireworks/models/deepseek-v4"),
        choices: [choice({ content: "Hello" }, null, { raw_output: null })],
        usage: null
      },
      { ...head("f1", "accounts/fireworks/models/deepseek-v4"), choices: [choice({}, "stop")], usage: usage(3, 1) }
    ],
    content: "Hello",
    tokens: [3, 1]
  },
  {
    name: "Groq, reasoning under its short name and usage in a field of its own",
    events: [
      { ...groq, choices: [choice({ role: "assistant", content: null })], x_groq: { id: "req_1" } },
      { ...groq, choices: [choice({ channel: "analysis", reasoning: "Hm" })] },
      { ...groq, choices: [choice({ content: "Hello" })] },
      {
        ...groq,
        choices: [choice({}, "stop")],
        x_groq: { id: "req_1", usage: { queue_time: 0.01 } },
        usage: usage(6, 2, { queue_time: 0.01 })
      }
    ],
    content: "Hello",
    reasoning: "Hm",
    tokens: [6, 2]
  },
  {
    name: "xAI, role in every chunk and citations",
    events: [
      { ...head("x1", "grok-4"), choices: [choice({ role: "assistant", reasoning_content: "Hm" })] },
      {
        ...head("x1", "grok-4"),
        choices: [choice({ role: "assistant", content: "Hello" })],
        system_fingerprint: "fp_1"
      },
      {
        ...head("x1", "grok-4"),
        choices: [choice({ role: "assistant", content: "" }, "stop")],
        citations: ["https://example.com"],
        usage: usage(8, 2, { num_sources_used: 0 })
      }
    ],
    content: "Hello",
    reasoning: "Hm",
    tokens: [8, 2]
  },
  {
    name: "Ollama, whole calls without later fragments, all with the index 0",
    events: [
      {
        ...head("chatcmpl-1", "deepseek-r1"),
        choices: [
          choice({ role: "assistant", content: "", tool_calls: [call({ id: "call_a" }, { arguments: "{\"a\":1}" })] })
        ]
      },
      {
        ...head("chatcmpl-1", "deepseek-r1"),
        choices: [
          choice({ role: "assistant", content: "", tool_calls: [call({ id: "call_b" }, { arguments: "{\"a\":2}" })] })
        ]
      },
      { ...head("chatcmpl-1", "deepseek-r1"), choices: [choice({ role: "assistant", content: "" }, "tool_calls")] }
    ],
    calls: [["weather", "{\"a\":1}"], ["weather", "{\"a\":2}"]],
    finish: "tool_calls",
    kept: false
  },
  {
    name: "llama.cpp, timings and a call without an id",
    events: [
      { ...head("chatcmpl-l", "model.gguf"), choices: [choice({ role: "assistant", content: null })] },
      {
        ...head("chatcmpl-l", "model.gguf"),
        choices: [
          choice({ tool_calls: [{ index: 0, type: "function", function: { name: "weather", arguments: "{" } }] })
        ]
      },
      {
        ...head("chatcmpl-l", "model.gguf"),
        choices: [choice({ tool_calls: [{ index: 0, function: { arguments: "}" } }] })]
      },
      {
        ...head("chatcmpl-l", "model.gguf"),
        choices: [choice({}, "tool_calls")],
        timings: { predicted_per_second: 61.25 }
      }
    ],
    calls: [["weather", "{}"]],
    finish: "tool_calls",
    kept: false
  },
  {
    name: "vLLM, a stop reason, null fields and a new id for each fragment",
    events: [
      {
        ...head("chatcmpl-v", "deepseek-ai/DeepSeek-V4"),
        choices: [choice({ role: "assistant", content: "", reasoning_content: null })],
        prompt_token_ids: null
      },
      {
        ...head("chatcmpl-v", "deepseek-ai/DeepSeek-V4"),
        choices: [choice({ tool_calls: [call({ id: "chatcmpl-tool-1" }, { arguments: "" })] })]
      },
      {
        ...head("chatcmpl-v", "deepseek-ai/DeepSeek-V4"),
        choices: [
          choice({ tool_calls: [{ index: 0, id: "chatcmpl-tool-2", type: "function", function: { arguments: "{}" } }] })
        ]
      },
      {
        ...head("chatcmpl-v", "deepseek-ai/DeepSeek-V4"),
        choices: [choice({ content: "" }, "tool_calls", { stop_reason: null })]
      },
      { ...head("chatcmpl-v", "deepseek-ai/DeepSeek-V4"), choices: [], usage: usage(7, 4) }
    ],
    calls: [["weather", "{}"]],
    finish: "tool_calls",
    tokens: [7, 4],
    kept: false
  },
  {
    name: "OpenRouter, native finish reasons and reasoning details",
    events: [
      {
        ...router,
        choices: [
          choice(
            {
              role: "assistant",
              content: "",
              reasoning: "Hm",
              reasoning_details: [{ type: "reasoning.text", text: "Hm" }]
            },
            null,
            { native_finish_reason: null }
          )
        ]
      },
      { ...router, choices: [choice({ role: "assistant", content: "Hello" }, null, { native_finish_reason: null })] },
      { ...router, choices: [choice({ role: "assistant", content: "" }, "stop", { native_finish_reason: "stop" })] },
      {
        ...router,
        choices: [choice({ role: "assistant", content: "" })],
        usage: usage(3, 2, { cost: 0.0000123, is_byok: false })
      }
    ],
    content: "Hello",
    reasoning: "Hm",
    tokens: [3, 2]
  },
  {
    name: "Gemini, parallel calls without index and id",
    events: [
      {
        ...head("", "gemini"),
        choices: [
          choice({
            role: "assistant",
            tool_calls: [{ function: { name: "weather", arguments: "{\"a\":1}" } }, {
              function: { name: "time", arguments: "{}" }
            }]
          })
        ]
      },
      { ...head("", "gemini"), choices: [choice({}, "tool_calls")] }
    ],
    calls: [["weather", "{\"a\":1}"], ["time", "{}"]],
    finish: "tool_calls",
    kept: false
  },
  {
    name: "DeepSeek, thinking before a call in fragments",
    events: [
      { ...deepseek, choices: [choice({ role: "assistant", content: null, reasoning_content: "" })], usage: null },
      { ...deepseek, choices: [choice({ content: null, reasoning_content: "Hm" })], usage: null },
      { ...deepseek, choices: [choice({ content: "", reasoning_content: null })], usage: null },
      { ...deepseek, choices: [choice({ tool_calls: [call({}, { arguments: "" })] })], usage: null },
      {
        ...deepseek,
        choices: [choice({ tool_calls: [{ index: 0, function: { arguments: "{\"a\"" } }] })],
        usage: null
      },
      { ...deepseek, choices: [choice({ tool_calls: [{ index: 0, function: { arguments: ":1}" } }] })], usage: null },
      { ...deepseek, choices: [choice({ content: "", reasoning_content: null }, "tool_calls")], usage: usage(7, 4) }
    ],
    reasoning: "Hm",
    calls: [["weather", "{\"a\":1}"]],
    finish: "tool_calls",
    tokens: [7, 4]
  },
  {
    name: "Azure's DeepSeek, null in every field that says nothing",
    events: [
      { ...azure, choices: [nulls({ role: "assistant", content: "" })], usage: null },
      { ...azure, choices: [nulls({ reasoning_content: "Hm" })], usage: null },
      { ...azure, choices: [nulls({ content: "Hello" })], usage: null },
      { ...azure, choices: [{ ...nulls({}), finish_reason: "stop", matched_stop: 1 }], usage: null },
      { ...azure, choices: [], usage: usage(6, 5, { prompt_tokens_details: null, reasoning_tokens: 2 }) }
    ],
    content: "Hello",
    reasoning: "Hm",
    tokens: [6, 5]
  },
  {
    name: "OpenAI, padding beside each chunk",
    events: [
      {
        ...openai,
        choices: [choice({ role: "assistant", content: "", refusal: null })],
        usage: null,
        obfuscation: "q"
      },
      { ...openai, choices: [choice({ content: "Hello" })], usage: null, obfuscation: "uK2pX" },
      { ...openai, choices: [choice({}, "stop")], usage: null, obfuscation: "" },
      { ...openai, choices: [], usage: usage(2, 1, { prompt_tokens_details: { audio_tokens: 0 } }), obfuscation: "m3" }
    ],
    content: "Hello",
    tokens: [2, 1]
  },
  {
    name: "Mistral, an index in the delta and a fragment without an id",
    events: [
      { ...mistral, choices: [choice({ index: 0, content: "", tool_calls: [call({}, { arguments: "" })] })] },
      {
        ...mistral,
        choices: [
          choice({
            index: 0,
            content: "",
            tool_calls: [{ index: 0, type: "function", function: { name: "", arguments: "{}" } }]
          })
        ]
      },
      { ...mistral, choices: [choice({ index: 0, content: "" }, "tool_calls")], usage: usage(8, 3) }
    ],
    calls: [["weather", "{}"]],
    finish: "tool_calls",
    tokens: [8, 3],
    kept: false
  },
  {
    name: "Perplexity, usage that grows in each chunk, no finish reason before the end, and an object of another name",
    events: [
      { ...sonar(1), choices: [{ index: 0, delta: { role: "assistant", content: "Hel" } }] },
      { ...sonar(2), choices: [{ index: 0, delta: { role: "assistant", content: "lo" } }] },
      {
        ...sonar(3),
        object: "chat.completion.done",
        choices: [{ index: 0, delta: { role: "assistant", content: "" }, finish_reason: "stop" }]
      }
    ],
    content: "Hello",
    tokens: [4, 3]
  },
  {
    name: "Moonshot, without an object, usage beside the last words",
    events: [
      { id: "m1", created: 1, model: "kimi", choices: [choice({ role: "assistant", reasoning_content: "Hm" })] },
      {
        id: "m1",
        created: 1,
        model: "kimi",
        choices: [choice({ content: "Hello" }, "stop")],
        usage: usage(3, 2, { cached_tokens: 1 })
      }
    ],
    content: "Hello",
    reasoning: "Hm",
    tokens: [3, 2]
  },
  {
    name: "Anthropic's own compatible endpoint, whose calls are counted with its texts",
    events: [
      { ...head("msg_1", "claude"), created: 0, choices: [choice({ role: "assistant" })] },
      { ...head("msg_1", "claude"), created: 0, choices: [choice({ content: "Hello" })] },
      {
        ...head("msg_1", "claude"),
        created: 0,
        choices: [choice({ tool_calls: [call({ index: 1, id: "toolu_1" }, { arguments: "" })] })]
      },
      { ...head("msg_1", "claude"), choices: [choice({ tool_calls: [{ index: 1, function: { arguments: "" } }] })] },
      { ...head("msg_1", "claude"), choices: [choice({ tool_calls: [{ index: 1, function: { arguments: "{}" } }] })] },
      { ...head("msg_1", "claude"), choices: [choice({}, "tool_calls")] }
    ],
    content: "Hello",
    calls: [["weather", "{}"]],
    finish: "tool_calls"
  },
  {
    name: "MiniMax, a code that says that all is well",
    events: [
      { ...head("n1", "MiniMax"), choices: [choice({ role: "assistant", content: "Hello" }, null, { name: "MM" })] },
      {
        ...head("n1", "MiniMax"),
        choices: [{ index: 0, finish_reason: "stop", message: { role: "assistant", content: "", name: "MM" } }],
        usage: usage(0, 4, { total_characters: 0 }),
        input_sensitive: false,
        output_sensitive_type: 0,
        base_resp: { status_code: 0, status_msg: "" }
      }
    ],
    content: "Hello",
    tokens: [0, 4],
    kept: false
  }
]
