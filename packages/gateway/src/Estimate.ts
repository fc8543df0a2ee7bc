/**
 * `POST /v1/estimate`: what a chat request may cost at each target of its model, before it is sent.
 *
 * The body is that of `/v1/chat/completions`. Tokens are estimated (`PromptSize`); the cost is a bound: no cache hit, the longest answer.
 *
 * @since 0.1.0
 */
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import type * as Pricing from "@ballast/deepseek/Pricing"
import * as PromptSize from "@ballast/deepseek/PromptSize"
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

const estimate = (settings: GatewaySettings, pricing: Pricing.Pricing, request: ChatRequest, at: number) => ({
  object: "estimate",
  model: request.model,
  prompt_tokens: PromptSize.ofPrompt(request),
  max_output_tokens: PromptSize.ofAnswer(request),
  targets: targetsOf(routing(settings), request.model).map((target) => {
    const { model = request.model, provider } = target
    return {
      target: armOf(target),
      provider,
      model,
      ...costOf(pricing.estimate({ ...request, model }, { provider, at }))
    }
  })
})

/**
 * @category handlers
 * @since 0.1.0
 */
export const make = ({ bodies, pricing, settings }: Options): Routes.Handler => (exchange, request) =>
  Effect.gen(function*() {
    const { request: chat } = yield* Effect.fromResult(
      OpenAiChat.dialect.decode(yield* bodies.read(request), request.headers)
    )
    exchange.model = chat.model
    const at = yield* Clock.currentTimeMillis
    return HttpServerResponse.jsonUnsafe(estimate(yield* settings, pricing(), chat, at))
  })
