/** Errors of calls as `effect/ai` has them. */
import * as ChatError from "@ballast/chat/ChatError"
import * as AiError from "effect/ai/AiError"
import * as Duration from "effect/Duration"
import { hasProperty, isString } from "effect/Predicate"
import { ObjectError } from "../ChatObject.ts"

/** The reason that an error stands for. What is lost on the way is in `metadata.ballast`. */
export const reasonOf = (error: unknown): AiError.AiErrorReason => {
  if (AiError.isAiErrorReason(error)) return error
  if (error instanceof ObjectError) {
    return new AiError.StructuredOutputError({ description: error.message, responseText: error.actual })
  }
  return ChatError.isChatError(error) ? ofChat(error.reason) : ofPolicy(error)
}

const metadataOf = (reason: ChatError.Reason) => ({
  ballast: {
    reason: reason._tag,
    status: "status" in reason ? reason.status ?? null : null,
    traceId: "traceId" in reason ? reason.traceId ?? null : null
  }
})

const ofChat = (reason: ChatError.Reason): AiError.AiErrorReason => {
  const given = { description: reason.message, metadata: metadataOf(reason) }
  switch (reason._tag) {
    case "InvalidRequest":
      return new AiError.InvalidRequestError({ ...given, parameter: reason.path })
    case "UnknownModel":
      return new AiError.InvalidRequestError({ ...given, parameter: "model" })
    case "ContextLengthExceeded":
      return new AiError.InvalidRequestError({ ...given, parameter: "messages" })
    case "NotFound":
      return new AiError.InvalidRequestError(given)
    case "ContentRejected":
      return new AiError.ContentPolicyError(given)
    case "Unauthorized":
      return new AiError.AuthenticationError({
        ...given,
        kind: reason.status === 403 ? "InsufficientPermissions" : "InvalidKey"
      })
    case "InsufficientBalance":
      return new AiError.QuotaExhaustedError({ metadata: given.metadata })
    case "RateLimited":
    case "ConcurrencyExceeded":
      return new AiError.RateLimitError({ metadata: given.metadata, retryAfter: reason.retryAfter })
    case "TemporarilyRefused":
    case "InternalError":
    case "Overloaded":
    case "GatewayError":
      return new AiError.InternalProviderError(given)
    case "ConnectFailed":
    case "ConnectionLost":
    case "DeadlineExceeded":
      return new AiError.NetworkError({
        reason: "TransportError",
        method: "POST",
        url: "chat/completions",
        description: reason.message
      })
    case "MalformedBody":
      return ChatError.judge(reason).retry
        ? new AiError.InvalidOutputError(given)
        : new AiError.InvalidResponseError(given)
    case "StreamTruncated":
    case "EmptyCompletion":
    case "LeakedToolCall":
      return new AiError.InvalidOutputError(given)
  }
}

/** The rejection of a policy, which may be no such one: a model fails with whatever it is made of. */
const ofPolicy = (error: unknown): AiError.AiErrorReason => {
  const tag = hasProperty(error, "_tag") && isString(error._tag) ? error._tag : "unknown"
  const metadata = { ballast: { reason: tag, status: null, traceId: null } }
  const description = error instanceof Error ? error.message : tag
  switch (tag) {
    case "RateLimitExceeded":
      return new AiError.RateLimitError({ metadata, retryAfter: retryAfterOf(error) })
    case "CircuitOpen":
    case "QueueFull":
    case "QueueTimeout":
      return new AiError.InternalProviderError({ description, metadata })
    default:
      return new AiError.UnknownError({ description, metadata })
  }
}

const retryAfterOf = (error: unknown): Duration.Duration | undefined =>
  hasProperty(error, "retryAfter") && Duration.isDuration(error.retryAfter) ? error.retryAfter : undefined
