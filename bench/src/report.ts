import * as Fs from "node:fs"
import { findPackageJSON } from "node:module"
import * as Os from "node:os"
import type { Bench, Target } from "./bench.ts"
import { overBare, ratio, type Result, wallRatio } from "./measure.ts"

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
  /** Calls in flight at once, where that is the same for all sides. */
  readonly lanes: number | undefined
  /** Times in microseconds. */
  readonly sides: ReadonlyArray<{
    readonly name: string
    readonly cpu: number
    readonly wall: number
    /** CPU time over that of the bare call. */
    readonly over: number | undefined
    /** To the first side that is no bare call. */
    readonly ratio: number
  }>
  readonly targets: ReadonlyArray<Target & { readonly measured: number }>
}

const versionOf = (name: string): string => {
  const path = findPackageJSON(name, import.meta.url)
  return path === undefined ? "unknown" : JSON.parse(Fs.readFileSync(path, "utf8")).version
}

const packages = [
  "effect",
  "undici",
  "openai",
  "ai",
  "@ai-sdk/deepseek",
  "cockatiel",
  "opossum",
  "rate-limiter-flexible",
  "bottleneck",
  "p-limit",
  "redis"
]

export const circumstances = (): Circumstances => ({
  processor: Os.cpus()[0]?.model.trim() ?? "unknown",
  cores: Os.cpus().length,
  memory: `${Math.round(Os.totalmem() / 2 ** 30)} GiB`,
  system: `${Os.type()} ${Os.release()} ${Os.arch()}`,
  versions: {
    node: process.versions.node,
    ...Object.fromEntries(packages.map((name) => [name, versionOf(name)]))
  }
})

export const outcome = (
  name: string,
  { about, targets }: Bench,
  lanes: number | undefined,
  results: ReadonlyArray<Result>
): Outcome => {
  const isBare = (result: Result) => results.some(({ bare }) => bare === result.name)
  const costs = results.map((result) => overBare(result, results))
  const find = (side: string): Result => {
    const found = costs.find((cost) => cost.name === side)
    if (found === undefined) throw new Error(`${name} has no side ${side}`)
    return found
  }
  const first = costs.find((cost) => !isBare(cost))
  if (first === undefined) throw new Error(`${name} has no sides`)
  return {
    name,
    about,
    lanes,
    sides: results.map((result) => ({
      name: result.name,
      cpu: result.cpu,
      wall: result.wall,
      over: result.bare === undefined ? undefined : find(result.name).cpu,
      ratio: ratio(find(result.name), first)
    })),
    targets: targets.map((target) => ({
      ...target,
      measured: measuredOf(target, find)
    }))
  }
}

const measuredOf = ({ beside, of, side }: Target, find: (side: string) => Result): number => {
  if (beside === undefined) return find(side).cpu
  return (of === "wall" ? wallRatio : ratio)(find(side), find(beside))
}

const row = (cells: ReadonlyArray<string>): string =>
  cells.map((cell, index) => index === 0 ? cell.padEnd(36) : cell.padStart(12)).join("")

export const showCircumstances = ({ cores, memory, processor, system, versions }: Circumstances): string =>
  [
    `${processor}, ${cores} cores, ${memory}, ${system}`,
    Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ")
  ].join("\n")

const showTarget = ({ atMost, beside, measured, of, side }: Outcome["targets"][number]): string => {
  const met = measured <= atMost ? "✓" : "✗"
  if (of === "wall") {
    const least = Number((1 / atMost).toFixed(2))
    return `${side} does ${
      (1 / measured).toFixed(2)
    } × as many a second as ${beside} (target: at least ${least}) ${met}`
  }
  return beside === undefined
    ? `${side}: ${measured.toFixed(2)} µs over bare (target: at most ${atMost}) ${met}`
    : `${side} = ${measured.toFixed(2)} × ${beside} (target: at most ${atMost}) ${met}`
}

const showLanes = (lanes: number | undefined): string => {
  if (lanes === undefined) return ""
  return lanes === 1 ? ", one call after the other" : `, ${lanes} in flight`
}

export const showOutcome = ({ about, lanes, name, sides, targets }: Outcome): string => {
  const compared = sides.some(({ over }) => over !== undefined)
  const first = sides.find(({ over }) => !compared || over !== undefined)?.name ?? ""
  return [
    "",
    `${name}: ${about}${showLanes(lanes)}`,
    row(["", "CPU µs", "wall µs", ...(compared ? ["over bare"] : []), "ratio"]),
    ...sides.map(({ cpu, name, over, ratio, wall }) =>
      row([
        name,
        cpu.toFixed(2),
        wall.toFixed(2),
        ...(compared ? [over?.toFixed(2) ?? ""] : []),
        compared && over === undefined ? "" : ratio.toFixed(2)
      ])
    ),
    `(ratio: ${compared ? "costs over bare" : "CPU time"}, to ${first})`,
    ...targets.map(showTarget)
  ].join("\n")
}
