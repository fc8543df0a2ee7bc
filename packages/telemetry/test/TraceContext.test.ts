import { TraceContext } from "@ballast/telemetry"
import { assert, describe, it } from "@effect/vitest"
import { Option } from "effect"
import { Headers } from "effect/http"

const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
const span = "00f067aa0ba902b7"

const parent = (traceparent: string) => Option.getOrUndefined(TraceContext.parent(Headers.fromInput({ traceparent })))

describe("TraceContext", () => {
  it.each([
    [`00-${trace}-${span}-01`, true],
    [`00-${trace}-${span}-00`, false],
    [`00-${trace}-${span}-03`, true],
    [`01-${trace}-${span}-01`, true],
    [`cc-${trace}-${span}-01-what-comes-later`, true]
  ])("reads %s", (header, sampled) => {
    const read = parent(header)
    assert.strictEqual(read?.traceId, trace)
    assert.strictEqual(read?.spanId, span)
    assert.strictEqual(read?.sampled, sampled)
  })

  it.each([
    "",
    "nonsense",
    `ff-${trace}-${span}-01`,
    `00-${trace}-${span}-01-extra`,
    `00-${trace.toUpperCase()}-${span}-01`,
    `00-${"0".repeat(32)}-${span}-01`,
    `00-${trace}-${"0".repeat(16)}-01`,
    `00-${trace}-${span}`,
    `00-${trace}-${span}-1`,
    `01-${trace}-${span}-01extra`
  ])("ignores \"%s\"", (header) => {
    assert.isUndefined(parent(header))
  })

  it("ignores a request without the header", () => {
    assert.isTrue(Option.isNone(TraceContext.parent(Headers.empty)))
  })
})
