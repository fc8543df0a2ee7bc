/**
 * Puts right what of a conversation DeepSeek would refuse, and what has one right form only.
 *
 * | in the request | becomes | why |
 * |---|---|---|
 * | an assistant turn without `reasoning_content`, while thinking and with `tools` | the same with `""` | the service wants the thinking of every earlier turn back; the empty text passes |
 * | an assistant turn without the key `content` | the same with `null` | the key is required |
 * | the role `developer` | `system` | the service knows no `developer` |
 * | an effort that is an alias (`medium`, `ultra`, …) | the effort that it stands for | the service refuses some aliases |
 *
 * Thinking that is there is sent as it is. A turn that lost it is known no more by any service, so nothing better than the empty text can
 * stand for it. A request in which nothing has to change is the very same object, and keeps its text.
 *
 * @since 0.1.0
 */
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest, Message } from "@ballast/chat/ChatRequest"
import { dual } from "effect/Function"
import { effortOf } from "./internal/efforts.ts"
import type { Provider } from "./Provider.ts"

/**
 * Whether the model thinks before it answers: it does unless the request switches that off.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isThinking = ({ reasoning_effort, thinking }: ChatRequest): boolean =>
  thinking?.type !== "disabled" && reasoning_effort !== "none"

/** Whether the service wants the thinking of earlier turns back. */
const wantsThinking = (request: ChatRequest): boolean =>
  isThinking(request) && Array.isArray(request.tools) && request.tools.length > 0

/**
 * The request as the provider takes it; the very same where nothing has to change, or the provider has no rules.
 *
 * @category combinators
 * @since 0.1.0
 */
export const mend = (request: ChatRequest, { models, rules }: Pick<Provider, "models" | "rules">): ChatRequest => {
  if (rules === "none") return request
  const messages = mendMessages(request)
  const efforts = Object.hasOwn(models, request.model) ? models[request.model]?.efforts : undefined
  const effort = effortOf(request.reasoning_effort, efforts)
  if (messages === undefined && effort === undefined) return request
  return {
    ...request,
    ...(messages === undefined ? undefined : { messages }),
    ...(effort === undefined ? undefined : { reasoning_effort: effort })
  }
}

/** The messages with those that had to change; undefined where none had to. */
const mendMessages = (request: ChatRequest): ChatRequest["messages"] | undefined => {
  const messages: ReadonlyArray<Message> = request.messages
  // A request that is only passed on may hold anything.
  if (!Array.isArray(messages)) return undefined
  const thinks = wantsThinking(request)
  let mended: Array<Message> | undefined
  for (let index = 0; index < messages.length; index++) {
    const message = messages[index]
    const better = message && mendMessage(message, thinks)
    if (better !== undefined && better !== message) (mended ??= [...messages])[index] = better
  }
  // As many as there were.
  return mended as ChatRequest["messages"] | undefined
}

const mendMessage = (message: Message, thinks: boolean): Message => {
  const role: string = message.role
  // The same fields under another name.
  if (role === "developer") return { ...message, role: "system" } as Message
  if (message.role !== "assistant" || message.prefix === true) return message
  const lacksContent = message.content === undefined
  const lacksThinking = thinks && message.reasoning_content == null
  if (!lacksContent && !lacksThinking) return message
  return {
    ...message,
    ...(lacksContent ? { content: null } : undefined),
    ...(lacksThinking ? { reasoning_content: "" } : undefined)
  }
}

/**
 * Mends each request of a model.
 *
 * @category combinators
 * @since 0.1.0
 */
export const mended: {
  (provider: Pick<Provider, "models" | "rules">): <E>(self: ChatModel<E>) => ChatModel<E>
  <E>(self: ChatModel<E>, provider: Pick<Provider, "models" | "rules">): ChatModel<E>
} = dual(2, <E>(self: ChatModel<E>, provider: Pick<Provider, "models" | "rules">): ChatModel<E> => ({
  complete: (request) => self.complete(mend(request, provider)),
  stream: (request) => self.stream(mend(request, provider))
}))
