/**
 * What the simulator answers in the model's place. The simulator does not understand text, so this finds the fields by patterns in the prompt: it
 * knows the labels of the invoices that the example draws, and nothing else. It sees what the text recognition found, not what was drawn.
 */
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import { beforeText } from "./extract.ts"

const labels = {
  number: /^(?:invoice ?no\.?|发票号码) ?[:：](.+)$/i,
  date: /^(?:date|开票日期) ?[:：](.+)$/i,
  seller: /^(?:from|销售方) ?[:：](.+)$/i,
  buyer: /^(?:bill ?to|购买方) ?[:：](.+)$/i,
  currency: /^(?:currency|币种) ?[:：](.+)$/i,
  net: /^(?:subtotal|合计金额)$/i,
  tax: /^(?:vat|税额)$/i,
  amount: /^(?:total ?due|价税合计)$/i
}

/** What stands behind a label: in the same piece of text, or in the next one of the line. */
const behind = (label: RegExp, lines: ReadonlyArray<ReadonlyArray<string>>): string | null => {
  for (const line of lines) {
    const at = line.findIndex((piece) => label.test(piece))
    const found = at < 0 ? undefined : label.exec(line[at] ?? "")?.[1] ?? line[at + 1]
    if (found !== undefined) return found.trim()
  }
  return null
}

/** The last point or comma with two digits behind it is that of the cents. */
const amountOf = (text: string | null): number | null => {
  const [, whole = "", cents = ""] = /(\d[\d.,]*)[.,](\d{2})$/.exec(text ?? "") ?? []
  return whole === "" ? null : Number(`${whole.replace(/\D/g, "")}.${cents}`)
}

const dateOf = (text: string | null): string | null => {
  const [, year, month, day] = /(\d{4})\D(\d{2})\D(\d{2})/.exec(text ?? "") ?? []
  return year === undefined ? null : `${year}-${month}-${day}`
}

const currencyOf = (text: string | null): string | null =>
  /^(?:CNY|EUR|USD)$/.exec(text?.toUpperCase() ?? "")?.[0] ?? null

export const simulatedReader = ({ messages }: ChatRequest): string | undefined => {
  const prompt = messages.map(({ content }) => content).find((content) =>
    typeof content === "string" && content.startsWith(beforeText)
  )
  if (typeof prompt !== "string") return undefined
  const lines = prompt.slice(beforeText.length).split("\n").map((line) => line.split("  "))
  const find = (field: keyof typeof labels) => behind(labels[field], lines)
  return JSON.stringify({
    number: find("number"),
    date: dateOf(find("date")),
    seller: find("seller"),
    buyer: find("buyer"),
    currency: currencyOf(find("currency")),
    net: amountOf(find("net")),
    tax: amountOf(find("tax")),
    amount: amountOf(find("amount"))
  })
}
