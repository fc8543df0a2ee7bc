/** Turns a customer's message into a `Ticket`. */
import { type ChatObject, DeepSeek } from "@ballast/deepseek"
import { Context, Effect, Layer } from "effect"
import { Ticket } from "./Ticket.ts"

export class Triage extends Context.Service<Triage, {
  readonly sort: (text: string) => Effect.Effect<Ticket, DeepSeek.CallError | ChatObject.ObjectError>
}>()("ticket-api/Triage") {
  static readonly layer = Layer.effect(
    Triage,
    Effect.map(DeepSeek.DeepSeek, (model) => ({
      sort: (text) =>
        Effect.provideService(
          DeepSeek.object(Ticket, {
            model: "deepseek-flash",
            messages: [
              { role: "system", content: "You sort the messages that customers send to a support desk." },
              { role: "user", content: text }
            ]
          }),
          DeepSeek.DeepSeek,
          model
        )
    }))
  )
}
