/**
 * A folder of models: `<name>/<version>/model.onnx`, with `model.yaml` beside the file or, for all versions that have none of their own, in the
 * model's folder.
 *
 * ```text
 * models/
 *   traffic/
 *     model.yaml
 *     1/model.onnx
 *     2/model.onnx
 *     2/model.yaml
 * ```
 *
 * Names that begin with a dot are skipped, so a mount of Kubernetes whose links are swapped is read as it should be.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import { join } from "node:path"
import * as modelFiles from "./internal/files.ts"
import { type ModelSettings, read } from "./ModelSettings.ts"

/**
 * A version as its files describe it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Version {
  readonly name: string
  readonly version: string
  readonly folder: string
  readonly settings: ModelSettings
  /** What is wrong with its files, if something is. Then the settings are the defaults. */
  readonly problem: string | undefined
  /** Bytes of all its files but `model.yaml`. */
  readonly bytes: number
  /** Changes when a file changes. */
  readonly signature: string
}

const nameOk = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/

/**
 * Whether a text can be the name of a model or a version.
 *
 * @category guards
 * @since 0.1.0
 */
export const isName = (text: string): boolean => nameOk.test(text)

const defaults = Effect.orDie(read({ name: "model.yaml", text: "{}" }))

/** The text of a `model.yaml` is bounded by the parser; a longer one is not read. */
const maxText = 2 ** 20

const entries = Effect.fnUntraced(function*(folder: string) {
  const files = yield* FileSystem.FileSystem
  return (yield* files.readDirectory(folder)).filter(isName).sort()
})

/** None, if it is no folder. Another failure must not look like a folder whose models were removed. */
const versionsIn = (folder: string) =>
  Effect.flatMap(
    stat(folder),
    (found) => Option.getOrUndefined(found)?.type === "Directory" ? entries(folder) : Effect.succeed([])
  )

const stat = Effect.fnUntraced(function*(path: string) {
  const files = yield* FileSystem.FileSystem
  return yield* Effect.option(files.stat(path))
})

/** `model.yaml` in a folder, if there is one that can be read. */
const textIn = Effect.fnUntraced(function*(folder: string) {
  const files = yield* FileSystem.FileSystem
  const path = join(folder, "model.yaml")
  const found = Option.getOrUndefined(yield* stat(path))
  if (found === undefined || found.type !== "File") return undefined
  if (found.size > maxText) return { problem: `model.yaml is longer than ${maxText} bytes` }
  const bytes = Option.getOrUndefined(yield* Effect.option(files.readFile(path)))
  return bytes === undefined
    ? { problem: "model.yaml can't be read" }
    : { text: new TextDecoder().decode(bytes), hash: modelFiles.hashOfBytes(bytes) }
})

const settingsOf = Effect.fnUntraced(
  function*(name: string, version: string, folder: string, parent: string | undefined) {
    const own = yield* textIn(folder)
    const found = own ?? (parent === undefined ? undefined : yield* textIn(parent))
    const file = own === undefined ? `${name}/model.yaml` : `${name}/${version}/model.yaml`
    const hash = own?.hash
    if (found === undefined) return { settings: yield* defaults, text: "", hash, problem: undefined }
    if (found.text === undefined) return { settings: yield* defaults, text: "", hash, problem: found.problem }
    const settings = yield* Effect.result(read({ name: file, text: found.text }))
    return settings._tag === "Success"
      ? { settings: settings.success, text: found.text, hash, problem: undefined }
      : { settings: yield* defaults, text: found.text, hash, problem: settings.failure.message }
  }
)

/** What is wrong with the hash of a version's own `model.yaml`. Its other files are checked where they are loaded. */
const unlike = (hash: string | undefined, sha256: modelFiles.Hashes | undefined): string | undefined => {
  if (hash === undefined || sha256 === undefined) return undefined
  const expected = sha256["model.yaml"]
  if (expected === undefined) return modelFiles.unnamed("model.yaml")
  return hash === expected ? undefined : modelFiles.mismatch("model.yaml", hash, expected)
}

/**
 * Reads the folder of one version. `parent` is the folder of its model, if that may hold a `model.yaml`; `sha256` holds the hashes that all its
 * files must have, `model.yaml` among them, in place of those that stand there.
 *
 * @category constructors
 * @since 0.1.0
 */
export const version = Effect.fnUntraced(function*(options: {
  readonly name: string
  readonly version: string
  readonly folder: string
  readonly parent?: string | undefined
  readonly sha256?: modelFiles.Hashes | undefined
}) {
  const { folder, name, parent, sha256, version } = options
  const { hash, problem = unlike(hash, sha256), settings, text } = yield* settingsOf(name, version, folder, parent)
  const stamps: Array<string> = []
  const present = new Set<string>()
  let bytes = 0
  for (const file of yield* Effect.orElseSucceed(entries(folder), () => [])) {
    const found = Option.getOrUndefined(yield* stat(join(folder, file)))
    if (found?.type !== "File" || file === "model.yaml") continue
    present.add(file)
    bytes += Number(found.size)
    stamps.push(
      [file, found.size, Option.getOrUndefined(found.mtime)?.getTime(), Option.getOrUndefined(found.ino)].join()
    )
  }
  const missing = modelFiles.of(settings.task).find((file) => !present.has(file))
  return {
    name,
    version,
    folder,
    settings: sha256 === undefined ? settings : { ...settings, sha256 },
    problem: problem ?? (missing === undefined ? undefined : `it has no file ${missing}`),
    bytes,
    signature: JSON.stringify([folder, text, problem, stamps, sha256])
  } satisfies Version
})

/**
 * Reads the folder of a repository. Fails if it, or the folder of a model, can't be read; a version whose files are wrong has a `problem`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const scan = Effect.fnUntraced(function*(folder: string) {
  const found: Array<Version> = []
  for (const name of yield* entries(folder)) {
    const parent = join(folder, name)
    for (const number of yield* versionsIn(parent)) {
      const own = join(parent, number)
      const { type } = Option.getOrElse(yield* stat(own), () => ({ type: "Unknown" }))
      if (type === "Directory") found.push(yield* version({ name, version: number, folder: own, parent }))
    }
  }
  return found
})

/**
 * Orders versions from the oldest: by their numbers, as in 1, 2, 10 and 1.9, 1.10.
 *
 * @category accessors
 * @since 0.1.0
 */
export const compare = (self: string, that: string): number => collator.compare(self, that)

const collator = new Intl.Collator("en", { numeric: true })
