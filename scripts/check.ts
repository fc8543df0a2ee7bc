/**
 * Runs every check of the repository, one after the other, and fails if one of them fails. `npm run check -- lint format` runs only the
 * named ones.
 */
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { packages } from "./build.ts"
import { showHelp } from "./help.ts"

type Command = readonly [program: string, ...args: ReadonlyArray<string>]

const root = Path.resolve(import.meta.dirname, "..")
process.env.PATH = [Path.join(root, "node_modules/.bin"), process.env.PATH].join(Path.delimiter)

const run = ([program, ...args]: Command) =>
  spawnSync(program, args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], maxBuffer: 2 ** 26 })

/** The compiler that prints Effect's own diagnostics too. */
const effectTsc = (): string => run(["effect-tsgo", "get-exe-path"]).stdout.trim()

/** The names under which the modules of a built package are imported. */
const entryPoints = (dist: string): Array<string> => {
  const modules = Fs.globSync("lib/*.d.ts", { cwd: dist }).map((file) => Path.basename(file, ".d.ts"))
  return [".", ...modules.filter((module) => module !== "index").sort()]
}

const entryPointCommands = (folder: string): ReadonlyArray<Command> => {
  const dist = Path.join(folder, "dist")
  return [
    ["publint", "--strict", dist],
    ["attw", "--pack", dist, "--profile", "esm-only", "--format", "ascii", "--entrypoints", ...entryPoints(dist)]
  ]
}

function* entryPointChecks(): Iterable<Command> {
  yield ["node", "scripts/build.ts"]
  for (const folder of packages) yield* entryPointCommands(folder)
}

const checks: Record<string, () => Iterable<Command>> = {
  lockfile: () => [["node", "scripts/lockfile.ts"]],
  types: () => [[effectTsc(), "-p", "tsconfig.json"]],
  lint: () => [["oxlint", "--deny-warnings"]],
  format: () => [["dprint", "check"]],
  directions: () => [["node", "scripts/directions.ts"]],
  unused: () => [["knip"]],
  "entry-points": entryPointChecks
}

/** Runs one check and prints what its programs said only if one of them failed. */
const passes = (name: string, commands: Iterable<Command>): boolean => {
  const start = performance.now()
  for (const command of commands) {
    const { error, status, stderr, stdout } = run(command)
    if (status === 0) continue
    console.log(`✗ ${name}: ${command.slice(0, 3).join(" ")}\n${error?.message ?? ""}${stdout}${stderr}`)
    return false
  }
  console.log(`✓ ${name} (${((performance.now() - start) / 1000).toFixed(1)} s)`)
  return true
}

showHelp(`npm run check [-- NAME ...]

Runs the checks, or only the named ones: ${Object.keys(checks).join(", ")}.`)

const chosen = process.argv.slice(2)
for (const name of chosen) {
  if (!(name in checks)) throw new RangeError(`check: there is no "${name}", only ${Object.keys(checks).join(", ")}`)
}

const failed = Object.keys(checks)
  .filter((name) => chosen.length === 0 || chosen.includes(name))
  .filter((name) => !passes(name, checks[name]?.() ?? []))

console.log(failed.length === 0 ? "\nAll checks pass." : `\nFailed: ${failed.join(", ")}`)
process.exitCode = failed.length === 0 ? 0 : 1
