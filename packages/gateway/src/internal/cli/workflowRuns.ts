/** `ballast workflow runs` and its neighbours: the runs of a gateway, from a terminal. */
import * as Runs from "@ballast/workflow/Runs"
import * as Usage from "@ballast/workflow/Usage"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { ask, type Options, type Paint, present } from "./adminClient.ts"
import { plain, table } from "./table.ts"

const Summary = Schema.Struct({
  id: Schema.String,
  workflow: Schema.String,
  client: Schema.String,
  status: Runs.Status,
  createdAt: Schema.Finite,
  endedAt: Schema.NullOr(Schema.Finite),
  error: Schema.NullOr(Schema.Struct({ step: Schema.NullOr(Schema.String), reason: Schema.String })),
  usage: Usage.Usage
})

const List = Schema.Struct({ data: Schema.Array(Summary), next: Schema.NullOr(Schema.String) })

const Run = Schema.Struct({
  ...Summary.fields,
  output: Schema.Unknown,
  steps: Schema.Array(Schema.Struct({
    id: Schema.String,
    status: Schema.String,
    attempts: Schema.Finite,
    startedAt: Schema.Finite,
    endedAt: Schema.NullOr(Schema.Finite),
    error: Schema.NullOr(Schema.String),
    question: Schema.optionalKey(Schema.String),
    usage: Usage.Usage
  }))
})

const timeOf = (millis: number): string =>
  DateTime.formatIso(DateTime.makeUnsafe(millis)).slice(0, 19).replace("T", " ")

const lengthOf = (from: number, to: number | null): string =>
  to === null ? "-" : Duration.format(Duration.millis(to - from))

const costOf = ({ cost }: Usage.Usage): string =>
  Object.entries(cost).map(([currency, amount]) => `${amount} ${currency}`).join(", ")

const statusOf = (status: string, paint: Paint): string =>
  status === "failed" ? paint("red", status) : status === "waiting" ? paint("yellow", status) : status

const showList = ({ data, next }: typeof List.Type, paint: Paint): string =>
  data.length === 0 ? "No runs.\n" : table(
    ["run", "workflow", "status", "started", "took", "tokens", "cost", "client"],
    data.map((run) => [
      run.id,
      plain(run.workflow),
      statusOf(run.status, paint),
      timeOf(run.createdAt),
      lengthOf(run.createdAt, run.endedAt),
      Usage.tokens(run.usage),
      costOf(run.usage),
      plain(run.client)
    ])
  ) + (next === null ? "" : `There are more: --cursor ${next}\n`)

const showRun = (run: typeof Run.Type, paint: Paint): string =>
  [
    showList({ data: [run], next: null }, paint),
    "\n",
    table(
      ["step", "status", "attempts", "took", "tokens", "cost", ""],
      run.steps.map((step) => [
        step.id,
        statusOf(step.status, paint),
        step.attempts,
        lengthOf(step.startedAt, step.endedAt),
        Usage.tokens(step.usage),
        costOf(step.usage),
        plain(step.error ?? (step.status === "waiting" ? step.question ?? "" : ""))
      ])
    ),
    ...run.error === null ? [] : [`\n${plain(`${run.error.step ?? run.workflow}: ${run.error.reason}`)}\n`],
    ...run.status === "succeeded" ? [`\n${JSON.stringify(run.output, null, 2)}\n`] : []
  ].join("")

/** Shows runs, and a run, that are given as the gateway's API has them. */
export const presentList = present(List, showList)
export const presentRun = present(Run, showRun)

const api = "/v1/workflows"
const lists = ask(List, showList, api)
const shows = ask(Run, showRun, api)

export interface Filter {
  readonly workflow: string | undefined
  readonly status: string | undefined
  readonly since: string | undefined
  readonly limit: string | undefined
  readonly cursor: string | undefined
}

/** The path of a list, with its query. */
export const pathOf = ({ workflow = "-", ...filter }: Filter): string => {
  const given = Object.entries(filter).flatMap(([name, value]) => value === undefined ? [] : [[name, value]])
  return `/${encodeURIComponent(workflow)}/runs?${new URLSearchParams(given)}`
}

export const list = (options: Options, filter: Filter) => lists(options, "GET", pathOf(filter))

const runOf = (id: string): string => `/-/runs/${encodeURIComponent(id)}`

export const show = (options: Options, id: string) => shows(options, "GET", runOf(id))

export const decide = (
  options: Options,
  id: string,
  step: string,
  decision: { readonly approved: boolean; readonly comment?: string | undefined }
) => shows(options, "POST", `${runOf(id)}/approvals/${encodeURIComponent(step)}`, decision)

export const cancel = (options: Options, id: string) => shows(options, "POST", `${runOf(id)}/cancel`)

export const retry = (options: Options, id: string) => shows(options, "POST", `${runOf(id)}/retry`)
