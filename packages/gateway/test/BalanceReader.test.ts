import { Provider, Source } from "@ballast/deepseek"
import { BalanceReader } from "@ballast/gateway"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Redacted } from "effect"
import { HttpClient } from "effect/http"
import { TestClock } from "effect/testing"

/** A router of accounts that note when they are asked; the balance of the second one never comes. */
const start = Effect.fnUntraced(function*(interval: Duration.Duration) {
  const asked: Array<string> = []
  const client = HttpClient.make(() => Effect.never)
  const bare = yield* Effect.provideService(
    Source.make({ provider: Provider.deepSeek, apiKey: Redacted.make("k") }),
    HttpClient.HttpClient,
    client
  )
  yield* BalanceReader.make({
    interval,
    router: {
      inspect: Effect.succeed({
        routes: [],
        providers: [{
          provider: "deepseek",
          url: "",
          accounts: ["first", "second"].map((name) => ({ name, weight: 1, inFlight: 0, resting: undefined, keys: [] }))
        }]
      }),
      lookup: (provider, account) =>
        Effect.succeed({
          ...bare,
          balance: Effect.andThen(
            Effect.sync(() => asked.push(`${provider}/${account}`)),
            account === "second" ? Effect.never : Effect.succeed({ is_available: true, balance_infos: [] })
          )
        })
    }
  })
  return { asked, after: (time: Duration.Input) => Effect.as(TestClock.adjust(time), asked) }
})

describe("BalanceReader", () => {
  it.effect("asks one account after the other, first after a minute, then once an interval", () =>
    Effect.gen(function*() {
      const { after } = yield* start(Duration.minutes(10))
      assert.deepStrictEqual(yield* after("59 seconds"), [])
      assert.deepStrictEqual(yield* after("1 second"), ["deepseek/first", "deepseek/second"])
      // The second one is given up after ten seconds.
      assert.lengthOf(yield* after("10 minutes"), 2)
      assert.lengthOf(yield* after("10 seconds"), 4)
    }))

  it.effect("asks nothing where the interval is zero", () =>
    Effect.gen(function*() {
      const { after } = yield* start(Duration.zero)
      assert.deepStrictEqual(yield* after("1 hour"), [])
    }))
})
