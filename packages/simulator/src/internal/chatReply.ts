/** Answers requests to a model: checks, then a place among the running ones, then the model's words and what they cost. */
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import type { Usage } from "@ballast/chat/Usage"
import * as Result from "effect/Result"
import type { Account } from "./account.ts"
import * as Answer from "./answer.ts"
import * as Completion from "./completion.ts"
import * as Draw from "./draw.ts"
import { paceOf, totalTime } from "./pace.ts"
import * as PromptCache from "./promptCache.ts"
import * as Refusal from "./refusal.ts"
import { type Arrival, refuse, type Reply } from "./reply.ts"
import type { SimulatorRequest } from "./service.ts"
import type { Settings } from "./settings.ts"
import * as Timeline from "./timeline.ts"
import * as Validate from "./validate.ts"

/** The service's own cap of a request's body. */
const maxBodyBytes = 48 * 1024 * 1024

const isTooLarge = ({ body, headers }: SimulatorRequest): boolean =>
  body.length > maxBodyBytes || Number(headers["content-length"] ?? 0) > maxBodyBytes

/** How an answer is written. */
export interface Encoding {
  readonly whole: (answer: Answer.Answer) => unknown
  readonly events: (answer: Answer.Answer) => Iterable<string>
}

/** A request that is understood, and how it is answered. */
export interface Asked extends Validate.Valid {
  readonly encoding: Encoding
}

/** Reads and checks the body of a request in one of the API's protocols. */
export type Protocol = (body: string) => Result.Result<Asked, Refusal.Refusal>

const chatEncoding: Encoding = { whole: Answer.body, events: Answer.events }

/** Chat completions. */
export const chat = (endpoint: Validate.Endpoint): Protocol => (body) =>
  Result.map(Validate.validate(body, endpoint), (valid) => ({ ...valid, encoding: chatEncoding }))

/** A reply is the whole of the answer that a prefix begins. */
const withoutPrefix = (request: ChatRequest): ChatRequest => {
  const [first, ...rest] = request.messages
  const last = rest[rest.length - 1]
  return last?.role === "assistant" && last.prefix === true
    ? { ...request, messages: [first, ...rest.slice(0, -1)] }
    : request
}

export const make = (settings: Settings, account: Account) => {
  const cache = PromptCache.make(settings.cacheSize)
  const { seed } = settings

  const replyTo = (input: ChatRequest): string | undefined =>
    typeof settings.reply === "function" ? settings.reply(input) : settings.reply

  const usageOf = ({ chat, family, prompt }: Validate.Valid, completion: Completion.Completion, key: string): Usage => {
    const scope = `${key}/${family}/${chat.userId ?? ""}`
    const hit = cache.lookup(scope, prompt.units, prompt.tokens)
    cache.store(scope, Validate.measure(chat, Completion.turn(completion)).units)
    return Completion.usage(completion, prompt.tokens, hit)
  }

  const headOf = ({ chat, family }: Validate.Valid, { draw, now }: Arrival): Answer.Head => ({
    id: Draw.uuid(draw),
    created: Math.floor(now / 1_000),
    model: chat.model,
    fingerprint: Draw.hex32(Draw.make(seed, "fingerprint", family))
  })

  const timelineOf = (
    answer: Answer.Answer,
    { chat: { stream }, encoding }: Asked,
    { draw, fault }: Arrival
  ): Timeline.Timeline => {
    const pace = paceOf(settings, fault, draw)
    return Timeline.inTime(
      pace.first,
      stream
        ? Timeline.events(encoding.events(answer), pace, fault)
        : Timeline.json(encoding.whole(answer), totalTime(pace, answer.usage.completion_tokens), pace.keepAlive, fault)
    )
  }

  return (arrival: Arrival, key: string, protocol: Protocol): Reply => {
    const { fault, now, request } = arrival
    if (isTooLarge(request)) return refuse(Refusal.tooLarge, arrival)
    const checked = protocol(new TextDecoder().decode(request.body))
    if (Result.isFailure(checked)) return refuse(checked.failure, arrival)
    const { chat, family, input } = checked.success
    const completion = Completion.make(chat, seed, { ...fault, reply: replyTo(withoutPrefix(input)) })
    const refusal = account.admit(family)
    if (refusal !== undefined) return refuse(refusal, arrival)

    const usage = usageOf(checked.success, completion, key)
    account.charge(family, usage, now)
    const answer: Answer.Answer = {
      head: headOf(checked.success, arrival),
      completion,
      usage,
      logprobs: chat.logprobs ? { top: chat.topLogprobs ?? 0, seed } : undefined,
      includeUsage: chat.includeUsage
    }
    return {
      status: fault.status ?? 200,
      contentType: chat.stream ? "text/event-stream; charset=utf-8" : "application/json",
      timeline: timelineOf(answer, checked.success, arrival),
      fault,
      family,
      chat: { model: chat.model, stream: chat.stream, usage }
    }
  }
}
