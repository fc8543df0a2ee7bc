/** Reads a workflow with the files that its services name. */
import * as Document from "@ballast/settings/Document"
import type { Problem, SettingsRefused } from "@ballast/settings/SettingsRefused"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { posix } from "node:path"
import * as Services from "../services/settings.ts"
import { mistakes } from "./check.ts"
import { File } from "./language.ts"
import type { Definition, Options } from "./model.ts"
import { makeIds, plan } from "./plan.ts"

/** Workflows within each other. */
const maxDepth = 8

interface Reading extends Options {
  /** The name of the first one. */
  readonly first: string
  /** What it is called from the folder of the first one. */
  readonly at: string
  /** The workflows that it is within. */
  readonly above: ReadonlyArray<string>
  /** The `files` of the first one. */
  readonly files: Readonly<Record<string, string>>
  /** Texts that were read for all of them. */
  readonly found: Map<string, string>
}

const isFile = (name: string): boolean => /\.[A-Za-z]+$/.test(name)

/** A workflow that is called by its name; what it names itself begins with the same. */
const byName = /^[A-Za-z_]\w*:/

/** What a name in a file means: a path from the folder of the first one, or of a workflow that is called by its name. */
const resolved = (at: string, name: string): string => {
  if (!isFile(name)) return `${name}:`
  const [folder = ""] = byName.exec(at) ?? []
  return folder + posix.join(posix.dirname(at.slice(folder.length)), name)
}

export const readOne = Effect.fnUntraced(function*(given: Reading): Effect.fn.Return<Definition, SettingsRefused> {
  const { problem, value: file } = yield* Document.decode(File, given)
  const reading = given.above.length === 0 ? { ...given, files: file.files ?? {} } : given
  const idOf = makeIds()
  const found: Array<Problem> = []
  const workflows: Record<string, Definition> = {}
  const templates: Record<string, string> = {}
  for (const [service, settings] of Object.entries(file.services ?? {})) {
    const reference = Services.reference(settings)
    if (reference === undefined) continue
    const path = ["services", service, ...reference.path]
    const text = yield* Effect.result(textOf(reading, file.files, reference.name))
    if (Result.isFailure(text)) found.push(problem(path, text.failure))
    else if (settings.type === "report") {
      templates[service] = text.success.text
      const wrong = Services.mistakes({ type: "report", template: text.success.text })
      for (const { reason } of wrong) found.push(problem(path, reason))
    } else {
      const nested = yield* Effect.result(readNested(reading, text.success))
      if (Result.isSuccess(nested)) workflows[service] = nested.success
      else found.push(...typeof nested.failure === "string" ? [problem(path, nested.failure)] : nested.failure.problems)
    }
  }
  const definition: Definition = {
    name: file.workflow.name,
    text: reading.text,
    file,
    steps: plan(file.workflow.steps, ["workflow", "steps"], idOf, undefined),
    finally: plan(file.workflow.finally ?? [], ["workflow", "finally"], idOf, undefined),
    workflows,
    templates
  }
  const own = Object.fromEntries(
    Object.entries(file.services ?? {}).map(([name, settings]) => [name, { output: Services.outputOf(settings) }])
  )
  yield* Document.refused([...mistakes(definition, { ...reading.services, ...own }, problem), ...found])
  return definition
})

/** A file that a service names. */
interface Found {
  /** What it is called from the folder of the first one. */
  readonly at: string
  readonly text: string
}

const textOf = Effect.fnUntraced(function*(
  { at, files, found, texts }: Reading,
  own: Readonly<Record<string, string>> = {},
  name: string
): Effect.fn.Return<Found, string> {
  const from = resolved(at, name)
  const inFile = own[name] ?? (isFile(name) ? undefined : files[name])
  if (inFile !== undefined) return { at: isFile(name) ? from : name, text: inFile }
  const known = files[from] ?? found.get(from)
  if (known !== undefined) return { at: from, text: known }
  if (texts === undefined) return yield* Effect.fail(`there is no ${name} in files, and this program reads no others`)
  const text = yield* texts(from)
  found.set(from, text)
  return { at: from, text }
})

const readNested = (
  reading: Reading,
  { at, text }: Found
): Effect.Effect<Definition, SettingsRefused | string> => {
  const above = [...reading.above, at]
  const way = above.map((at) => at.replace(/:$/, "")).join(" → ")
  if (reading.above.includes(at)) return Effect.fail(`workflows run each other: ${way}`)
  if (above.length > maxDepth) return Effect.fail(`workflows are within each other more than ${maxDepth} times`)
  const name = byName.test(at) ? at : posix.join(posix.dirname(reading.first), at)
  return readOne({ ...reading, name, text, at, above })
}
