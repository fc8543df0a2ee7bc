import { ChatError } from "@ballast/chat"
import type { ChatChunk, ChatCompletion, ChatModel, ChatRequest } from "@ballast/chat"
import { Effect, Stream } from "effect"

export const request: ChatRequest.ChatRequest = {
  model: "deepseek-flash",
  messages: [{ role: "user", content: "Why does a ship carry ballast?" }]
}

export const answered = (text: string): ChatCompletion.ChatCompletion => ({
  id: text,
  choices: [{ message: { role: "assistant", content: text }, finish_reason: "stop" }]
})

export const chunk = (text: string, finish_reason: string | null = null): ChatChunk.ChatChunk => ({
  id: text,
  choices: [{ delta: { content: text }, finish_reason }]
})

/** A model that answers with its name and counts its calls. */
export const answering = (name: string) => {
  const model = {
    calls: 0,
    complete: () => Effect.sync(() => (model.calls++, answered(name))),
    stream: () => Stream.suspend(() => (model.calls++, Stream.make(chunk(name), chunk("", "stop"))))
  }
  return model
}

/** A model that fails every call, a stream before its first chunk. */
export const failing = (error: ChatError.ChatError) => {
  const model = {
    calls: 0,
    complete: (): Effect.Effect<ChatCompletion.ChatCompletion, ChatError.ChatError> =>
      Effect.suspend(() => (model.calls++, Effect.fail(error))),
    stream: (): Stream.Stream<ChatChunk.ChatChunk, ChatError.ChatError> =>
      Stream.suspend(() => (model.calls++, Stream.fail(error)))
  }
  return model
}

const told = { status: 503, detail: "busy", stated: true }

export const overloaded = new ChatError.ServerError({ reason: new ChatError.Overloaded(told) })
export const refused = new ChatError.ClientError({ reason: new ChatError.InvalidRequest({ ...told, status: 400 }) })
export const unauthorized = new ChatError.ClientError({ reason: new ChatError.Unauthorized({ ...told, status: 401 }) })
export const noBalance = new ChatError.ClientError({
  reason: new ChatError.InsufficientBalance({ ...told, status: 402 })
})

/** What a call says in both forms: the text, or the error. */
export const bothWays = <E>(model: ChatModel.ChatModel<E>, asked = request) =>
  Effect.all([
    Effect.result(Effect.map(model.complete(asked), ({ choices }) => choices[0].message.content ?? "")),
    Effect.result(Effect.map(
      Stream.runCollect(model.stream(asked)),
      (chunks) => chunks.map(({ choices }) => choices[0]?.delta.content ?? "").join("")
    ))
  ])
