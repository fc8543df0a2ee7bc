import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import type { Outcome } from "./replacing.ts"

const run = promisify(execFile)
const program = fileURLToPath(new URL("replacing.ts", import.meta.url))
const replacements = 24

const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN

describe("a model that is replaced again and again under 200 callers", () => {
  it("fails no call, answers from one version each, and keeps its memory", { timeout: 300_000 }, async ({ signal }) => {
    // Each thread would else take memory from an arena of its own, of which glibc has eight for each core: what one keeps for its next
    // allocation looks like growth until all have been in use.
    const env = { ...process.env, MALLOC_ARENA_MAX: "2" }
    const { stdout } = await run(process.execPath, [program, String(replacements)], { env, signal })
    const outcome: Outcome = JSON.parse(stdout)
    const { calls, errors, megabytes, versions, wrong } = outcome
    console.log(`${calls} calls, MB after each replacement: ${megabytes.join(" ")}`)
    assert.deepStrictEqual({ errors, wrong }, { errors: 0, wrong: 0 })
    assert.sameMembers([...versions], Array.from({ length: replacements + 1 }, (_, at) => String(at + 1)))
    assert.isAbove(calls, 1000)
    // The first third fills caches and pools. The weights of the eight versions between the medians would take 64 MB, had they stayed.
    const growth = median(megabytes.slice(16)) - median(megabytes.slice(8, 16))
    assert.isBelow(growth, 32)
  })
})
