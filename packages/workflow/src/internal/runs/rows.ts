/** Rows of runs and steps, and what they say. */
import * as Schema from "effect/Schema"
import * as Usage from "../../Usage.ts"
import { Status, type Step, type Summary } from "./model.ts"

export type Stamp = number | bigint | string

export interface SummaryRow {
  readonly id: string
  readonly workflow: string
  readonly client: string
  readonly status: string
  readonly waiting: Stamp
  readonly created_at: Stamp
  readonly ended_at: Stamp | null
  readonly failed_step: string | null
  readonly error: string | null
  readonly usage: string
  readonly retry_of: string | null
}

export interface StepRow {
  readonly step: string
  readonly service: string
  readonly status: Step["status"]
  readonly attempts: Stamp
  readonly started_at: Stamp
  readonly ended_at: Stamp | null
  readonly input: string | null
  readonly output: string | null
  readonly error: string | null
  readonly question: string | null
  readonly who: string | null
  readonly usage: string
}

export const summaryColumns =
  "id, workflow, client, status, waiting, created_at, ended_at, failed_step, error, usage, retry_of" as const

export const readUsage = Schema.decodeUnknownSync(Schema.fromJsonString(Usage.Usage))
export const readJson = Schema.decodeUnknownSync(Schema.fromJsonString(Schema.Json))
const readNames = Schema.decodeUnknownSync(Schema.fromJsonString(Schema.Array(Schema.String)))
const readStatus = Schema.decodeUnknownSync(Status)

export const orNone = <A, B>(value: A | null, read: (value: A) => B): B | undefined =>
  value === null ? undefined : read(value)

export const summaryOf = (row: SummaryRow): Summary => ({
  id: row.id,
  workflow: row.workflow,
  client: row.client,
  status: row.status === "running" && Number(row.waiting) > 0 ? "waiting" : readStatus(row.status),
  createdAt: Number(row.created_at),
  endedAt: orNone(row.ended_at, Number),
  error: orNone(row.error, (reason) => ({ step: row.failed_step ?? undefined, reason })),
  usage: readUsage(row.usage),
  retryOf: row.retry_of ?? undefined
})

export const stepOf = (row: StepRow): Step => ({
  step: row.step,
  service: row.service,
  status: row.status,
  attempts: Number(row.attempts),
  startedAt: Number(row.started_at),
  endedAt: orNone(row.ended_at, Number),
  input: orNone(row.input, readJson),
  output: orNone(row.output, readJson),
  error: row.error ?? undefined,
  question: row.question ?? undefined,
  who: orNone(row.who, readNames),
  usage: readUsage(row.usage)
})
