import * as ballast from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { pages, read, sectionsOf } from "./support/pages.ts"

const kebab = (name: string) => name.replaceAll(/(?<=[a-z])(?=[A-Z])/g, "-").toLowerCase()

/** Pages of modules that record nothing themselves. */
const silent: Readonly<Record<string, string>> = {
  "backoff.md": "Backoff.ts",
  "outcome.md": "Outcome.ts",
  "policy.md": "Policy.ts",
  "testing.md": "Testing.ts"
}

const table = /^\| .+ \|\n\|[-|]+\|\n\| /m
const telemetry = /^\| name \| kind \| attributes \| says \|\n\|[-|]+\|\n\| `ballast[_.]/m
const diagram = /^```(text|mermaid)\n/m

describe("pages", () => {
  for (const page of pages) {
    it(`${page} has the skeleton`, () => {
      const sections = sectionsOf(read(page))
      const section = (heading: string) => sections.get(heading) ?? assert.fail(`there is no section ${heading}`)
      assert.include(section(""), "\n**What for.** ")
      assert.match(section("Usage"), /^```ts\n/m)
      assert.match(section("Options"), table)
      assert.match(section("Telemetry"), page in silent ? /^\nNone of its own: / : telemetry)
      assert.match(sections.get("States") ?? section("Timing"), diagram)
      assert.match(section("Mistakes to avoid"), /^- /m)
      section("Beside others")
      const common = ["", "Usage", "Options", "Telemetry", "Mistakes to avoid", "Beside others"]
      assert.deepStrictEqual(Array.from(sections.keys()).filter((heading) => common.includes(heading)), common)
    })
  }

  it("say of nothing that it records nothing which does", () => {
    for (const file of Object.values(silent)) {
      const source = Fs.readFileSync(Path.join(import.meta.dirname, "../src", file), "utf8")
      assert.notInclude(source, "internal/telemetry.ts", file)
    }
  })

  it("are there for every policy", () => {
    const policies = Object.entries(ballast).flatMap(([name, module]) => "noop" in module ? [`${kebab(name)}.md`] : [])
    assert.isAbove(policies.length, 15)
    // A keyed policy is one of the others for each key.
    assert.deepStrictEqual(policies.filter((page) => page !== "keyed.md" && !pages.includes(page)), [])
  })

  it("are all chosen among", () => {
    const choosing = read("choosing.md")
    assert.deepStrictEqual(pages.filter((page) => !choosing.includes(`(${page})`)), [])
  })
})
