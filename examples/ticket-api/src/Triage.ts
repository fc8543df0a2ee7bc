/** Turns a customer's message into a `Ticket`: the model answers in JSON, and `Schema` decides whether that is a ticket. */
import { DeepSeek } from "@ballast/deepseek"
import { Context, Effect, Layer, Schema } from "effect"
import { Ticket } from "./Ticket.ts"

/** The model answered, but not with a ticket. */
export class NotATicket extends Schema.TaggedError<NotATicket>()("NotATicket", { detail: Schema.String }) {
  override get message() {
    return `The model's answer is not a ticket: ${this.detail}`
  }
}

const { definitions, schema } = Schema.toJsonSchemaDocument(Ticket)

const instructions = `You sort the messages that customers send to a support desk.
Answer with one JSON object of this JSON schema: ${JSON.stringify({ ...schema, $defs: definitions })}`

const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(Ticket))

export class Triage extends Context.Service<Triage, {
  readonly sort: (text: string) => Effect.Effect<Ticket, DeepSeek.CallError | NotATicket>
}>()("ticket-api/Triage") {
  static readonly layer = Layer.effect(
    Triage,
    Effect.gen(function*() {
      const model = yield* DeepSeek.DeepSeek

      const once = Effect.fnUntraced(function*(text: string) {
        const completion = yield* model.complete({
          model: "deepseek-flash",
          response_format: { type: "json_object" },
          messages: [{ role: "system", content: instructions }, { role: "user", content: text }]
        })
        return yield* decode(completion.choices[0].message.content).pipe(
          Effect.mapError((error) => new NotATicket({ detail: error.message }))
        )
      })

      return Triage.of({
        sort: (text) => once(text).pipe(Effect.retry({ while: (error) => error._tag === "NotATicket", times: 2 }))
      })
    })
  )
}
