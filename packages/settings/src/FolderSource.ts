/**
 * Settings from a folder with one file for each value, as Kubernetes mounts a ConfigMap or a Secret: the file `retry.times` holds
 * the value of `times` in the section `retry`. A file whose name ends in `.yaml`, `.yml` or `.json` holds a whole tree. Files merge
 * in the order of their names. Names that begin with a dot are skipped, the `..data` symlink of Kubernetes among them, whose swap
 * changes all files at once.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { join } from "node:path"
import * as duration from "./internal/duration.ts"
import { describe, differs, read, type State } from "./internal/file.ts"
import { type Content, type Source, SourceError } from "./Source.ts"

const toContent = (folder: string, name: string, state: State): Content | SourceError => {
  const path = join(folder, name)
  if (state._tag !== "Text") return new SourceError({ source: path, reason: `the file ${describe(state)}` })
  if (/\.(ya?ml|json)$/.test(name)) return { _tag: "Document", name: path, text: state.text, folder }
  const value = state.text.replace(/\r?\n$/, "")
  return { _tag: "Entries", entries: [{ path: name.split("."), value, name: path, text: true }] }
}

/**
 * Settings from the files of a folder; `interval` is the longest time until a change is noticed, above zero, 1 second by default.
 * Throws a `RangeError` when it is not.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  folder: string,
  options: { readonly interval?: Duration.Input | undefined } = {}
): Source<FileSystem.FileSystem> => {
  const interval = duration.interval("FolderSource.make", options.interval ?? "1 second")
  const open = Effect.fnUntraced(function*() {
    const files = yield* FileSystem.FileSystem
    const list = files.readDirectory(folder).pipe(
      Effect.mapError(({ reason }) =>
        new SourceError({ source: folder, reason: `the folder cannot be read (${reason._tag})` })
      )
    )
    /** Kubernetes swaps the symlink while the files are read, so all are read again until two readings agree. */
    const once = Effect.flatMap(
      list,
      (names) =>
        Effect.forEach(
          names.filter((name) => !name.startsWith(".")).sort(),
          (name) => Effect.map(read(join(folder, name)), (state) => ({ name, state }))
        )
    )
    const all = Effect.gen(function*() {
      let before = JSON.stringify(yield* once)
      for (let tries = 0; tries < 10; tries++) {
        const now = yield* once
        if (JSON.stringify(now) === before) return now
        before = JSON.stringify(now)
      }
      return yield* new SourceError({ source: folder, reason: "the files change faster than they can be read" })
    }).pipe(Effect.provideService(FileSystem.FileSystem, files))
    let last: string | undefined
    const text = (u: unknown) => JSON.stringify(u)
    const changed = yield* differs({
      folder,
      interval,
      look: Effect.match(all, { onFailure: ({ reason }) => reason, onSuccess: text }),
      last: () => last
    })
    return {
      changed,
      read: all.pipe(
        Effect.tapError(({ reason }) => Effect.sync(() => last = reason)),
        Effect.tap((found) => Effect.sync(() => last = text(found))),
        Effect.flatMap(Effect.forEach(({ name, state }) => {
          const content = toContent(folder, name, state)
          return content instanceof SourceError ? Effect.fail(content) : Effect.succeed(content)
        }))
      )
    }
  })
  return { name: folder, remote: false, open }
}
