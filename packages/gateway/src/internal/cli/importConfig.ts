import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as LiteLlm from "../../LiteLlm.ts"
import { StartError } from "../../StartError.ts"
import { whyNot } from "../whyNot.ts"
import { print } from "./print.ts"

/** Writes settings to standard output, and what has no counterpart to standard error. */
export const importConfig = Effect.fnUntraced(function*(path: string) {
  const files = yield* FileSystem.FileSystem
  const text = yield* files.readFileString(path).pipe(
    Effect.mapError((error) => new StartError({ detail: `${path} can not be read: ${whyNot(error)}.` }))
  )
  const imported = LiteLlm.convert(text)
  if (typeof imported === "string") return yield* new StartError({ detail: `${path}: ${imported}.` })
  yield* print(`# From ${path}. Look at it with: ballast check\n${imported.yaml}`)
  for (const note of imported.notes) process.stderr.write(`${path}: ${note}\n`)
})
