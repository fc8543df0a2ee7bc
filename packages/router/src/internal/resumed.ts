/**
 * Lets the streams of a route's targets go on after a break, each at its own target: the rest comes from the same model, by any account
 * that may take it.
 */
import * as ChatModel from "@ballast/chat/ChatModel"
import * as Lane from "@ballast/deepseek/Lane"
import * as Resume from "@ballast/deepseek/Resume"
import * as Policy from "@ballast/resilience/Policy"
import type * as Retry from "@ballast/resilience/Retry"
import * as Effect from "effect/Effect"
import type * as Settings from "../RouterSettings.ts"
import { armOf } from "../RouterSettings.ts"

type Model = ChatModel.ChatModel<Lane.CallError>

export interface Options {
  /** Of the route. */
  readonly name: string
  /** Of the route: requests for the rest are retried as others are, and paid from the same budget. */
  readonly retry: Retry.Options | undefined
  readonly resume: Settings.ModelPolicies["resume"]
  /** Whether a provider has prefix completion, and its streams shall go on. */
  readonly can: (provider: string) => boolean
}

export const make = Effect.fnUntraced(function*({ can, name, resume = Lane.defaults.resume, retry }: Options) {
  const policy = yield* Policy.common({ name, retry, error: Lane.deadlineError })
  return (target: Settings.Target, model: Model): Model =>
    resume === false || !can(target.provider)
      ? model
      : Resume.make<Lane.CallError>(
        model,
        { name: armOf(target), provider: target.provider, model: target.model ?? name },
        { ...resume, budget: retry?.budget, by: ChatModel.withPolicy(model, policy) }
      )
})
