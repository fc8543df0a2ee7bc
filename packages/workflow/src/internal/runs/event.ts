/** Events as they are kept: what changes of a step, and the JSON for readers. */
import * as Schema from "effect/Schema"
import type { Event } from "../../Run.ts"

/** Characters of JSON: of an input or output in an event, and of the output of a step. */
export const longest = { inEvent: 16_384, output: 1_048_576 }

const isJson = Schema.is(Schema.Json)

/** JSON text; null for what is none, or is longer than it may be. */
export const textOf = (value: unknown, most = Infinity): string | null => {
  const text = isJson(value) ? JSON.stringify(value) : null
  return text === null || text.length > most ? null : text
}

/** An event without what is too long. */
export const dataOf = (at: number, type: string, fields: Readonly<Record<string, unknown>>): string => {
  const omitted = Object.keys(fields).filter((name) => (JSON.stringify(fields[name]) ?? "").length > longest.inEvent)
  const kept = Object.fromEntries(Object.entries(fields).filter(([name]) => !omitted.includes(name)))
  return JSON.stringify({ type, at, ...kept, ...omitted.length > 0 && { omitted } })
}

export const typeOf = {
  Started: "step.started",
  Succeeded: "step.succeeded",
  Failed: "step.failed",
  Skipped: "step.skipped",
  Kept: "step.kept",
  Waiting: "step.waiting"
} as const

export const ends: ReadonlySet<string> = new Set(["run.succeeded", "run.failed", "run.cancelled"])

/** A text that is kept as it is, not as JSON: Postgres takes no NUL. */
export const plain = (text: string): string => text.replaceAll("\0", "\uFFFD")

/** What an event says of its step. */
export const changeOf = (event: Event, at: number): Readonly<Record<string, string | number | null>> => {
  switch (event._tag) {
    case "Started":
      return {
        service: event.service,
        status: "running",
        attempts: event.attempt,
        ended_at: null,
        input: textOf(event.input, longest.inEvent),
        error: null
      }
    case "Succeeded":
      return { status: "succeeded", ended_at: at, output: textOf(event.output, longest.output), error: null }
    case "Failed":
      return { status: "failed", ended_at: at, error: plain(event.reason) }
    case "Skipped":
      return { status: "skipped", ended_at: at }
    case "Kept":
      return { status: "kept", ended_at: at, output: textOf(event.output, longest.output) }
    case "Waiting":
      return {
        service: event.service,
        status: "waiting",
        attempts: 1,
        input: textOf(event.input, longest.inEvent),
        question: plain(event.question),
        who: event.who === undefined ? null : JSON.stringify(event.who)
      }
  }
}

/** The type of an event that is kept. */
export const nameOf = (data: string): string => /^\{"type":"([\w.]+)"/.exec(data)?.[1] ?? ""
