/** Services that ask a chat model. */
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest, Message } from "@ballast/chat/ChatRequest"
import type * as ChatUsage from "@ballast/chat/Usage"
import * as Outcome from "@ballast/resilience/Outcome"
import * as RouteInfo from "@ballast/router/RouteInfo"
import * as BigDecimal from "effect/BigDecimal"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Usage from "../../Usage.ts"
import * as Template from "../template.ts"
import { type CallContext, type CostOf, type Evaluate, fail, parseJson, type Parts, ServiceError } from "./contract.ts"
import { type Model, schemaOf } from "./settings.ts"

const chatOf = Effect.fnUntraced(function*(settings: typeof Model.Type, evaluate: Evaluate, input: unknown) {
  const { maxTokens, model, schema, system, temperature } = settings
  const instructions = [
    ...system === undefined ? [] : [Template.text(yield* evaluate(system))],
    ...schema === undefined ? [] : [`Answer with JSON that fits this JSON Schema: ${JSON.stringify(schema)}`]
  ].join("\n\n")
  const prompt = Template.text(settings.prompt === undefined ? input : yield* evaluate(settings.prompt))
  const asked: Message = { role: "user", content: prompt }
  const request: ChatRequest = {
    model,
    messages: instructions === "" ? [asked] : [{ role: "system", content: instructions }, asked],
    ...schema && { response_format: { type: "json_object" } },
    ...maxTokens !== undefined && { max_tokens: maxTokens },
    ...temperature !== undefined && { temperature }
  }
  return request
})

/** Whether a failed call of a model may succeed later, and when: its own classes of error say it. */
export const failureOf = (error: unknown): ServiceError => {
  const outcome = Outcome.classify(Exit.fail(error))
  const retryAfter = outcome._tag === "Success" ? undefined : outcome.retryAfter
  return new ServiceError({
    detail: error instanceof Error ? error.message : "the call failed",
    retryable: outcome._tag !== "Success" && outcome.retryable,
    ...retryAfter && { retryAfter }
  })
}

/** What an answer used: nothing, when it came from a cache. */
const usageOf = (
  usage: ChatUsage.Usage | null | undefined,
  { cache, model = "", provider = "" }: RouteInfo.RouteInfo,
  at: number,
  costOf: CostOf | undefined
): Partial<Usage.Usage> => {
  if (cache?.state === "hit" || cache?.state === "stale") return {}
  if (usage == null) return { unpriced: 1 }
  const cost = costOf?.(usage, { provider, model, at })
  return {
    promptTokens: usage.prompt_tokens,
    completionTokens: usage.completion_tokens,
    ...cost === undefined || Result.isFailure(cost)
      ? { unpriced: 1 }
      : { cost: { [cost.success.currency]: BigDecimal.format(cost.success.total) } }
  }
}

/** Asks the model and reports what that used. */
const ask = Effect.fnUntraced(function*(
  request: ChatRequest,
  { cost, model }: Parts & { readonly model: ChatModel<unknown> },
  { report }: CallContext
) {
  const place = RouteInfo.make()
  const at = yield* Clock.currentTimeMillis
  const completion = yield* model.complete(request).pipe(
    Effect.provideService(RouteInfo.Current, place),
    Effect.mapError(failureOf)
  )
  place.model ??= request.model
  yield* report(usageOf(completion.usage, place, at, cost))
  return completion.choices[0]
})

export const callModel = Effect.fnUntraced(function*(
  settings: typeof Model.Type,
  parts: Parts & { readonly model: ChatModel<unknown> },
  evaluate: Evaluate,
  input: unknown,
  context: CallContext
) {
  const request = yield* chatOf(settings, evaluate, input)
  const { finish_reason, message } = yield* ask(request, parts, context)
  const text = message.content ?? ""
  if (finish_reason === "length") return yield* fail("the model's answer was cut at its longest length")
  if (settings.schema === undefined) return text
  const value = yield* parseJson(text, "the model's answer", true)
  const schema = schemaOf(settings.schema)
  if (Result.isFailure(schema)) return yield* fail(`its schema is no JSON Schema: ${schema.failure}`)
  if (!Schema.is(schema.success)(value)) return yield* fail("the model's answer does not fit its JSON Schema", true)
  return value
})
