/** From the lines of an invoice to its fields, by a chat model, with how sure each of them is. */
import type { ChatModel } from "@ballast/chat/ChatModel"
import { ChatObject } from "@ballast/deepseek"
import { Effect, Record, Schema } from "effect"
import { type Field, fields, Invoice } from "./Invoice.ts"
import type { Lines, Piece } from "./Ocr.ts"

/** What was read, and how sure each field is, 0 to 1. */
export const Extracted = Schema.Struct({
  ...Invoice.fields,
  confidence: Schema.Record(Schema.Literals(fields), Schema.Finite)
})

export type Extracted = typeof Extracted.Type

type Text = typeof Lines.Type

const instructions =
  "You read invoices. You get what a scanner's text recognition found, line by line; it may have mistaken single characters. Take over what stands there, and do not calculate."

export const beforeText = "The invoice:\n\n"

/** Only what tells texts apart: spaces are lost easily, and a scan has colons of both widths. */
const bare = (text: string) => text.replace(/\s/g, "").replaceAll("：", ":").toLowerCase()

const digits = (text: string) => text.replace(/\D/g, "")

/** Whether a piece of text shows the value of a field. */
const shows = (value: string | number, { text }: Piece): boolean =>
  typeof value === "number"
    ? digits(text) === digits(value.toFixed(2))
    : bare(text).includes(bare(value)) || /^\d{4}-\d{2}-\d{2}$/.test(value) && digits(text) === digits(value)

/** A value is as sure as the text that shows it. One that stands nowhere is not sure at all: the model made it up, or changed it. */
const confidenceOf = (value: Invoice[Field], pieces: ReadonlyArray<Piece>): number =>
  value === null
    ? 0
    : Math.max(0, ...pieces.filter((piece) => shows(value, piece)).map(({ confidence }) => confidence))

export const extract = Effect.fn("extract")(function*<E>(model: ChatModel<E>, lines: Text) {
  const text = lines.map((line) => line.map(({ text }) => text).join("  ")).join("\n")
  const { usage, value } = yield* ChatObject.complete(model, Invoice, {
    model: "deepseek-flash",
    messages: [{ role: "system", content: instructions }, { role: "user", content: beforeText + text }]
  })
  const pieces = lines.flat()
  const confidence = Record.map(value, (field) => confidenceOf(field, pieces))
  return { ...value, confidence, usage }
})
