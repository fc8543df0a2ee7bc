import type { Usage } from "@ballast/chat"
import { PeakHours, Pricing, PromptSize } from "@ballast/deepseek"
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, BigDecimal, Result, Schema } from "effect"

const moment = (text: string) => Date.parse(text)
const monday = (time: string) => moment(`2026-11-30T${time}:00Z`)

const text = (result: Result.Result<Pricing.Cost, Pricing.UnknownPrice>) =>
  Result.match(result, {
    onFailure: ({ message }) => message,
    onSuccess: ({ currency, total }) => `${BigDecimal.format(total)} ${currency}`
  })

const usage: Usage.Usage = {
  prompt_tokens: 1_000_000,
  completion_tokens: 1_000_000,
  prompt_cache_hit_tokens: 500_000,
  completion_tokens_details: { reasoning_tokens: 250_000 }
}

describe("PeakHours", () => {
  it("lets a price for all models of a provider come before the built-in ones", () => {
    const prices = Schema.decodeUnknownSync(Schema.Array(Pricing.Price))([
      { provider: "deepseek", model: "*", currency: "CNY", hit: 0, miss: 0, output: 0, call: 1 }
    ])
    const cost = Pricing.make({ prices }).cost(
      { prompt_tokens: 1_000, completion_tokens: 500 },
      { provider: "deepseek", model: "deepseek-flash", at: Date.parse("2026-11-28T12:00:00Z") }
    )
    assert.strictEqual(BigDecimal.format(Result.getOrThrow(cost).total), "1")
  })

  it("are DeepSeek's: 01:00 to 04:00 and 06:00 to 10:00 UTC from Monday to Friday, but for Chinese holidays", () => {
    const peak = (text: string) => PeakHours.at(PeakHours.deepSeek, moment(text)).isPeak
    const day = (date: string) =>
      Array.from({ length: 24 }, (_, hour) => hour).filter((hour) =>
        peak(`${date}T${String(hour).padStart(2, "0")}:59:59Z`)
      )
    const hours = [1, 2, 3, 6, 7, 8, 9]
    assert.deepStrictEqual(day("2026-11-30"), hours)
    assert.deepStrictEqual(day("2026-11-28"), [])
    // A holiday; and a Saturday that is worked for it, which the page does not name.
    assert.deepStrictEqual(day("2026-10-06"), [])
    assert.deepStrictEqual(day("2026-10-10"), [])
    assert.isTrue(PeakHours.at({ ...PeakHours.deepSeek, countWorkdays: true }, moment("2026-10-10T02:00:00Z")).isPeak)
  })

  it("keep the holidays that are built in when those of another year are given", () => {
    const { holidays: _, ...without } = PeakHours.deepSeek
    const at = (text: string, holidays: PeakHours.PeakHours["holidays"]) => {
      const pricing = Pricing.make({
        peakHours: { deepseek: holidays === undefined ? without : { ...without, holidays } }
      })
      const call = { provider: "deepseek", model: "deepseek-flash", at: moment(text) }
      const { isCertain, isPeak } = Result.getOrThrow(pricing.cost(usage, call))
      return { isPeak, isCertain }
    }
    const next = { "2027": { holidays: ["01-01"] } }
    assert.deepStrictEqual(at("2026-10-01T02:00:00Z", next), { isPeak: false, isCertain: true })
    assert.deepStrictEqual(at("2027-01-01T02:00:00Z", next), { isPeak: false, isCertain: true })
    assert.deepStrictEqual(at("2026-10-01T02:00:00Z", { "2026": { holidays: [] } }), { isPeak: true, isCertain: true })
    assert.deepStrictEqual(at("2026-10-01T02:00:00Z", undefined), { isPeak: true, isCertain: true })
  })

  it("hold in a year whose holidays are not known, and say so", () => {
    const at = (text: string) => PeakHours.at(PeakHours.deepSeek, moment(text))
    assert.deepStrictEqual(at("2031-10-01T02:00:00Z"), { isPeak: true, isKnown: false })
    // Whatever the holidays are, this is no peak hour.
    assert.deepStrictEqual(at("2031-10-01T05:00:00Z"), { isPeak: false, isKnown: true })
  })

  it("end when the next cheaper moment begins", () => {
    const next = (text: string) => new Date(PeakHours.nextOffPeak(PeakHours.deepSeek, moment(text))).toISOString()
    assert.strictEqual(next("2026-11-30T02:30:15.500Z"), "2026-11-30T04:00:00.000Z")
    assert.strictEqual(next("2026-11-30T04:30:00.000Z"), "2026-11-30T04:30:00.000Z")
    const touching = {
      ...PeakHours.deepSeek,
      windows: [{ from: "09:00", to: "12:00" }, { from: "12:00", to: "13:00" }]
    }
    assert.strictEqual(PeakHours.nextOffPeak(touching, monday("02:00")), monday("05:00"))
    const always: PeakHours.PeakHours = {
      timeZone: "UTC",
      days: ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"],
      windows: [{ from: "00:00", to: "24:00" }]
    }
    assert.strictEqual(PeakHours.nextOffPeak(always, monday("02:00")), Infinity)
  })

  it("are read on the clock of their time zone, summer time too", () => {
    const hours: PeakHours.PeakHours = {
      timeZone: "Europe/Berlin",
      days: ["wednesday"],
      windows: [{ from: "09:00", to: "10:00" }]
    }
    assert.isTrue(PeakHours.at(hours, moment("2026-07-01T07:30:00Z")).isPeak)
    assert.isTrue(PeakHours.at(hours, moment("2026-12-02T08:30:00Z")).isPeak)
    assert.isFalse(PeakHours.at(hours, moment("2026-12-02T07:30:00Z")).isPeak)
  })
})

describe("Pricing", () => {
  const pricing = Pricing.make()
  const call = { provider: "deepseek", model: "deepseek-flash", at: monday("02:00") }

  it("counts hits, misses, output and reasoning, and halves them off-peak", () => {
    // 0.5 × 0.04 + 0.5 × 2 + 1 × 8
    assert.strictEqual(text(pricing.cost(usage, call)), "9.02 CNY")
    assert.strictEqual(text(pricing.cost(usage, { ...call, at: monday("05:00") })), "4.51 CNY")
    const dollars = Pricing.make({ currency: "USD" })
    assert.strictEqual(text(dollars.cost(usage, { ...call, model: "deepseek-v4-pro" })), "4.642 USD")
    const { parts } = Result.getOrThrow(pricing.cost(usage, call))
    assert.deepStrictEqual(Object.values(parts).map((part) => BigDecimal.format(part)), ["0.02", "1", "6", "2", "0"])
  })

  it("does not know what it was not told, before its time too", () => {
    const unknown = (change: Partial<Pricing.Call>) => text(pricing.cost(usage, { ...call, ...change }))
    assert.strictEqual(unknown({ model: "gpt" }), "The price of gpt at deepseek is not known.")
    assert.match(unknown({ provider: "ark" }), /not known/)
    assert.match(unknown({ at: moment("2026-01-01T00:00:00Z") }), /not known/)
  })

  const decode = Schema.decodeUnknownSync(Schema.Array(Pricing.Price))

  it("takes the first price that holds at the moment, a model's own before the provider's", () => {
    const other = Pricing.make({
      prices: decode([
        { provider: "ark", model: "*", currency: "CNY", hit: 0, miss: 0, output: 0, call: "0.003" },
        { provider: "ark", model: "m", currency: "CNY", hit: 1, miss: 2, output: 3, reasoning: 4, until: "2026-12-01" },
        { provider: "deepseek", model: "deepseek-flash", currency: "CNY", hit: 0, miss: 0, output: "0.1" }
      ])
    })
    const cost = (provider: string, model: string, at: number) => text(other.cost(usage, { provider, model, at }))
    // 0.5 × 1 + 0.5 × 2 + 0.75 × 3 + 0.25 × 4
    assert.strictEqual(cost("ark", "m", monday("02:00")), "4.75 CNY")
    assert.strictEqual(cost("ark", "m", moment("2026-12-01T00:00:00Z")), "0.003 CNY")
    assert.strictEqual(cost("deepseek", "deepseek-flash", monday("02:00")), "0.1 CNY")
    assert.notStrictEqual(other.revision, pricing.revision)
    assert.strictEqual(Pricing.make().revision, pricing.revision)
  })

  it("takes a price of the provider's type where the provider has none of its own", () => {
    const price = { model: "m", currency: "CNY", hit: 0, miss: 0 }
    const other = Pricing.make({
      prices: decode([
        { ...price, provider: "openai", output: 1 },
        { ...price, provider: "openai", model: "n", output: 2 },
        { ...price, provider: "ark", currency: "EUR", output: 3 }
      ])
    })
    const cost = (model: string, type?: string) =>
      text(other.cost(usage, { provider: "ark", type, model, at: monday("02:00") }))
    assert.strictEqual(cost("m", "openai"), "3 EUR")
    assert.strictEqual(cost("n", "openai"), "2 CNY")
    assert.strictEqual(cost("n"), "The price of n at ark is not known.")
    assert.strictEqual(cost("o", "openai"), "The price of o at ark is not known.")
  })

  it("refuses amounts that are none, and peak hours that are not there", () => {
    const price = { provider: "p", model: "m", currency: "CNY", hit: 0, miss: 0, output: 1 }
    assert.throws(() => decode([{ ...price, output: -1 }]), /an amount of at least 0 with at most 12 decimals/)
    assert.throws(() => decode([{ ...price, output: "1e3" }]), /an amount/)
    assert.throws(
      () => Pricing.make({ prices: decode([{ ...price, peakHours: "night" }]) }),
      /^Pricing.make: the price of m names peak hours night, which are not there$/
    )
  })

  const tokens = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000_000 }))

  it.prop(
    "adds up exactly: the costs of many calls are the cost of their sum",
    { calls: Arbitrary.array(Arbitrary.schema(Schema.Struct({ hit: tokens, miss: tokens, out: tokens }))) },
    ({ calls }) => {
      const cost = (hit: number, miss: number, out: number) =>
        Result.getOrThrow(
          pricing.cost({ prompt_tokens: hit + miss, completion_tokens: out, prompt_cache_hit_tokens: hit }, call)
        ).total
      const sum = (field: "hit" | "miss" | "out") => calls.reduce((sum, one) => sum + one[field], 0)
      assert.strictEqual(
        BigDecimal.format(BigDecimal.sumAll(calls.map(({ hit, miss, out }) => cost(hit, miss, out)))),
        BigDecimal.format(cost(sum("hit"), sum("miss"), sum("out")))
      )
    }
  )

  it("estimates whatever stands in the place of a request", () => {
    const odd: ReadonlyArray<unknown> = [null, 1, "x", [], [null], {}, [{}], [{ function: null }], [{ type: "text" }]]
    for (const value of odd) {
      const message = { role: "assistant", content: value, reasoning_content: value, tool_calls: value }
      for (const messages of [value, [message]]) {
        const request = { model: "m", messages, tools: value, thinking: value, max_tokens: value, n: value }
        // The type promises more than a request that is passed on holds.
        const { ofAnswer, ofPrompt } = PromptSize
        const sizes = [ofPrompt, ofAnswer].map((size) => size(request as never))
        assert.isTrue(sizes.every((size) => Number.isSafeInteger(size) && size > 0), JSON.stringify(request))
      }
    }
  })

  it("bounds a call before it is made: no cache hit, the longest answer", () => {
    const request = { model: "deepseek-flash", messages: [{ role: "user", content: "Hello!" }] } as const
    const estimate = Result.getOrThrow(pricing.estimate({ ...request, max_tokens: 1000 }, call))
    assert.strictEqual(estimate.outputTokens, 1000)
    assert.strictEqual(estimate.promptTokens, PromptSize.ofPrompt(request))
    const { miss, output } = estimate.bound.parts
    assert.strictEqual(BigDecimal.format(output), "0.008")
    assert.strictEqual(Number(BigDecimal.format(miss)), estimate.promptTokens * 2 / 1e6)
    const answer = (more: object) => PromptSize.ofAnswer({ ...request, ...more })
    assert.deepStrictEqual(
      [answer({}), answer({ reasoning_effort: "max" }), answer({ thinking: { type: "disabled" } })],
      [65_536, 131_072, 8_192]
    )
    // Each choice may be as long; what is no bound bounds nothing.
    assert.deepStrictEqual(
      [answer({ n: 3, max_tokens: 10 }), answer({ max_tokens: -1 }), answer({ max_tokens: "many" })],
      [30, 65_536, 65_536]
    )
  })
})
