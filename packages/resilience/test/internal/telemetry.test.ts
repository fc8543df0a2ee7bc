import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"

const root = Path.join(import.meta.dirname, "../..")
const read = (file: string) => Fs.readFileSync(Path.join(root, file), "utf8")
const matches = (text: string, pattern: RegExp) => Array.from(text.matchAll(pattern), (match) => match[1] ?? "")

const source = Fs.globSync("src/**/*.ts", { cwd: root }).map(read).join("\n")
const table = read("README.md").split("## Telemetry")[1] ?? ""

/** Metrics by how they are made, span events by how they are named. */
const named = new Set([
  ...matches(source, /Metric\.(?:counter|gauge|histogram)\("(\w+)"/g),
  ...matches(source, /"(ballast\.[a-z.]+)"/g)
])

describe("telemetry", () => {
  it("is all in the README's table, and nothing else is", () => {
    assert.isAbove(named.size, 20)
    assert.deepStrictEqual(matches(table, /^\| `(ballast[\w.]+)` \|/gm).sort(), Array.from(named).sort())
  })

  it("has every kind of policy in the README", () => {
    const union = /export type PolicyKind =([^\n]*(?:\n {2}\|[^\n]*)+)/.exec(source)?.[1] ?? ""
    const kinds = matches(union, /"([a-z-]+)"/g)
    assert.isAbove(kinds.length, 8)
    for (const kind of kinds) assert.include(table, `\`${kind}\``)
  })
})
