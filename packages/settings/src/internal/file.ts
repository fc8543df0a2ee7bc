/**
 * Reads files and notices that they changed. Contents are compared, not times or inodes: so a replacement by rename, a swapped
 * symlink, a clock that was set back and a rewrite within one tick of the clock are all noticed. The watch of the operating
 * system only shortens the wait for the next look.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"

/** Settings are small; a text of this many bytes is a mistake. */
export const maximumSize = 1_048_576

/** A content that stayed the same for this long is taken as written to its end. */
const settle = Duration.millis(100)

/** A pipe has its text once, and would be empty at the next look. */
const once = "a pipe or a device can't be read again, as settings are that may change"

/** What a look at a file finds. */
export type State =
  | { readonly _tag: "Text"; readonly text: string }
  | { readonly _tag: "Missing" }
  | { readonly _tag: "Unreadable"; readonly reason: string }

/** Looks at a file. */
export const read = Effect.fnUntraced(
  function*(path: string) {
    const files = yield* FileSystem.FileSystem
    const { size, type } = yield* files.stat(path)
    if (type === "Directory") return { _tag: "Unreadable", reason: "is a folder" } as State
    if (type !== "File") return { _tag: "Unreadable", reason: `is no regular file: ${once}` } as State
    if (size > maximumSize) return { _tag: "Unreadable", reason: `is longer than ${maximumSize} bytes` } as State
    return { _tag: "Text", text: yield* files.readFileString(path) } as State
  },
  Effect.catch(({ reason }) =>
    Effect.succeed<State>(
      reason._tag === "NotFound"
        ? { _tag: "Missing" }
        : {
          _tag: "Unreadable",
          reason: reason._tag === "PermissionDenied"
            ? "may not be read by this process"
            : `cannot be read (${reason._tag})`
        }
    )
  )
)

/** The words for a file without text. */
export const describe = (state: Exclude<State, { _tag: "Text" }>): string =>
  state._tag === "Missing" ? "does not exist" : state.reason

/** Signals that something may have happened in a folder, until the scope closes. */
const hints = Effect.fnUntraced(function*(folder: string) {
  const files = yield* FileSystem.FileSystem
  const queue = yield* Queue.sliding<void>(1)
  yield* files.watch(folder).pipe(
    Stream.runForEach(() => Queue.offer(queue, undefined)),
    // Where the system can't watch, the looks at intervals go on.
    Effect.ignore,
    Effect.forkScoped
  )
  return Queue.take(queue)
})

/**
 * An effect that ends when a look differs from the last one that was noted, and has stayed so for a moment. `folder` is watched, if given;
 * looks come at least every `interval`.
 */
export const differs = Effect.fnUntraced(function*<R>(options: {
  readonly folder?: string | undefined
  readonly interval: Duration.Input
  readonly look: Effect.Effect<string, never, R>
  readonly last: () => string | undefined
}) {
  const hint = options.folder === undefined ? Effect.never : yield* hints(options.folder)
  return Effect.gen(function*() {
    let seen = yield* options.look
    while (true) {
      if (seen !== options.last()) {
        yield* Effect.sleep(settle)
        const again = yield* options.look
        if (again === seen && again !== options.last()) return
        seen = again
      } else {
        yield* Effect.race(Effect.sleep(options.interval), hint)
        seen = yield* options.look
      }
    }
  })
})
