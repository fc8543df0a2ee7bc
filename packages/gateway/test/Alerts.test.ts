/** Every alert of `ops/prometheus/rules.yml` is explained in the docs, and tried in both directions. */
import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), "utf8")

const rules = read("ops/prometheus/rules.yml")
const tests = read("ops/prometheus/rules.test.yml")
const headings = read("docs/operations.md").split("\n").flatMap((line) => /^### (.+)$/.exec(line)?.[1] ?? [])

const alerts = rules.split("- alert: ").slice(1).map((text) => ({ name: text.split("\n", 1)[0] ?? "", text }))

describe("alerts", () => {
  it("are those that the docs explain", () => {
    assert.deepStrictEqual(alerts.map(({ name }) => name).sort(), headings.sort())
  })

  it.each(alerts)("$name says how grave it is and where it is explained", ({ name, text }) => {
    assert.match(text, /severity: (?:warning|critical)/)
    assert.match(text, /summary: "/)
    assert.include(text, `docs/operations.md#${name.toLowerCase()}"`)
  })

  it.each(alerts)("$name is tried when it should fire and when it should not", ({ name }) => {
    assert.include(tests, `alertname: ${name}, exp_alerts: []`)
    assert.include(tests, `ALERTS{alertname="${name}",alertstate="firing"}`)
  })
})
