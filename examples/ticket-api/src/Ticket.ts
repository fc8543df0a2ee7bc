/** What the support desk needs to know of a customer's message. */
import { Schema } from "effect"

export class Ticket extends Schema.Class<Ticket>("Ticket")({
  category: Schema.Literals(["billing", "bug", "question", "other"]),
  urgency: Schema.Literals(["low", "normal", "high"]),
  summary: Schema.NonEmptyString.annotate({ description: "one sentence" })
}) {}

/** A customer's message, as it is posted. */
export const Message = Schema.Struct({
  text: Schema.NonEmptyString.check(Schema.isMaxLength(10_000))
})
