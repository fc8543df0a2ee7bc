import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Formatter from "effect/Formatter"
import type * as Logger from "effect/Logger"
import type * as LogLevel from "effect/LogLevel"
import * as References from "effect/References"
import { Carried, traceIdOf } from "../Propagation.ts"

/** Whether entries of a level are written. What exports the log follows it, too. Default all that the program's own level lets through. */
export const IsWritten: Context.Reference<(level: LogLevel.LogLevel) => boolean> = Context.Reference(
  "@ballast/telemetry/internal/entry/IsWritten",
  { defaultValue: () => (_: LogLevel.LogLevel): boolean => true }
)

/** Gives `field` the fields of a log entry, of its message and of annotations, and returns its text. */
export const read = (options: Logger.Options<unknown>, field: (name: string, value: unknown) => void): string => {
  const messages: ReadonlyArray<unknown> = Array.isArray(options.message) ? options.message : [options.message]
  const add = (record: Readonly<Record<string, unknown>>) => {
    for (const name in record) {
      const value = record[name]
      if (value !== undefined) field(name, value)
    }
  }
  let text: string | undefined
  for (const message of messages) {
    if (isRecord(message)) {
      add(message)
    } else {
      const next = typeof message === "string" ? message : Formatter.format(message)
      text = text === undefined ? next : `${text} ${next}`
    }
  }
  add(options.fiber.getRef(References.CurrentLogAnnotations))
  return text ?? ""
}

/** The cause of an entry as a text, where it has one. */
export const causeOf = ({ cause }: Logger.Options<unknown>): string | undefined =>
  cause.reasons.length > 0 ? Cause.pretty(cause) : undefined

interface Ids {
  readonly trace: string | undefined
  readonly span?: string
  readonly spanTrace?: string | undefined
}

/** The ids of a line. `trace` is the one that the caller searches for; `spanTrace` is there where the span has another. */
export const idsOf = ({ fiber }: Logger.Options<unknown>): Ids => {
  const { span } = fiber.cache
  const carried = fiber.getRef(Carried)
  if (span === undefined) return { trace: carried?.traceId }
  const spanTrace = carried?.traceId === undefined ? undefined : span.traceId
  return { trace: traceIdOf(carried, span), span: span.spanId, spanTrace }
}

/** Whether a value is an object of fields, not an instance of something. */
export const isRecord = (u: unknown): u is Record<string, unknown> =>
  typeof u === "object" && u !== null && Object.getPrototypeOf(u) === Object.prototype
