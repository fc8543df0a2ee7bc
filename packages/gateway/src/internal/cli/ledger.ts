/** `ballast usage`, `ballast calls` and `ballast compare`: what the ledger tells, in a terminal. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Calls from "../../Calls.ts"
import * as Comparison from "../../Comparison.ts"
import { StartError } from "../../StartError.ts"
import * as UsageReport from "../../UsageReport.ts"
import { numbers } from "../ledger/sums.ts"
import { ask, type Options, type Paint, place, send } from "./adminClient.ts"
import { csv } from "./csv.ts"
import { print } from "./print.ts"
import { plain, table } from "./table.ts"

const timeOf = (millis: number): string =>
  DateTime.formatIso(DateTime.makeUnsafe(millis)).slice(0, 16).replace("T", " ")

const queryOf = (given: Readonly<Record<string, string | undefined>>): string => {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(given)) if (value !== undefined) query.set(name, value)
  return query.size === 0 ? "" : `?${query}`
}

type Measures = UsageReport.Report["total"]

const measuresOf = (one: Measures) => [
  one.calls,
  one.errors,
  one.input_tokens,
  one.cached_tokens,
  one.output_tokens,
  one.cost.map(({ currency, total }) => `${total} ${plain(currency)}`).join(", ") || "-"
]

const width = 24

const bar = (share: number): string => {
  const eighths = Math.round(Math.min(1, Math.max(0, share)) * width * 8)
  return "█".repeat(Math.floor(eighths / 8)) + ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8]
}

/** What the bars show: money of the first currency, or tokens where nothing has a price. */
const amountOf = ({ total }: UsageReport.Report) => {
  const currency = total.cost[0]?.currency
  return currency === undefined
    ? { title: "tokens", of: (one: Measures) => one.input_tokens + one.output_tokens }
    : {
      title: currency,
      of: (one: Measures) => Number(one.cost.find((cost) => cost.currency === currency)?.total ?? 0)
    }
}

const notes = ({ total }: UsageReport.Report): string =>
  [
    [total.cache_hits, "came from the answer cache and cost nothing"],
    [total.cancelled, "were left by their clients"],
    [total.unknown_usage, "have no usage: the service did not tell it"],
    [total.unknown_price, "have no known price: their cost is not in the sums"]
  ].flatMap(([count, what]) => count === 0 ? [] : [`${count} calls ${what}.\n`]).join("")

/** A name that is misspelt has no calls, either. */
const noCalls = (of: string, by: string): string =>
  `There are no calls${of}. Names that have some: ballast usage --by ${by}.\n`

const showReport = (report: UsageReport.Report, paint: Paint): string => {
  const { by, from, rows, to, total } = report
  const amount = amountOf(report)
  const most = Math.max(...rows.map(amount.of), 0)
  const head = [...by, "calls", "errors", "input", "cached", "output", "cost"]
  const body = rows.map((row) => [
    ...by.map((name) => plain(row.group[name] ?? "") || "-"),
    ...measuresOf(row),
    most === 0 ? "" : bar(amount.of(row) / most)
  ])
  const all = by.length === 0 ? [] : [["total", ...by.slice(1).map(() => ""), ...measuresOf(total), ""]]
  const lines = by.length === 0 ? [[...measuresOf(total), ""]] : [...body, ...all]
  const told = total.calls === 0 ? noCalls("", "client,model,provider,arm") : notes(report)
  return `${timeOf(from)} to ${timeOf(to)} UTC\n\n${table([...head, amount.title], lines)}${
    told === "" ? "" : `\n${paint("dim", told.trimEnd())}\n`
  }`
}

const kinds = ["hit", "miss", "output", "reasoning", "call", "total"] as const

/** A line for each group and currency. */
const reportCsv = ({ by, rows }: UsageReport.Report): string =>
  csv([
    [
      ...by,
      ...numbers,
      "currency",
      ...kinds.map((kind) => `cost_${kind}`),
      "saved"
    ],
    ...rows.flatMap((row) => {
      const counts = numbers.map((name) => row[name])
      const group = by.map((name) => row.group[name] ?? "")
      const [first, ...others] = row.cost
      // Counts of a group stand once, so that a column adds up.
      return [
        [...group, ...counts, ...moneyOf(first)],
        ...others.map((cost) => [...group, ...counts.map(() => 0), ...moneyOf(cost)])
      ]
    })
  ])

const moneyOf = (cost: Measures["cost"][number] | undefined) => [
  cost?.currency ?? "",
  ...kinds.map((kind) => cost?.[kind] ?? ""),
  cost?.saved ?? ""
]

export interface Range {
  readonly since: string | undefined
  readonly until: string | undefined
  readonly model: string | undefined
}

export interface Report extends Range {
  readonly by: string
  readonly client: string | undefined
  readonly provider: string | undefined
  readonly arm: string | undefined
  readonly csv: boolean
}

const reports = ask(UsageReport.Report, showReport)
const csvReports = ask(UsageReport.Report, reportCsv)

export const usage = ({ csv, ...query }: Report, options: Options) =>
  (csv ? csvReports : reports)(options, "GET", `/usage${queryOf({ ...query })}`)

export interface Rows extends Range {
  readonly client: string | undefined
  readonly request: string | undefined
}

const readPage = Schema.decodeUnknownEffect(Schema.fromJsonString(Calls.Page))

/** All pages, one after the other: as CSV, or a JSON object a line. */
export const calls = Effect.fnUntraced(function*(query: Rows, options: Options) {
  const at = yield* place(options.url)
  let after: string | undefined
  let isFirst = true
  do {
    const text = yield* send(at, "GET", `/admin/v1/calls${queryOf({ ...query, after })}`)
    const page = yield* Effect.mapError(
      readPage(text),
      () => new StartError({ detail: "The gateway's answer is of another version." })
    )
    if (options.json) {
      yield* print(page.calls.map((call) => `${JSON.stringify(call)}\n`).join(""))
    } else {
      const head = Object.keys(Calls.Shown.fields)
      const rows = page.calls.map((call) =>
        head.map((name) => {
          const value = call[name as keyof typeof call]
          return typeof value === "object" && value !== null ? JSON.stringify(value) : value ?? ""
        })
      )
      yield* print(csv(isFirst ? [head, ...rows] : rows))
    }
    isFirst = false
    after = page.next ?? undefined
  } while (after !== undefined)
})

const numberOf = (value: number, unit: string): string =>
  unit.startsWith("share") ? `${Number((value * 100).toPrecision(3))} %` : `${Number(value.toPrecision(4))}`

const sideOf = ({ interval, value }: typeof Comparison.Measure.Type["a"], unit: string): string =>
  value === null
    ? "-"
    : interval === null
    ? numberOf(value, unit)
    : `${numberOf(value, unit)} (${numberOf(interval.low, unit)} to ${numberOf(interval.high, unit)})`

const showComparison = ({ a, b, calls, from, measures, to }: Comparison.Comparison): string =>
  `${timeOf(from)} to ${timeOf(to)} UTC: ${calls.a} calls of ${plain(a)}, ${calls.b} of ${plain(b)}\n\n${
    table(
      ["measure", plain(a), plain(b), "verdict"],
      measures.map(({ a, b, name, unit, verdict }) => [
        plain(unit.startsWith("share") || unit === "tokens" || unit === "mean" ? name : `${name}, ${unit}`),
        sideOf(a, unit),
        sideOf(b, unit),
        plain(verdict)
      ])
    )
  }\nBehind a value: its 95 % confidence interval.\n${calls.a === 0 ? noCalls(` of ${plain(a)}`, "arm") : ""}${
    calls.b === 0 ? noCalls(` of ${plain(b)}`, "arm") : ""
  }`

const comparisons = ask(Comparison.Comparison, showComparison)

export const compare = (query: Range & { readonly a: string; readonly b: string }, options: Options) =>
  comparisons(options, "GET", `/compare${queryOf({ ...query })}`)
