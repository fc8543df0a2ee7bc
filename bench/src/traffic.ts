/** The one request that every side sends, and the answers that the service gives to it. */
export const model = "deepseek-flash"
export const system = "You answer in one paragraph, for a reader who has never been at sea."
export const question = "Why does a ship carry ballast, and what would happen to it in heavy weather without any?"

const id = "0b9e4c1e-6c1f-4b6e-9d70-3f1d6c8a2b11"
const created = 1789805239
const system_fingerprint = "8f2c1d7a9b3e4f5061728394a5b6c7d8"
const usage = {
  prompt_tokens: 46,
  completion_tokens: 128,
  total_tokens: 174,
  prompt_tokens_details: { cached_tokens: 0 },
  completion_tokens_details: { reasoning_tokens: 0 },
  prompt_cache_hit_tokens: 0,
  prompt_cache_miss_tokens: 46
}

/** 64 pieces of text: with the first chunk, which names the role, and the last, which carries the usage, 66 events. */
const pieces = Array.from({ length: 64 }, (_, index) => index % 2 === 0 ? " a ship" : " keeps upright")

/** The whole answer; each side returns its length, so that nothing is left unread. */
export const answer = pieces.join("")

/** The request as the wire has it. */
export const requestBody = (stream: boolean): string =>
  JSON.stringify({
    model,
    messages: [{ role: "system", content: system }, { role: "user", content: question }],
    stream
  })

/** The body of an answer that is not streamed. */
export const completionBody = JSON.stringify({
  id,
  object: "chat.completion",
  created,
  model,
  choices: [{ index: 0, message: { role: "assistant", content: answer }, logprobs: null, finish_reason: "stop" }],
  usage,
  system_fingerprint
})

const event = (delta: object, finish_reason: string | null, more?: object) => {
  const choices = [{ index: 0, delta, logprobs: null, finish_reason }]
  return `data: ${
    JSON.stringify({ id, object: "chat.completion.chunk", created, model, system_fingerprint, choices, ...more })
  }\n\n`
}

/** The 66 events of a streamed answer; the end marker goes out with the last one. */
export const streamEvents: ReadonlyArray<string> = [
  event({ role: "assistant", content: "" }, null),
  ...pieces.map((content) => event({ content }, null)),
  event({ content: "" }, "stop", { usage }) + "data: [DONE]\n\n"
]
