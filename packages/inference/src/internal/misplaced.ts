/** What lies in a folder of models where none is looked for. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { join } from "node:path"
import * as Repository from "../Repository.ts"

const isModel = (file: string): boolean => /\.onnx$/i.test(file)

const typeOf = Effect.fnUntraced(function*(path: string) {
  const files = yield* FileSystem.FileSystem
  return yield* Effect.orElseSucceed(Effect.map(files.stat(path), ({ type }) => type), () => "Unknown")
})

const problemOf = Effect.fnUntraced(function*(folder: string, name: string) {
  const place = join(folder, name)
  if ((yield* typeOf(place)) !== "Directory") {
    return isModel(name) ? `${name} is skipped: a model is a file <name>/<version>/model.onnx` : undefined
  }
  if (!Repository.isName(name)) {
    return `the folder ${
      JSON.stringify(name)
    } is skipped: the name of a model has up to 128 letters, digits, dots, dashes and underscores, and begins with a letter or a digit`
  }
  const files = yield* FileSystem.FileSystem
  const within = yield* Effect.orElseSucceed(files.readDirectory(place), () => [])
  const types = yield* Effect.forEach(within, (one) => typeOf(join(place, one)))
  return !types.includes("Directory") && within.some(isModel)
    ? `${name} is skipped: it has no version; its files belong into a folder such as ${name}/1`
    : undefined
})

/** What is wrong, in the words of the log. */
export const misplaced = Effect.fnUntraced(function*(folder: string) {
  const files = yield* FileSystem.FileSystem
  const names = yield* Effect.orElseSucceed(files.readDirectory(folder), () => [])
  const visible = names.filter((name) => !name.startsWith(".")).sort()
  const problems = yield* Effect.forEach(visible, (name) => problemOf(folder, name))
  return problems.filter((problem) => problem !== undefined)
})
