/**
 * The direction rule: an import may only point down the list of packages, every package declares what its sources import and nothing
 * else, and its build references follow.
 */
import * as Fs from "node:fs"
import { isBuiltin } from "node:module"
import * as Path from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { showHelp } from "./help.ts"
import { importsOf } from "./imports.ts"

/** The packages from the top down, with the packages of ours that the sources of each may import. */
const allowed: Record<string, ReadonlyArray<string>> = {
  gateway: [
    "operator",
    "workflow",
    "inference",
    "router",
    "simulator",
    "deepseek",
    "chat",
    "sqlite",
    "settings",
    "telemetry",
    "resilience"
  ],
  operator: ["settings", "telemetry", "resilience"],
  workflow: ["inference", "router", "chat", "sqlite", "settings", "telemetry", "resilience"],
  inference: ["chat", "settings", "telemetry", "resilience"],
  router: ["deepseek", "chat", "settings", "resilience"],
  simulator: ["chat"],
  deepseek: ["chat", "telemetry", "resilience"],
  chat: ["resilience"],
  sqlite: [],
  settings: [],
  telemetry: [],
  resilience: []
}

interface Manifest {
  readonly dependencies?: Record<string, string>
  readonly devDependencies?: Record<string, string>
  readonly peerDependencies?: Record<string, string>
  /** Peers that a program may leave out; see `build.ts`. */
  readonly optionalPeerDependencies?: Record<string, string>
}

const scope = "@ballast/"
const packageOf = (specifier: string): string =>
  specifier.split("/").slice(0, specifier.startsWith("@") ? 2 : 1).join("/")
const readJson = (path: string) => JSON.parse(Fs.readFileSync(path, "utf8"))
const isSource = (file: string): boolean => /\.[cm]?[jt]sx?$/.test(file)
const sourceFiles = (folder: string): Array<string> =>
  Fs.existsSync(folder) ? Fs.readdirSync(folder, { recursive: true, encoding: "utf8" }).filter(isSource).sort() : []

/** Whether a specifier is a path or an address of a file, not the name of a package. */
const isPath = (specifier: string): boolean => /^(?:\.|\/|file:)/.test(specifier)

const checkImport = (
  name: string,
  folder: string,
  file: string,
  specifier: string | undefined
): string | undefined => {
  if (specifier === undefined) return "imports a module whose name it computes"
  if (isPath(specifier)) {
    const target = fileURLToPath(new URL(specifier, pathToFileURL(file)))
    return target.startsWith(folder + Path.sep) ? undefined : `imports ${specifier}, a file outside its package`
  }
  if (!specifier.startsWith(scope)) return undefined
  const target = packageOf(specifier).slice(scope.length)
  if (target === name) return `imports its own package by name (${specifier}); use a relative import`
  if (allowed[name]?.includes(target) === true) return undefined
  return `imports ${specifier}; ${name} may not import ${target}`
}

const checkPackage = (root: string, name: string): Array<string> => {
  const folder = Path.join(root, "packages", name)
  if (!(name in allowed)) return [`packages/${name}: is not in the list of scripts/directions.ts`]
  const manifest: Manifest = readJson(Path.join(folder, "package.json"))
  const problems: Array<string> = []

  const readImports = (path: string): ReturnType<typeof importsOf> => {
    try {
      return importsOf(path, Fs.readFileSync(path, "utf8"))
    } catch (error) {
      problems.push(`${Path.relative(root, path)}: cannot be parsed: ${error}`)
      return []
    }
  }

  const used = new Set<string>()
  const sources = Path.join(folder, "src")
  for (const file of sourceFiles(sources)) {
    const path = Path.join(sources, file)
    for (const specifier of readImports(path)) {
      const problem = checkImport(name, sources, path, specifier)
      if (problem !== undefined) problems.push(`packages/${name}/src/${file}: ${problem}`)
      if (specifier !== undefined && !isPath(specifier) && !isBuiltin(specifier)) used.add(packageOf(specifier))
    }
  }

  const declared = new Set(
    Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies, ...manifest.optionalPeerDependencies })
  )
  for (const dependency of used) {
    if (!declared.has(dependency)) {
      problems.push(`packages/${name}: imports ${dependency}, which its package.json does not declare`)
    }
  }
  for (const dependency of Object.keys(manifest.dependencies ?? {})) {
    if (!used.has(dependency)) {
      problems.push(`packages/${name}: declares ${dependency}, which its sources do not import`)
    }
  }

  const tests = sourceFiles(Path.join(folder, "test")).flatMap((file) => readImports(Path.join(folder, "test", file)))
  const own = new Set([scope + name, ...declared, ...Object.keys(manifest.devDependencies ?? {})])
  for (
    const dependency of new Set(tests.flatMap((specifier) => specifier?.startsWith(scope) ? packageOf(specifier) : []))
  ) {
    if (!own.has(dependency)) {
      problems.push(`packages/${name}: its tests import ${dependency}, which its package.json does not declare`)
    }
  }

  const build = Path.join(folder, "tsconfig.build.json")
  const references: Array<{ path: string }> = Fs.existsSync(build) ? readJson(build).references ?? [] : []
  const referenced = references.map((reference) => reference.path.split("/")[1]).sort().join(", ")
  const expected = Object.keys(manifest.dependencies ?? {}).filter((dependency) => dependency.startsWith(scope))
    .map((dependency) => dependency.slice(scope.length)).sort().join(", ")
  if (referenced !== expected) {
    problems.push(
      `packages/${name}/tsconfig.build.json: references [${referenced}], but the package depends on [${expected}]`
    )
  }
  return problems
}

/** Every breach of the direction rule in the packages below `root`, one sentence each. */
export const check = (root: string): Array<string> =>
  Fs.readdirSync(Path.join(root, "packages"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && Fs.existsSync(Path.join(root, "packages", entry.name, "package.json")))
    .flatMap((entry) => checkPackage(root, entry.name))

if (import.meta.main) {
  showHelp(`npm run check -- directions

Says which import points up the list of packages, and which package.json or tsconfig.build.json does not fit the imports.`)
  const problems = check(Path.resolve(import.meta.dirname, ".."))
  for (const problem of problems) console.error(problem)
  process.exitCode = problems.length === 0 ? 0 : 1
}
