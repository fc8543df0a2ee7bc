/**
 * The last accepted content of each config center, on disk, for a start while the center is down. Only the owner may read the
 * files, since settings may hold secrets.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Hash from "effect/Hash"
import * as Schema from "effect/Schema"
import { join } from "node:path"
import type { Content } from "../Source.ts"

const Stored = Schema.Array(Schema.Union([
  Schema.TaggedStruct("Document", { name: Schema.String, text: Schema.String }),
  Schema.TaggedStruct("Entries", {
    entries: Schema.Array(Schema.Struct({
      path: Schema.Array(Schema.String),
      value: Schema.Unknown,
      name: Schema.String,
      text: Schema.Boolean
    }))
  })
]))
const FromText = Schema.fromJsonString(Stored)

const fileOf = (folder: string, source: string) =>
  join(
    folder,
    `${source.replaceAll(/[^A-Za-z0-9.]+/g, "-").slice(0, 80)}-${(Hash.string(source) >>> 0).toString(16)}.json`
  )

/** Stores what a source holds. It appears whole or not at all. A failure is logged and changes nothing else. */
export const store = (folder: string, source: string, contents: ReadonlyArray<Content>) =>
  Effect.gen(function*() {
    const files = yield* FileSystem.FileSystem
    const path = fileOf(folder, source)
    yield* files.makeDirectory(folder, { recursive: true, mode: 0o700 })
    yield* files.writeFileString(`${path}.new`, JSON.stringify(contents), { mode: 0o600 })
    yield* files.rename(`${path}.new`, path)
  }).pipe(
    Effect.catch(({ message }) => Effect.logWarning("settings copy not stored", { source, folder, reason: message }))
  )

/** The copy of what a source held, if there is one that can be read. */
export const load = (folder: string, source: string) =>
  Effect.gen(function*() {
    const files = yield* FileSystem.FileSystem
    const text = yield* files.readFileString(fileOf(folder, source))
    return yield* Schema.decodeUnknownEffect(FromText)(text)
  }).pipe(Effect.option)
