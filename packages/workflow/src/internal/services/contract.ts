/** What services and those who call them agree on. */
import type { ChatModel } from "@ballast/chat/ChatModel"
import type * as ChatUsage from "@ballast/chat/Usage"
import type { Models } from "@ballast/inference/Models"
import * as Outcome from "@ballast/resilience/Outcome"
import type * as BigDecimal from "effect/BigDecimal"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as HttpClient from "effect/http/HttpClient"
import type * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Expression from "../../Expression.ts"
import type { OutputCache } from "../../OutputCache.ts"
import type * as Usage from "../../Usage.ts"

/**
 * A call that failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class ServiceError extends Schema.TaggedError<ServiceError>()("ServiceError", {
  /** What went wrong, without a secret: it is recorded and shown. */
  detail: Schema.String,
  /** Whether the same call may succeed later. */
  retryable: Schema.Boolean,
  /** The least wait until then, as the service says; at most an hour of it counts. */
  retryAfter: Schema.optionalKey(Schema.Duration)
}) {
  override get message() {
    return this.detail
  }
  /** What may pass is a fault of the service, for its circuit breaker. */
  get [Outcome.key]() {
    const { retryAfter, retryable } = this
    return retryable ? Outcome.failure({ retryAfter }) : Outcome.ignored()
  }
}

/**
 * What a service knows of a call beside its input.
 *
 * @category models
 * @since 0.1.0
 */
export interface CallContext {
  readonly runId: string
  /** The name of the workflow. */
  readonly workflow: string
  /** The id of the step; with `[index]` for an element of a list. */
  readonly stepId: string
  /** From 1. */
  readonly attempt: number
  /** The same for every attempt. */
  readonly idempotencyKey: string
  /** Tells what the call used so far, beside what was told before. It counts also when the call fails. */
  readonly report: (usage: Partial<Usage.Usage>) => Effect.Effect<void>
}

/**
 * The call that a step makes, for what a service stands on, such as the model.
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentCall = Context.Reference<CallContext | undefined>("@ballast/workflow/Service/CurrentCall", {
  defaultValue: () => undefined
})

/**
 * What a step calls.
 *
 * @category models
 * @since 0.1.0
 */
export interface Service {
  /** Gives JSON. It is interrupted when the step's timeout or the run's deadline has passed. */
  readonly call: (input: unknown, context: CallContext) => Effect.Effect<unknown, ServiceError>
  /** The type of its output, as expressions see it. Default: anything. */
  readonly output?: Expression.Type | undefined
}

/**
 * What a call of a model costs. `provider` is empty where the model is no router; `at` is when it began, in milliseconds since 1970.
 *
 * @category models
 * @since 0.1.0
 */
export type CostOf = (
  usage: ChatUsage.Usage,
  call: { readonly provider: string; readonly model: string; readonly at: number }
) => Result.Result<{ readonly currency: string; readonly total: BigDecimal.BigDecimal }, unknown>

/**
 * What services in files need of the program.
 *
 * @category options
 * @since 0.1.0
 */
export interface Parts {
  /** What services of the type `model` ask. Default: their calls fail. */
  readonly model?: ChatModel<unknown> | undefined
  /** What a call of a model costs, such as `Pricing.cost` of `@ballast/deepseek`. Default: it is not known. */
  readonly cost?: CostOf | undefined
  /** What services of the type `onnx` ask. Default: their calls fail. */
  readonly localModels?: Models["Service"] | undefined
  /** What services of the type `http` are called by. Default: their calls fail. */
  readonly http?: HttpClient.HttpClient | undefined
  /** Writes a page of a service of the type `report` under a name without folders; gives where it is. Default: their calls fail. */
  readonly saveReport?: ((name: string, html: string) => Effect.Effect<string, ServiceError>) | undefined
  /** Where outputs of steps with `cache` are kept. Default: a memory of its own. */
  readonly cache?: OutputCache | undefined
  /** What expressions see as `env`. Default: nothing. */
  readonly env?: Readonly<Record<string, string>> | undefined
}

/** Gives the value with the values of its expressions, which see the input as `output` too, unless another one is given. */
export type Evaluate = (value: unknown, output?: unknown) => Effect.Effect<unknown, ServiceError>

export const fail = (detail: string, retryable = false) => Effect.fail(new ServiceError({ detail, retryable }))

export const parseJson = (text: string, what: string, retryable = false): Effect.Effect<unknown, ServiceError> =>
  Effect.try({
    try: (): unknown => JSON.parse(text),
    catch: () => new ServiceError({ detail: `${what} is no JSON`, retryable })
  })
