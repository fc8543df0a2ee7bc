/** Pins the types of values, tools and the language model; checked by the compiler alone. */
import type { ChatModel, ChatRequest } from "@ballast/chat"
import { ChatObject, ChatTools, DeepSeek, DeepSeekLanguageModel } from "@ballast/deepseek"
import { type Context, type Effect, type Layer, Schema, type Stream } from "effect"
import { type AiError, type LanguageModel, Tool, Toolkit } from "effect/ai"

type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
const same = <A, B>(_equal: Equals<A, B>): void => {}

declare const request: ChatRequest.ChatRequest
declare const model: ChatModel.ChatModel<"e">

class Ship
  extends Schema.Class<Ship>("Ship")({ built: Schema.FiniteFromString, name: Schema.optionalKey(Schema.String) })
{}

const ship = DeepSeek.object(Ship, request)
const answer = ChatObject.complete(model, Ship, request)
const parts = ChatObject.stream(model, Ship, request)

same<typeof ship, Effect.Effect<Ship, DeepSeek.CallError | ChatObject.ObjectError, DeepSeek.DeepSeek>>(true)
same<typeof answer, Effect.Effect<ChatObject.Answer<Ship>, "e" | ChatObject.ObjectError>>(true)
same<Stream.Error<typeof parts>, "e" | ChatObject.ObjectError>(true)

// A partial value is in the encoded form, and any of it may be missing.
type Partial = Extract<Stream.Success<typeof parts>, { readonly _tag: "Partial" }>["value"]
same<Partial, { readonly built?: string; readonly name?: string }>(true)

class Sunk extends Schema.TaggedError<Sunk>()("Sunk", {}) {}
class Charts extends Schema.Class<Charts>("Charts")({}) {}
declare const Chart: Context.Service<Charts, Charts>

const find = Tool.make("find", {
  parameters: Schema.Struct({ name: Schema.String }),
  failure: Sunk,
  dependencies: [Chart]
})
const ask = Tool.make("ask", { failure: Sunk, failureMode: "return" })
const Both = Toolkit.make(find, ask)
const Asking = Toolkit.make(ask)
declare const both: Toolkit.WithHandler<Toolkit.Tools<typeof Both>>
declare const asking: Toolkit.WithHandler<Toolkit.Tools<typeof Asking>>

const loop = ChatTools.complete(model, request, both)
const quiet = ChatTools.complete(model, request, asking)

type Always = "e" | ChatTools.TooManyRounds | ChatTools.WrongToolCall | AiError.AiError

// A failure that a tool returns is no error of the conversation; what a handler needs is asked of the caller.
same<Effect.Error<typeof loop>, Always | Sunk>(true)
same<Effect.Services<typeof loop>, Charts>(true)
same<Effect.Error<typeof quiet>, Always>(true)
same<Effect.Services<typeof quiet>, never>(true)

const layer = DeepSeekLanguageModel.layer({ model: "deepseek-flash" })
same<typeof layer, Layer.Layer<LanguageModel.LanguageModel, never, DeepSeek.DeepSeek>>(true)

// What the prompt and its options say is no part of a configuration.
// @ts-expect-error: not a field of a configuration
DeepSeekLanguageModel.model("deepseek-flash", { messages: [] })
