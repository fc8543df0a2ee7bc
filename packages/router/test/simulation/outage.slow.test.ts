/**
 * One of two targets is down for a minute under 200 calls in flight, in virtual time and with a seed: no call fails, and its share is back
 * within a stated time. The report stands in `outage.txt`.
 *
 *     npx vitest run packages/router/test/simulation -u
 */
import { Registry } from "@ballast/resilience"
import { Router, RouterSettings } from "@ballast/router"
import { assert, expect, it } from "@effect/vitest"
import { Clock, Effect, Random, Schema } from "effect"
import { HttpClient, HttpClientError, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"
import { answered, request } from "../support.ts"

const second = 1_000
const inFlight = 200
const took = { from: 5 * second, to: 15 * second }
const down = { from: 60 * second, to: 120 * second }
const end = 190 * second
const slot = 5 * second
/** How long after its recovery a target has its share again: 30 seconds of the open circuit, and a call that tries it. */
const stated = 35 * second

const settings = Schema.decodeUnknownSync(RouterSettings.RouterSettings)({
  providers: {
    a: { type: "openai", baseUrl: "http://a.example/v1", accounts: { main: { keys: ["key"] } } },
    b: { type: "openai", baseUrl: "http://b.example/v1", accounts: { main: { keys: ["key"] } } }
  },
  models: {
    "deepseek-flash": {
      targets: [{ provider: "a" }, { provider: "b" }],
      failover: [{ provider: "a" }, { provider: "b" }]
    }
  }
})

const simulate = Effect.gen(function*() {
  const asked: Array<{ readonly at: number; readonly host: string }> = []
  const client = HttpClient.make((request, url) =>
    Effect.gen(function*() {
      const isDown = Effect.map(
        Clock.currentTimeMillis,
        (now) => url.hostname === "a.example" && now >= down.from && now < down.to
      )
      const lost = new HttpClientError.HttpClientError({
        reason: new HttpClientError.TransportError({ request, cause: new Error("ECONNRESET") })
      })
      asked.push({ at: yield* Clock.currentTimeMillis, host: url.hostname })
      if (yield* isDown) return yield* lost
      yield* Effect.sleep(yield* Random.nextBetween(took.from, took.to))
      // What it was answering when it went down is lost with it.
      return (yield* isDown) ? yield* lost : HttpClientResponse.fromWeb(request, Response.json(answered(url.hostname)))
    })
  )
  const router = yield* Router.make({ settings, client: () => Effect.succeed(client) })
  const calls: Array<{ readonly at: number; readonly answer: string }> = []
  const caller: Effect.Effect<void> = Effect.gen(function*() {
    while ((yield* Clock.currentTimeMillis) < end) {
      const answer = yield* Effect.match(router.complete(request), {
        onFailure: ({ message }) => message,
        onSuccess: ({ choices }) => choices[0].message.content ?? ""
      })
      calls.push({ at: yield* Clock.currentTimeMillis, answer })
    }
  })
  yield* Effect.forkScoped(Effect.replicateEffect(caller, inFlight, { concurrency: "unbounded", discard: true }))
  for (let at = 0; at < end + took.to; at += second) yield* TestClock.adjust(second)
  return { asked, calls }
}).pipe(Random.withSeed("an outage"), Effect.provide([Registry.layer, TestClock.layer()]), Effect.scoped)

it("loses no call in an outage of a minute, and gives the share back in time", async () => {
  const { asked, calls } = await Effect.runPromise(simulate)
  assert.deepStrictEqual(calls.filter(({ answer }) => !answer.endsWith(".example")), [])
  const within = (from: number, to: number) => asked.filter(({ at }) => at >= from && at < to)
  const ofA = (from: number, to: number) => within(from, to).filter(({ host }) => host === "a.example").length
  const recovered = down.to + stated
  const after = within(recovered, end)
  // Five standard deviations around half of the calls.
  assert.closeTo(ofA(recovered, end), after.length / 2, 5 * Math.sqrt(after.length / 4))
  const row = (...cells: ReadonlyArray<string | number>) => cells.map((cell) => String(cell).padStart(10)).join("")
  const report = [
    row("second", "attempts", "to a", "to b", "answered"),
    ...Array.from({ length: end / slot }, (_, n) => {
      const [from, to] = [n * slot, (n + 1) * slot]
      const answers = calls.filter(({ at }) => at >= from && at < to).length
      return row(
        from / second,
        within(from, to).length,
        ofA(from, to),
        within(from, to).length - ofA(from, to),
        answers
      )
    }),
    ""
  ].join("\n")
  await expect(report).toMatchFileSnapshot("./outage.txt")
}, 120_000)
