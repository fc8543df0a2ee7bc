/**
 * The last reading of every source. A config center that fails leaves its last reading in force; at the start its copy on
 * disk answers. Any other source that fails, or is empty after it was not, is a mistake that refuses the change.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Problem } from "../SettingsRefused.ts"
import type { Content, Opened, Source, SourceError } from "../Source.ts"
import * as copies from "./copies.ts"
import type { Field } from "./field.ts"
import { values } from "./field.ts"
import { type Layer, parse } from "./layer.ts"
import type { make as makeMetrics } from "./metrics.ts"

/** How a source stands. */
export interface SourceStatus {
  readonly name: string
  /** `read`: as it is now; `copy`: from the copy on disk; `down`: as it was when it was read last. */
  readonly state: "read" | "copy" | "down"
  /** When the content was read or the copy was taken, in milliseconds since the epoch. */
  readonly since: number
  /** Why the last reading failed. */
  readonly reason: string | undefined
}

interface Reading {
  readonly source: Source<unknown>
  readonly opened: Opened
  contents: ReadonlyArray<Content> | undefined
  parsed: ReturnType<typeof parse>
  stored: ReadonlyArray<Content> | undefined
  status: SourceStatus
  wrong: string | undefined
}

const note = (reading: Reading, contents: ReadonlyArray<Content>, status: Omit<SourceStatus, "name">) => {
  reading.contents = contents
  reading.parsed = parse(reading.source.name, contents)
  reading.status = { name: reading.source.name, ...status }
  reading.wrong = undefined
}

export const open = Effect.fnUntraced(function*<R>(
  sources: ReadonlyArray<Source<R>>,
  root: Field,
  folder: string | undefined,
  metrics: ReturnType<typeof makeMetrics>
) {
  const all = yield* Effect.forEach(sources, (source) =>
    Effect.map(source.open(values(root)), (opened): Reading => ({
      source,
      opened,
      contents: undefined,
      parsed: { layers: [], problems: [] },
      stored: undefined,
      status: { name: source.name, state: "down", since: 0, reason: undefined },
      wrong: undefined
    })))

  /** A failed center answers with what it held last, in memory or on disk. */
  const failed = Effect.fnUntraced(function*(reading: Reading, { reason }: SourceError, now: number) {
    const { source, status } = reading
    if (!source.remote) {
      reading.wrong = reason
      return
    }
    if (reading.contents === undefined && folder !== undefined) {
      const copy = yield* copies.load(folder, source.name)
      if (Option.isSome(copy)) {
        reading.stored = copy.value
        note(reading, copy.value, { state: "copy", since: now, reason })
        yield* Effect.logWarning("settings from the last copy, their source is down", { source: source.name, reason })
        return
      }
    }
    if (reading.contents === undefined) {
      reading.wrong = `${reason}, and there is no copy of its settings on disk`
      return
    }
    if (status.state === "read") {
      yield* Effect.logWarning("source of settings is down, its last settings stay", { source: source.name, reason })
    }
    reading.status = { ...status, state: status.state === "copy" ? "copy" : "down", reason }
  })

  const readOne = Effect.fnUntraced(function*(reading: Reading) {
    const result = yield* Effect.result(reading.opened.read)
    const now = yield* Clock.currentTimeMillis
    if (result._tag === "Failure") yield* failed(reading, result.failure, now)
    else if (result.success.length === 0 && reading.contents !== undefined && reading.contents.length > 0) {
      reading.wrong = "the settings were there and are gone"
    } else {
      if (reading.status.reason !== undefined) {
        yield* Effect.logInfo("source of settings is back", { source: reading.source.name })
      }
      note(reading, result.success, { state: "read", since: now, reason: undefined })
    }
    yield* metrics.source(reading.source.name, result._tag === "Success")
  })

  return {
    all,
    /** Marks a center as down whose notification failed. */
    lost: (reading: Reading, error: SourceError) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => failed(reading, error, now)).pipe(
        Effect.andThen(metrics.source(reading.source.name, false))
      ),
    read: (which: ReadonlyArray<Reading>) =>
      Effect.forEach(which, readOne, { concurrency: "unbounded", discard: true }),
    layers: (): ReadonlyArray<Layer> => all.flatMap(({ parsed }) => parsed.layers),
    problems: (): ReadonlyArray<Problem> =>
      all.flatMap(({ parsed, source, wrong }) => [
        ...(wrong === undefined
          ? []
          : [{ source: source.name, line: undefined, column: undefined, path: "", reason: wrong }]),
        ...parsed.problems
      ]),
    status: () => all.map(({ status }) => status),
    /** Stores copies of what was accepted. */
    keep: Effect.suspend(() =>
      Effect.forEach(all, (reading) => {
        const { contents, source, status, stored } = reading
        if (folder === undefined || !source.remote || status.state !== "read" || contents === undefined) {
          return Effect.void
        }
        if (JSON.stringify(contents) === JSON.stringify(stored)) return Effect.void
        reading.stored = contents
        return copies.store(folder, source.name, contents)
      }, { discard: true })
    )
  }
})
