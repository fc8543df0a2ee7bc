/**
 * Settings from plain values that the program has: the flags of its command line, or what a test sets.
 */
import * as Effect from "effect/Effect"
import type { Entry, Source } from "./Source.ts"

const entriesOf = (name: string, values: object, path: ReadonlyArray<string> = []): ReadonlyArray<Entry> =>
  Object.entries(values).flatMap(([key, value]) => {
    const at = [...path, key]
    if (value === undefined) return []
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? entriesOf(name, value, at)
      : [{ path: at, value, name, text: false }]
  })

/**
 * Settings from plain values, in the form of the settings file: `{ listen: { port: 8080 } }`. What is undefined is not set.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (values: object, name = "flags"): Source => ({
  name,
  remote: false,
  open: () =>
    Effect.succeed({
      read: Effect.succeed([{ _tag: "Entries" as const, entries: entriesOf(name, values) }]),
      changed: Effect.never
    })
})
