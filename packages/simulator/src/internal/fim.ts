/** Completion of a text, with an optional suffix: no messages, no thinking, no tools. */
import * as Result from "effect/Result"
import * as Answer from "./answer.ts"
import * as Chat from "./chat.ts"
import type { Asked, Encoding, Protocol } from "./chatReply.ts"
import * as Refusal from "./refusal.ts"
import * as Serde from "./serde.ts"
import * as Timeline from "./timeline.ts"
import * as Validate from "./validate.ts"

interface Request {
  readonly chat: Chat.Chat
  readonly prompt: string
  readonly suffix: string | undefined
  readonly echo: boolean
  /** How many likely tokens are told in each place. */
  readonly logprobs: number | undefined
}

/** What the guide allows. */
const maxTokens = 4_096

const decode: Serde.Decoder<Request> = (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("CompletionRequest")(input, path)
    const optional = <A>(name: string, decoder: Serde.Decoder<A>) => Serde.optional(from, name, decoder, path)
    const prompt = yield* Serde.required(from, "prompt", Serde.string, path)
    const suffix = yield* optional("suffix", Serde.string)
    const logprobs = yield* optional("logprobs", Serde.integer)
    const streamOptions = yield* optional("stream_options", Serde.fields("StreamOptions"))
    const includeUsage = streamOptions &&
      (yield* Serde.optional(streamOptions, "include_usage", Serde.boolean, "stream_options"))
    return {
      prompt,
      suffix,
      echo: (yield* optional("echo", Serde.boolean)) ?? false,
      logprobs,
      chat: {
        model: yield* Serde.required(from, "model", Serde.string, path),
        messages: [{ role: "user", content: { text: prompt + (suffix ?? ""), images: 0 } }],
        thinking: false,
        effort: "none",
        maxTokens: (yield* optional("max_tokens", Serde.integer)) ?? maxTokens,
        responseFormat: "text",
        stop: (yield* optional("stop", Chat.stop)) ?? [],
        stream: (yield* optional("stream", Serde.boolean)) ?? false,
        streamOptions: streamOptions !== undefined,
        includeUsage: includeUsage ?? false,
        temperature: yield* optional("temperature", Serde.number),
        topP: yield* optional("top_p", Serde.number),
        tools: [],
        toolChoice: "none",
        logprobs: logprobs !== undefined,
        topLogprobs: logprobs,
        userId: undefined
      }
    }
  })

const refusalOf = ({ chat, echo, logprobs, suffix }: Request): string | undefined => {
  if (echo && suffix !== undefined) return "echo can not be used with suffix"
  if (echo && logprobs !== undefined) return "echo can not be used with logprobs"
  return chat.maxTokens > maxTokens
    ? `Invalid max_tokens value, the valid range of max_tokens is [1, ${maxTokens}]`
    : undefined
}

interface Piece {
  readonly text: string
  readonly tokens: ReadonlyArray<string>
  readonly offset: number
}

const logprobsOf = ({ logprobs: wish }: Answer.Answer, { offset, tokens }: Piece) => {
  if (wish === undefined) return null
  const told = tokens.map((token) => Answer.tokenLogprob(token, wish))
  let at = offset
  return {
    text_offset: tokens.map((token) => (at += token.length) - token.length),
    token_logprobs: told.map(({ logprob }) => logprob),
    tokens,
    top_logprobs: told.map(({ top_logprobs }) =>
      Object.fromEntries((top_logprobs ?? []).map(({ logprob, token }) => [token, logprob]))
    )
  }
}

const body = (answer: Answer.Answer, piece: Piece, finish: string | null) => ({
  id: answer.head.id,
  object: "text_completion",
  created: answer.head.created,
  model: answer.head.model,
  choices: [{ text: piece.text, index: 0, logprobs: logprobsOf(answer, piece), finish_reason: finish }],
  system_fingerprint: answer.head.fingerprint
})

const encoding = ({ echo, prompt }: Request): Encoding => {
  const echoed: Piece = { text: echo ? prompt : "", tokens: [], offset: 0 }
  return {
    whole: (answer) => {
      const { content, finish } = answer.completion
      const piece = { text: echoed.text + content.join(""), tokens: content, offset: prompt.length }
      return { ...body(answer, piece, finish), usage: answer.usage }
    },
    events: function*(answer) {
      const { completion: { content, finish }, includeUsage, usage } = answer
      const event = (piece: Piece, finish: string | null) =>
        Timeline.event(JSON.stringify({
          ...body(answer, piece, finish),
          ...(finish !== null ? { usage } : includeUsage && { usage: null })
        }))
      if (echo) yield event(echoed, null)
      let offset = prompt.length
      for (const token of content) {
        yield event({ text: token, tokens: [token], offset }, null)
        offset += token.length
      }
      yield event({ text: "", tokens: [], offset }, finish)
      yield Timeline.event("[DONE]")
    }
  }
}

/** Fill in the middle. */
export const protocol: Protocol = (text) =>
  Result.gen(function*() {
    const request = yield* Validate.body(text, decode)
    const problem = refusalOf(request)
    if (problem !== undefined) return yield* Result.fail(Refusal.invalid(problem))
    const valid = yield* Validate.conditions(request.chat, { beta: true, replayCheck: "off" })
    const asked: Asked = {
      ...valid,
      input: { model: request.chat.model, messages: [{ role: "user", content: request.prompt }] },
      encoding: encoding(request)
    }
    return asked
  })
