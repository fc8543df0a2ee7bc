import { RetryAfter } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Schema } from "effect"
import { TestClock } from "effect/testing"

const now = Date.UTC(1994, 10, 6, 8, 49, 0)
const millis = (headers: RetryAfter.Values) => {
  const duration = RetryAfter.parse(headers, now)
  return duration === undefined ? undefined : Duration.toMillis(duration)
}

describe("RetryAfter", () => {
  it("reads milliseconds and seconds", () => {
    assert.strictEqual(millis({ "retry-after-ms": "1500" }), 1_500)
    assert.strictEqual(millis({ "retry-after-ms": " 0.5 " }), 0.5)
    assert.strictEqual(millis({ "retry-after": "120" }), 120_000)
    assert.strictEqual(millis({ "retry-after": "1.5" }), 1_500)
    assert.strictEqual(millis({ "retry-after": "0" }), 0)
  })

  it("prefers milliseconds, unless they can't be read", () => {
    assert.strictEqual(millis({ "retry-after-ms": "1500", "retry-after": "2" }), 1_500)
    assert.strictEqual(millis({ "retry-after-ms": "soon", "retry-after": "2" }), 2_000)
  })

  it("reads a date in each of its three spellings", () => {
    for (
      const date of ["Sun, 06 Nov 1994 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Sun Nov 06 08:49:37 1994"]
    ) {
      assert.strictEqual(millis({ "retry-after": date }), 37_000, date)
    }
    const recent = Date.UTC(2026, 10, 6, 8, 49, 0)
    const duration = RetryAfter.parse({ "retry-after": "Friday, 06-Nov-26 08:49:37 GMT" }, recent)
    assert.deepStrictEqual(duration, Duration.seconds(37))
  })

  it("takes a year of two digits that seems more than fifty years ahead for one of the past century", () => {
    const read = (text: string) => RetryAfter.parse({ "retry-after": text }, Date.UTC(2026, 10, 6, 8, 49, 0))
    assert.isUndefined(read("Sunday, 06-Nov-94 08:49:37 GMT"))
    assert.isUndefined(read("Saturday, 07-Nov-76 08:49:37 GMT"))
    assert.strictEqual(millis({ "retry-after": "Sunday, 06-Nov-94 08:49:37 GMT" }), 37_000)
    assert.isDefined(read("Thursday, 05-Nov-76 08:49:37 GMT"))
  })

  it("reads everything else as absent", () => {
    const odd = [
      "",
      " ",
      "-1",
      "+1",
      "NaN",
      "Infinity",
      "1e3",
      "0x10",
      "1,5",
      "12 seconds",
      "soon",
      "9".repeat(400),
      "Sun, 06 Nov 1994 08:48:59 GMT",
      "Sun, 06 Nov 1994 08:49:00 GMT",
      "Wed, 30 Feb 2028 08:49:37 GMT",
      "Sun, 06 Nov 2094 25:49:37 GMT",
      "Sun, 06 Foo 2094 08:49:37 GMT",
      "2094-11-06T08:49:37Z"
    ]
    for (const text of odd) assert.isUndefined(millis({ "retry-after": text }), text)
    for (const text of odd) assert.isUndefined(millis({ "retry-after-ms": text }), text)
    assert.isUndefined(millis({}))
    assert.isUndefined(millis({ "retry-after": undefined, "retry-after-ms": undefined }))
  })

  it.prop("reads any text as absent or as a finite time of at least zero", { text: Schema.String }, ({ text }) => {
    const read = millis({ "retry-after": text, "retry-after-ms": text })
    return read === undefined || (Number.isFinite(read) && read >= 0)
  })

  it.effect("counts a date from the clock's time", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(now)
      const duration = yield* RetryAfter.fromHeaders({ "retry-after": "Sun, 06 Nov 1994 08:49:37 GMT" })
      assert.deepStrictEqual(duration, Duration.seconds(37))
    }))
})
