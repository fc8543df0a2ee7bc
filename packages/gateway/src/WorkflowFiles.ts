/**
 * The workflows that a gateway serves: those of the files in its settings, which it follows.
 *
 * All files are read and checked together: they are taken up as a whole or refused as a whole, with line and column of every mistake, and those
 * before stay in force. A look at their times and sizes, each second, notices a change; also of the templates and workflows that they name, and of one
 * that was not there.
 *
 * A workflow may call shared services, and other workflows by their names. It gets them into its own text, so a run keeps them as they were when it
 * began.
 *
 * @since 0.1.0
 */
import * as Document from "@ballast/settings/Document"
import * as Settings from "@ballast/settings/Settings"
import { SettingsRefused } from "@ballast/settings/SettingsRefused"
import * as Definition from "@ballast/workflow/Definition"
import * as Service from "@ballast/workflow/Service"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { dirname, join } from "node:path"
import { whyNot } from "./internal/whyNot.ts"
import type { GatewaySettings } from "./Settings.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface WorkflowFiles {
  /** The workflows in force, by name. */
  readonly all: () => ReadonlyMap<string, Definition.Definition>
  /** Writes a report into the folder of the settings, and gives its path. */
  readonly saveReport: SaveReport
}

type SaveReport = NonNullable<Service.Parts["saveReport"]>

/** Files of one folder that are read. */
const maxFiles = 1_000

const interval = "1 second"

const refused = (source: string, reason: string) =>
  new SettingsRefused({ problems: [{ source, line: undefined, column: undefined, path: "", reason }] })

const unreadable = (source: string, error: PlatformError) => refused(source, `it can not be read: ${whyNot(error)}`)

const Shared = Schema.Struct({ services: Schema.Record(Definition.identifier, Service.Settings) })

type Services = typeof Shared.Type["services"]

/** What tells that a file has changed. */
const stampOf = ({ mtime, size }: FileSystem.File.Info): string =>
  `${Option.match(mtime, { onNone: () => 0, onSome: (date) => date.getTime() })} ${size}`

/** Files that a workflow names, by their paths, with their stamps; empty for one that is not there. */
type Included = Map<string, string>

const includedStamp = (path: string) =>
  Effect.flatMap(
    FileSystem.FileSystem,
    (system) => Effect.match(system.stat(path), { onFailure: () => "", onSuccess: stampOf })
  )

const haveChanged = Effect.fnUntraced(function*(included: Included) {
  for (const [path, stamp] of included) if ((yield* includedStamp(path)) !== stamp) return true
  return false
})

/** The paths of the files, with what tells that one has changed. */
const look = Effect.fnUntraced(function*({ files, services }: GatewaySettings["workflows"]) {
  const system = yield* FileSystem.FileSystem
  const found: Array<{ readonly path: string; readonly stamp: string }> = []
  const stat = (path: string) =>
    Effect.mapError(
      system.stat(path),
      (error) => unreadable(path, error)
    )
  const add = Effect.fnUntraced(function*(path: string) {
    found.push({ path, stamp: stampOf(yield* stat(path)) })
  })
  for (const path of files) {
    if ((yield* stat(path)).type !== "Directory") {
      yield* add(path)
      continue
    }
    const names = yield* Effect.mapError(
      system.readDirectory(path),
      (error) => unreadable(path, error)
    )
    const own = names.filter((name) => /^[^.].*\.ya?ml$/.test(name)).sort()
    if (own.length > maxFiles) return yield* refused(path, `it has ${own.length} files, at most ${maxFiles}`)
    for (const name of own) yield* add(join(path, name))
  }
  if (services !== undefined) yield* add(services)
  const unique = new Map(found.map((file) => [file.path, file]))
  return { paths: [...unique.keys()].filter((path) => path !== services), stamp: JSON.stringify([...unique.values()]) }
})

const textOf = (path: string) =>
  Effect.flatMap(
    FileSystem.FileSystem,
    (system) => Effect.mapError(system.readFileString(path), (error) => unreadable(path, error))
  )

const encode = Schema.encodeEffect(Definition.File)

/**
 * The services of a file that all workflows may call; none without a file.
 *
 * @category parsing
 * @since 0.1.0
 */
export const services = Effect.fnUntraced(function*(path: string | undefined) {
  if (path === undefined) return {}
  return (yield* Document.decode(Shared, { name: path, text: yield* textOf(path) })).value.services
})

/**
 * A workflow that others may call by its name.
 *
 * @category models
 * @since 0.1.0
 */
export interface Named {
  readonly path: string
  readonly text: string
}

/** Files by the names of their workflows. One that is wrong has none: reading it says why. */
const byName = Effect.fnUntraced(function*(files: ReadonlyArray<Named>) {
  const all = new Map<string, Named>()
  for (const file of files) {
    const read = yield* Effect.option(Document.decode(Definition.File, { name: file.path, text: file.text }))
    if (Option.isSome(read)) all.set(read.value.value.workflow.name, file)
  }
  return all
})

const readable = (paths: ReadonlyArray<string>) =>
  Effect.forEach(paths, (path) => Effect.map(textOf(path), (text): Named => ({ path, text })))

/**
 * The workflows of the settings, which others may call by their names.
 *
 * @category parsing
 * @since 0.1.0
 */
export const named = Effect.fnUntraced(function*(settings: GatewaySettings["workflows"]) {
  return yield* byName(yield* readable((yield* look(settings)).paths))
})

type WorkflowsByName = Effect.Success<ReturnType<typeof named>>

/** What a definition calls a file of a workflow that is called by its name: `name:path`. */
const ofNamed = (at: string, names: WorkflowsByName): { readonly path: string; readonly text?: string } | undefined => {
  const [, name = "", path = ""] = /^([A-Za-z_]\w*):(.*)$/.exec(at) ?? []
  const found = names.get(name)
  return path === "" ? found : found && { path: join(dirname(found.path), path) }
}

/** The services that steps call, by their names. */
const calledBy = (steps: ReadonlyArray<Definition.Step>): ReadonlyArray<string> =>
  steps.flatMap(({ fallback = "", onError, parallel = [], service = "" }) => [
    service,
    fallback,
    ...calledBy(parallel),
    ...typeof onError === "object" && "steps" in onError ? calledBy(onError.steps) : []
  ])

/** A file with the shared services that it calls, also in the texts of the files that it has. */
const withShared = Effect.fnUntraced(function*(
  file: Definition.File,
  shared: Services
): Effect.fn.Return<Definition.File> {
  const { files = {}, services, workflow } = file
  const called = calledBy([...workflow.steps, ...workflow.finally ?? []])
  const used = Object.fromEntries(Object.entries(shared).filter(([name]) => called.includes(name)))
  const texts: Record<string, string> = {}
  for (const [name, text] of Object.entries(files)) {
    const nested = yield* Effect.option(Document.decode(Definition.File, { name, text }))
    // Others are templates.
    texts[name] = Option.isNone(nested) ? text : yield* textWith(nested.value.value, shared)
  }
  return { ...file, services: { ...used, ...services }, files: texts }
})

const textWith = (file: Definition.File, shared: Services): Effect.Effect<string> =>
  Effect.map(
    Effect.orDie(Effect.flatMap(withShared(file, shared), encode)),
    (encoded) => JSON.stringify(encoded)
  )

/**
 * What a workflow may call beside what its own file has.
 *
 * @category options
 * @since 0.1.0
 */
export interface Beside {
  readonly shared: Services
  /** Is asked when a workflow is called by its name. */
  readonly names: Effect.Effect<WorkflowsByName, SettingsRefused, FileSystem.FileSystem>
  /** Is filled with the other files that it reads: their paths, and stamps that differ once they change. Default: they are not noted. */
  readonly included?: Included | undefined
}

/**
 * Reads a workflow, which may call shared services, other workflows by their names, and files by their paths from its own folder. All of that gets
 * into its text, its own services before shared ones.
 *
 * @category parsing
 * @since 0.1.0
 */
export const read = Effect.fnUntraced(function*(path: string, text: string, { included, names, shared }: Beside) {
  const system = yield* FileSystem.FileSystem
  let known: WorkflowsByName = new Map()
  const texts = Effect.fnUntraced(function*(at: string) {
    const [, name] = /^([A-Za-z_]\w*):/.exec(at) ?? []
    if (name !== undefined) known = yield* Effect.mapError(names, ({ message }) => message)
    const found = ofNamed(at, known)
    if (found?.text !== undefined) return found.text
    if (name !== undefined && found === undefined) {
      return yield* Effect.fail(`no workflow is called ${name}; known: ${[...known.keys()].join(", ") || "none"}`)
    }
    const file = found?.path ?? join(dirname(path), at)
    included?.set(file, yield* includedStamp(file))
    return yield* Effect.mapError(
      system.readFileString(file),
      (error) => `it can not be read: ${whyNot(error)}`
    )
  }, Effect.provideService(FileSystem.FileSystem, system))
  const services = Object.fromEntries(
    Object.entries(shared).map(([name, settings]) => [name, { output: Service.outputOf(settings) }])
  )
  const reading = Effect.gen(function*() {
    const definition = yield* Definition.read({ name: path, text, services, texts })
    if (Object.keys(shared).length === 0) return definition
    const whole = yield* textWith(definition.file, shared)
    return yield* Definition.read({ name: path, text: whole, services: {}, texts })
  })
  return yield* Effect.mapError(reading, ({ problems: [first, ...rest] }) => {
    const place = <P extends { readonly source: string }>(problem: P): P => ({
      ...problem,
      source: ofNamed(problem.source, known)?.path ?? problem.source
    })
    return new SettingsRefused({ problems: [place(first), ...rest.map(place)] })
  })
})

const readAll = Effect.fnUntraced(function*(
  paths: ReadonlyArray<string>,
  file: string | undefined,
  included: Included
) {
  const shared: Services = yield* services(file)
  const files = yield* readable(paths)
  const names = Effect.succeed(yield* byName(files))
  // A mistake is found again by each workflow that calls the one that has it.
  const problems = new Map<string, SettingsRefused["problems"][number]>()
  const report = (refused: SettingsRefused) =>
    refused.problems.forEach((problem) => problems.set(JSON.stringify(problem), problem))
  const all = new Map<string, Definition.Definition>()
  const places = new Map<string, string>()
  for (const { path, text } of files) {
    const found = yield* Effect.result(read(path, text, { shared, names, included }))
    if (found._tag === "Failure") {
      report(found.failure)
      continue
    }
    const { name } = found.success
    const other = places.get(name)
    if (other !== undefined) report(refused(path, `the workflow ${name} is in ${other} already`))
    places.set(name, path)
    all.set(name, found.success)
  }
  yield* Document.refused([...problems.values()])
  return all
})

/**
 * Writes reports into a folder, which is made. One of the same name is replaced.
 *
 * @category constructors
 * @since 0.1.0
 */
export const saveIn = (system: FileSystem.FileSystem, folder: string): SaveReport => (name, html) => {
  const path = join(folder, name)
  return system.makeDirectory(folder, { recursive: true }).pipe(
    Effect.andThen(system.writeFileString(path, html)),
    Effect.as(path),
    Effect.mapError((error) =>
      new Service.ServiceError({ detail: `${path} can not be written: ${whyNot(error)}`, retryable: false })
    )
  )
}

/**
 * Reads the files and follows them as long as the scope lives. Fails when they are wrong now.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  settings: Settings.Setting<GatewaySettings>
): Effect.fn.Return<WorkflowFiles, SettingsRefused, FileSystem.FileSystem | Scope.Scope> {
  const system = yield* FileSystem.FileSystem
  let { workflows } = yield* settings.current
  let stamp: string | undefined
  let included: Included = new Map()
  let all: ReadonlyMap<string, Definition.Definition> = new Map()
  const readAgain = Effect.gen(function*() {
    const seen = yield* look(workflows)
    const now = JSON.stringify([workflows.services, seen.stamp])
    if (now === stamp && !(yield* haveChanged(included))) return false
    // What is wrong is said once.
    stamp = now
    included = new Map()
    all = yield* readAll(seen.paths, workflows.services, included)
    return true
  })
  yield* readAgain
  let problem: string | undefined
  const follow = Effect.matchEffect(readAgain, {
    onSuccess: (isNew) => {
      if (!isNew) return Effect.void
      problem = undefined
      return Effect.logInfo("workflows changed", { workflows: [...all.keys()] })
    },
    onFailure: ({ message }) => {
      if (message === problem) return Effect.void
      problem = message
      return Effect.logWarning("workflows refused; those before stay in force", { problems: message.split("\n") })
    }
  })
  yield* Settings.follow(settings, (next) => Effect.sync(() => workflows = next.workflows))
  yield* Effect.forkScoped(Effect.repeat(Effect.delay(follow, interval), Schedule.forever))
  return { all: () => all, saveReport: (name, html) => saveIn(system, workflows.reports)(name, html) }
})
