import { assert, beforeAll, describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Path from "node:path"
import * as Clients from "./Clients.ts"
import * as Report from "./report.ts"
import { type Scenario, scenarios } from "./scenarios.ts"

const page = Path.resolve(import.meta.dirname, "../../../../docs/resilience/simulation.md")

const rowsOf = ({ compositions, load, name, service }: Scenario) =>
  Effect.forEach(compositions, (composition) =>
    Effect.map(
      Clients.simulate({ seed: name, load, service, guard: composition.guard }),
      (result): Report.Row => ({ name: composition.name, result })
    ))

describe("simulation", () => {
  const rows = new Map<Scenario, ReadonlyArray<Report.Row>>()
  const rowsAgain = new Map<Scenario, ReadonlyArray<Report.Row>>()

  beforeAll(async () => {
    for (const scenario of scenarios) rows.set(scenario, await Effect.runPromise(rowsOf(scenario)))
    for (const scenario of scenarios.slice(0, 1)) rowsAgain.set(scenario, await Effect.runPromise(rowsOf(scenario)))
  }, 120_000)

  for (const scenario of scenarios) {
    for (const { holds, says } of scenario.findings) {
      it(`${scenario.name}: ${says}`, () => {
        assert.isTrue(holds((rows.get(scenario) ?? []).map(({ result }) => result)))
      })
    }
  }

  it("gives the same again", () => {
    for (const [scenario, again] of rowsAgain) assert.deepStrictEqual(again, rows.get(scenario))
  })

  it("is what the page shows; npm run simulate writes it anew", async () => {
    const sections = scenarios.map((scenario): Report.Section => ({
      name: scenario.name,
      about: scenario.about,
      findings: scenario.findings.map(({ says }) => says),
      rows: rows.get(scenario) ?? []
    }))
    await expect(Report.render(sections)).toMatchFileSnapshot(page)
  })
})
