import * as Fs from "node:fs"
import { findPackageJSON } from "node:module"
import * as Os from "node:os"
import type { Bench, Target } from "./benches.ts"
import { ratio, type Result } from "./measure.ts"

/** Where and with what a run was made. */
export interface Circumstances {
  readonly processor: string
  readonly cores: number
  readonly memory: string
  readonly system: string
  readonly versions: Record<string, string>
}

/** What came out of one bench. */
export interface Outcome {
  readonly name: string
  readonly about: string
  readonly sides: ReadonlyArray<
    { readonly name: string; readonly cpu: number; readonly wall: number; readonly ratio: number }
  >
  readonly targets: ReadonlyArray<Target & { readonly measured: number }>
}

const versionOf = (name: string): string => {
  const path = findPackageJSON(name, import.meta.url)
  return path === undefined ? "unknown" : JSON.parse(Fs.readFileSync(path, "utf8")).version
}

export const circumstances = (): Circumstances => ({
  processor: Os.cpus()[0]?.model.trim() ?? "unknown",
  cores: Os.cpus().length,
  memory: `${Math.round(Os.totalmem() / 2 ** 30)} GiB`,
  system: `${Os.type()} ${Os.release()} ${Os.arch()}`,
  versions: {
    node: process.versions.node,
    effect: versionOf("effect"),
    undici: versionOf("undici"),
    openai: versionOf("openai"),
    ai: versionOf("ai"),
    "@ai-sdk/deepseek": versionOf("@ai-sdk/deepseek")
  }
})

export const outcome = (name: string, { about, targets }: Bench, results: ReadonlyArray<Result>): Outcome => {
  const [first] = results
  if (first === undefined) throw new Error(`${name} has no sides`)
  const find = (side: string) => results.find((result) => result.name === side) ?? first
  return {
    name,
    about,
    sides: results.map((result) => ({
      name: result.name,
      cpu: result.cpu,
      wall: result.wall,
      ratio: ratio(result, first)
    })),
    targets: targets.map((target) => ({ ...target, measured: ratio(find(target.side), find(target.beside)) }))
  }
}

const row = (cells: ReadonlyArray<string>): string =>
  cells.map((cell, index) => index === 0 ? cell.padEnd(20) : cell.padStart(16)).join("")

export const showCircumstances = ({ cores, memory, processor, system, versions }: Circumstances): string =>
  [
    `${processor}, ${cores} cores, ${memory}, ${system}`,
    Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ")
  ].join("\n")

export const showOutcome = ({ about, name, sides, targets }: Outcome): string => {
  const first = sides[0]?.name ?? ""
  return [
    "",
    `${name}: ${about}`,
    row(["", "CPU µs", "wall µs", `× ${first}`]),
    ...sides.map((side) => row([side.name, side.cpu.toFixed(1), side.wall.toFixed(1), side.ratio.toFixed(2)])),
    ...targets.map(({ atMost, beside, measured, side }) =>
      `${side} = ${measured.toFixed(2)} × ${beside} (target: at most ${atMost}) ${measured <= atMost ? "✓" : "✗"}`
    )
  ].join("\n")
}
