/** The rules that an invoice has to keep before it is paid, and why each of them is kept or broken. */
import { Schema } from "effect"
import type { Extracted } from "./extract.ts"
import { fields } from "./Invoice.ts"

export const Finding = Schema.Struct({
  rule: Schema.String,
  kept: Schema.Boolean,
  reason: Schema.String
})

export type Finding = typeof Finding.Type

/** Below this, a person looks. */
export const sure = 0.9

/** Rates of value added and sales tax that are in use, of 1. */
const rates = { CNY: [0, 0.01, 0.03, 0.06, 0.09, 0.13], EUR: [0, 0.27], USD: [0, 0.12] } as const

const percent = (share: number) => `${(share * 100).toFixed(1)} %`

type Rule = (invoice: Extracted) => Omit<Finding, "rule">

const rules: Readonly<Record<string, Rule>> = {
  complete: (invoice) => {
    const missing = fields.filter((field) => invoice[field] === null)
    return missing.length === 0
      ? { kept: true, reason: "every field was read" }
      : { kept: false, reason: `not read: ${missing.join(", ")}` }
  },
  legible: ({ confidence, ...invoice }) => {
    const unsure = fields.filter((field) => invoice[field] !== null && confidence[field] < sure)
    return unsure.length === 0
      ? { kept: true, reason: `every field that was read is at least ${percent(sure)} sure` }
      : {
        kept: false,
        reason: unsure.map((field) => {
          const share = confidence[field]
          return share === 0 ? `${field} does not stand in the text so` : `${field} is only ${percent(share)} sure`
        }).join(", ")
      }
  },
  sums: ({ amount, net, tax }) => {
    if (net === null || tax === null) return { kept: false, reason: "it can not be added up" }
    const expected = (net + tax).toFixed(2)
    return {
      kept: expected === amount.toFixed(2),
      reason: `${net} + ${tax} is ${expected}, the invoice says ${amount.toFixed(2)}`
    }
  },
  "tax rate": ({ currency, net, tax }) => {
    if (currency === null || net === null || tax === null || net === 0) {
      return { kept: false, reason: "it can not be calculated" }
    }
    const rate = tax / net
    const usual = currency === "CNY"
      ? rates.CNY.some((one) => Math.abs(rate - one) < 0.001)
      : rate >= rates[currency][0] && rate <= rates[currency][1]
    return {
      kept: usual,
      reason: `${percent(rate)} is ${usual ? "a usual rate" : "no rate that is in use"} for ${currency}`
    }
  }
}

export const check = (invoice: Extracted): ReadonlyArray<Finding> =>
  Object.entries(rules).map(([rule, judge]) => ({ rule, ...judge(invoice) }))
