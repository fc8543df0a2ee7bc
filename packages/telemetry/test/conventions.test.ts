/** Names beside those of the package that OpenTelemetry makes from its conventions, those in development included. */
import { GenAi, MetricNames } from "@ballast/telemetry"
import { assert, describe, it } from "@effect/vitest"
import * as conventions from "@opentelemetry/semantic-conventions/incubating"

const names: ReadonlySet<unknown> = new Set(Object.values(conventions))

const unknown = (used: ReadonlyArray<string>) => used.filter((name) => !name.startsWith("ballast.") && !names.has(name))

describe("names of the conventions", () => {
  it("attributes of spans", () => assert.deepStrictEqual(unknown(Object.values(GenAi.Attribute)), []))

  it("metrics and their attributes", () => {
    const rows = Object.values(MetricNames.table)
    assert.deepStrictEqual(unknown(rows.map(({ name }) => name)), [])
    assert.deepStrictEqual(unknown(rows.flatMap(({ attributes = {} }) => Object.values(attributes))), [])
  })
})
