import * as Cause from "effect/Cause"
import * as Formatter from "effect/Formatter"
import type * as Logger from "effect/Logger"
import * as References from "effect/References"
import { Carried, traceIdOf } from "../Propagation.ts"

/** The parts of a log entry: its text, and the fields that were given with it or by annotations. */
export const read = (options: Logger.Options<unknown>) => {
  const messages = Array.isArray(options.message) ? options.message : [options.message]
  const texts: Array<string> = []
  const fields: Array<readonly [string, unknown]> = []
  const add = (record: Readonly<Record<string, unknown>>) => {
    for (const field of Object.entries(record)) if (field[1] !== undefined) fields.push(field)
  }
  for (const message of messages) {
    if (typeof message === "string") texts.push(message)
    else if (isRecord(message)) add(message)
    else texts.push(Formatter.format(message))
  }
  add(options.fiber.getRef(References.CurrentLogAnnotations))
  const cause = options.cause.reasons.length > 0 ? Cause.pretty(options.cause) : undefined
  return { message: texts.join(" "), fields, trace: traceOf(options.fiber), cause }
}

/** The ids of a line. `trace_id` is the one that the caller searches for; `span_trace_id` is there where the span has another. */
const traceOf = (fiber: Logger.Options<unknown>["fiber"]) => {
  const span = fiber.cache.span
  const carried = fiber.getRef(Carried)
  if (span === undefined) return carried?.traceId === undefined ? [] : [["trace_id", carried.traceId] as const]
  const id = traceIdOf(carried, span)
  const ids = [["trace_id", id] as const, ["span_id", span.spanId] as const]
  return carried?.traceId === undefined ? ids : [...ids, ["span_trace_id", span.traceId] as const]
}

/** Whether a value is an object of fields, not an instance of something. */
export const isRecord = (u: unknown): u is Record<string, unknown> =>
  typeof u === "object" && u !== null && Object.getPrototypeOf(u) === Object.prototype
