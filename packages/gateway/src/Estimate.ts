/**
 * `POST /v1/estimate`: what a chat request may cost at each target of its model, before it is sent.
 *
 * The body is that of `/v1/chat/completions`. Tokens of the prompt are estimated by ratios (`PromptSize`), or counted by DeepSeek's tokenizer where the settings say so and it can; `counted_by`
 * says which. The cost is a bound: no cache hit, the longest answer.
 *
 * @since 0.1.0
 */
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import type * as Pricing from "@ballast/deepseek/Pricing"
import * as PromptSize from "@ballast/deepseek/PromptSize"
import type * as Tokenizer from "@ballast/deepseek/Tokenizer"
import { armOf } from "@ballast/router/RouterSettings"
import * as BigDecimal from "effect/BigDecimal"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Result from "effect/Result"
import type { Bodies } from "./Body.ts"
import * as OpenAiChat from "./OpenAiChat.ts"
import type * as Routes from "./Routes.ts"
import { type GatewaySettings, routing, targetsOf } from "./Settings.ts"

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly bodies: Bodies
  readonly tokenizer: Tokenizer.Tokenizer
  readonly settings: Effect.Effect<GatewaySettings>
  readonly pricing: () => Pricing.Pricing
}

const costOf = (result: Result.Result<Pricing.Estimate, Pricing.UnknownPrice>) =>
  Result.match(result, {
    onFailure: ({ message }) => ({ cost: null, reason: message }),
    onSuccess: ({ bound: { currency, isPeak, total } }) => ({
      cost: { at_most: BigDecimal.format(total), currency, peak: isPeak }
    })
  })

interface Counted {
  readonly by: "ratios" | "tokenizer"
  readonly promptTokens: number
}

const estimate = (
  settings: GatewaySettings,
  pricing: Pricing.Pricing,
  request: ChatRequest,
  at: number,
  { by, promptTokens }: Counted
) => ({
  object: "estimate",
  model: request.model,
  prompt_tokens: promptTokens,
  counted_by: by,
  max_output_tokens: PromptSize.ofAnswer(request),
  targets: targetsOf(routing(settings), request.model).map((target) => {
    const { model = request.model, provider } = target
    return {
      target: armOf(target),
      provider,
      model,
      ...costOf(pricing.estimate({ ...request, model }, { provider, at, promptTokens }))
    }
  })
})

/**
 * @category handlers
 * @since 0.1.0
 */
export const make = ({ bodies, pricing, settings, tokenizer }: Options): Routes.Handler => {
  let isMissing = false
  const count = (request: ChatRequest, isExact: boolean): Effect.Effect<Counted> => {
    const estimated = Effect.sync((): Counted => ({ by: "ratios", promptTokens: PromptSize.ofPrompt(request) }))
    if (!isExact) return estimated
    return PromptSize.counted(request, tokenizer).pipe(
      Effect.map((promptTokens): Counted => {
        isMissing = false
        return { by: "tokenizer", promptTokens }
      }),
      Effect.catch(({ message }) => {
        const told = isMissing ? Effect.void : Effect.logWarning("prompts are estimated by ratios", { reason: message })
        isMissing = true
        return Effect.andThen(told, estimated)
      })
    )
  }
  return (exchange, request) =>
    Effect.gen(function*() {
      const { request: chat } = yield* Effect.fromResult(
        OpenAiChat.dialect.decode(yield* bodies.read(request), request.headers)
      )
      exchange.model = chat.model
      const current = yield* settings
      const counted = yield* count(chat, current.prices.tokenizer)
      const at = yield* Clock.currentTimeMillis
      return HttpServerResponse.jsonUnsafe(estimate(current, pricing(), chat, at, counted))
    })
}
