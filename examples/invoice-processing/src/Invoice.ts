/** What is read from an invoice. */
import { Schema } from "effect"

const orNull = <S extends Schema.Constraint>(schema: S, description: string) =>
  Schema.NullOr(schema).annotate({ description: `${description}; null where it can not be read` })

const money = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))

/** The fields of an invoice; all amounts are in its currency. Without an amount it is none. */
export const Invoice = Schema.Struct({
  number: orNull(Schema.NonEmptyString, "The number of the invoice, as it stands there"),
  date: orNull(Schema.String.check(Schema.isPattern(/^\d{4}-\d{2}-\d{2}$/)), "Its date, as YYYY-MM-DD"),
  seller: orNull(Schema.NonEmptyString, "Who sends it"),
  buyer: orNull(Schema.NonEmptyString, "Who is to pay"),
  currency: orNull(Schema.Literals(["CNY", "EUR", "USD"]), "Its currency"),
  net: orNull(money, "The sum before tax"),
  tax: orNull(money, "The tax"),
  amount: money.annotate({ description: "What is to be paid, tax included" })
}).annotate({ identifier: "invoice" })

export type Invoice = typeof Invoice.Type

export type Field = keyof Invoice

export const fields: ReadonlyArray<Field> = ["number", "date", "seller", "buyer", "currency", "net", "tax", "amount"]
