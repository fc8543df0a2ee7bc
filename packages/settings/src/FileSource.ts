/**
 * Settings from a YAML or JSON file. A change is noticed however the file is replaced: written in place, by rename, by the swap
 * of a symlink above it, as Kubernetes does with mounted ConfigMaps. A file that is gone, unreadable or empty after it had a text is
 * refused, so the settings in force stay.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { dirname } from "node:path"
import * as duration from "./internal/duration.ts"
import { describe, differs, read } from "./internal/file.ts"
import { type Source, SourceError } from "./Source.ts"

/**
 * Options of a file.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Whether the file may be absent at the start, as a profile's file may. Default: false. */
  readonly optional?: boolean | undefined
  /** The longest time until a change is noticed where the system's watch does not tell, above zero. Default: 1 second. */
  readonly interval?: Duration.Input | undefined
}

/** A writer that was cut off, or a full disk, leaves an empty file; a person who wants no settings can say so. */
const emptied = "has become empty; write {} for no settings"

/**
 * Settings from a YAML or JSON file of at most 1 MiB. Throws a `RangeError` when `interval` is out of its bounds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (path: string, options: Options = {}): Source<FileSystem.FileSystem> => {
  const interval = duration.interval("FileSource.make", options.interval ?? "1 second")
  const open = Effect.fnUntraced(function*() {
    const files = yield* FileSystem.FileSystem
    const look = Effect.provideService(read(path), FileSystem.FileSystem, files)
    const refuse = (what: string) => Effect.fail(new SourceError({ source: path, reason: `the file ${what}` }))
    let last: string | undefined
    let hadText = false
    const changed = yield* differs({
      folder: dirname(path),
      interval,
      look: Effect.map(look, (state) => JSON.stringify(state)),
      last: () => last
    })
    return {
      changed,
      read: Effect.flatMap(look, (state) => {
        last = JSON.stringify(state)
        if (state._tag === "Text") {
          if (state.text === "" && hadText) return refuse(emptied)
          hadText = state.text !== ""
          return Effect.succeed([{ _tag: "Document" as const, name: path, text: state.text, folder: dirname(path) }])
        }
        return state._tag === "Missing" && options.optional === true ? Effect.succeed([]) : refuse(describe(state))
      })
    }
  })
  return { name: path, remote: false, open }
}

/**
 * The file of a profile over its base: `ballast.yaml` and `prod` give `ballast.prod.yaml`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const profile = (path: string, name: string, options: Options = {}): Source<FileSystem.FileSystem> =>
  make(path.replace(/(\.[^./\\]+)?$/, (extension) => `.${name}${extension}`), { optional: true, ...options })
