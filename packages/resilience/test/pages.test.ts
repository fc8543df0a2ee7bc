import * as ballast from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"

const folder = Path.resolve(import.meta.dirname, "../../../docs/resilience")
const read = (file: string) => Fs.readFileSync(Path.join(folder, file), "utf8")

const kebab = (name: string) => name.replaceAll(/(?<=[a-z])(?=[A-Z])/g, "-").toLowerCase()

/** Pages that are about several policies and none of them. */
const overviews = ["benchmarks.md", "choosing.md", "composition.md", "simulation.md"]
const pages = Fs.readdirSync(folder).filter((file) => !overviews.includes(file))

/** The text of each section by its heading; what stands before the first is under "". */
const sectionsOf = (page: string): ReadonlyMap<string, string> =>
  new Map(
    page.split(/^## /m).map((section, index) => {
      const [heading = "", ...rest] = section.split("\n")
      return index === 0 ? ["", section] : [heading, rest.join("\n")]
    })
  )

const table = /^\| .+ \|\n\|[-|]+\|\n\| /m
const diagram = /^```(text|mermaid)\n/m

describe("pages", () => {
  for (const page of pages) {
    it(`${page} has the skeleton`, () => {
      const sections = sectionsOf(read(page))
      const section = (heading: string) => sections.get(heading) ?? assert.fail(`there is no section ${heading}`)
      assert.include(section(""), "\n**What for.** ")
      assert.match(section("Usage"), /^```ts\n/m)
      assert.match(section("Options"), table)
      section("Telemetry")
      assert.match(sections.get("States") ?? section("Timing"), diagram)
      assert.match(section("Mistakes to avoid"), /^- /m)
      section("Beside others")
      const common = ["", "Usage", "Options", "Telemetry", "Mistakes to avoid", "Beside others"]
      assert.deepStrictEqual(Array.from(sections.keys()).filter((heading) => common.includes(heading)), common)
    })
  }

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
