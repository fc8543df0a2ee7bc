/**
 * A working day of 10,000 calls over two accounts with a cache of prefixes each, in virtual time and with a seed: what it costs with a plain client that takes the accounts in turn, and what the
 * choice by the conversation's beginning, the answer cache and the cheaper hours save of it. The report stands in `savings.txt`.
 *
 *     npx vitest run packages/router/test/simulation/savings.slow.test.ts -u
 */
import type { ChatError, ChatModel, ChatRequest } from "@ballast/chat"
import { OffPeak, Pricing } from "@ballast/deepseek"
import { AnswerCache, Choice, KeyPool } from "@ballast/router"
import { assert, expect, it } from "@effect/vitest"
import { BigDecimal, Clock, Effect, Random, Redacted, Result } from "effect"
import { TestClock } from "effect/testing"
import * as Fs from "node:fs"
import { answered } from "../support.ts"
import * as prefixCaches from "./prefixCaches.ts"

const calls = 10_000
/** A Monday in Beijing. */
const midnight = Date.parse("2026-11-30T00:00:00+08:00")
const hour = 3_600_000

const place = { provider: "deepseek", model: "deepseek-flash" }
const pricing = Pricing.make()

interface Call {
  readonly at: number
  readonly messages: ChatRequest.ChatRequest["messages"]
  /** Documents of a nightly report: each may wait eight hours. */
  readonly canWait: boolean
}

/**
 * What is asked: six of ten calls go on with one of 400 conversations, with the long instructions of one of twenty products; two ask one of 300 frequent questions, some far more often than
 * others; two are documents of a job. Most of it comes between 08:00 and 20:00.
 */
const day = Effect.gen(function*() {
  const moments = yield* Effect.replicateEffect(
    Effect.gen(function*() {
      const atWork = (yield* Random.next) < 0.85
      return midnight + Math.floor((atWork ? 8 + 12 * (yield* Random.next) : 24 * (yield* Random.next)) * hour)
    }),
    calls
  )
  const histories = new Map<number, Call["messages"]>()
  const made: Array<Call> = []
  for (const at of moments.sort((a, b) => a - b)) {
    const kind = yield* Random.next
    if (kind < 0.6) {
      const id = yield* Random.nextIntBetween(0, 399)
      const before = histories.get(id) ?? [{ role: "system", content: `instructions ${id % 20} 1500` }]
      const said = yield* Random.nextIntBetween(50, 400)
      const messages: Call["messages"] = [...before, { role: "user", content: `${id} says ${before.length} ${said}` }]
      histories.set(id, messages)
      made.push({ at, messages, canWait: false })
    } else if (kind < 0.8) {
      const question = Math.floor(300 * (yield* Random.next) ** 3)
      made.push({
        at,
        messages: [{ role: "system", content: "faq 800" }, { role: "user", content: `question ${question} 30` }],
        canWait: false
      })
    } else {
      const document = { role: "user", content: `document ${made.length} 2000` } as const
      made.push({ at, messages: [{ role: "system", content: "extract 1200" }, document], canWait: true })
    }
  }
  return made
}).pipe(Random.withSeed("a working day"))

interface Means {
  readonly affinity: boolean
  readonly cache: boolean
  readonly offPeak: boolean
}

const run = Effect.fnUntraced(
  function*(day: ReadonlyArray<Call>, { affinity, cache, offPeak }: Means) {
    yield* TestClock.setTime(midnight)
    const caches = prefixCaches.make()
    let asked = 0
    let cost = BigDecimal.make(0n, 0)
    const pool = yield* KeyPool.make<never, never>({
      provider: place.provider,
      accounts: {
        first: { keys: [Redacted.make("key-1")] },
        second: { keys: [Redacted.make("key-2")] }
      },
      choice: affinity ? Choice.byKey(Choice.prefix) : Choice.weighted,
      guard: (_, model) => Effect.succeed(model as never),
      model: (account) =>
        Effect.succeed({
          complete: ({ messages }: ChatRequest.ChatRequest) =>
            Effect.map(Clock.currentTimeMillis, (at) => {
              asked++
              const { all, cached } = caches.ask(account, messages)
              const usage = { prompt_tokens: all, prompt_cache_hit_tokens: cached, completion_tokens: 300 }
              cost = BigDecimal.sum(cost, Result.getOrThrow(pricing.cost(usage, { ...place, at })).total)
              return answered(account)
            }),
          stream: () => assert.fail("not asked")
        })
    })
    const answers = yield* AnswerCache.make<ChatError.ClientError>({ name: "day", timeToLive: "4 hours", shared: true })
    const model: ChatModel.ChatModel<ChatError.ClientError> = cache ? answers.through(pool) : pool
    const later = OffPeak.defer({ pricing, ...place, maxWait: "8 hours" })
    for (const { at, canWait, messages } of day) {
      yield* TestClock.setTime(at)
      const call = model.complete({ model: place.model, messages })
      yield* Effect.forkScoped(canWait && offPeak ? later(call) : call, { startImmediately: true })
    }
    yield* TestClock.adjust("8 hours")
    return { asked, cached: caches.total.cached / caches.total.all, cost }
  },
  Random.withSeed("the accounts"),
  Effect.provide(TestClock.layer()),
  Effect.scoped
)

const none: Means = { affinity: false, cache: false, offPeak: false }
const rows: ReadonlyArray<readonly [name: string, means: Means]> = [
  ["plain client", none],
  ["affinity", { ...none, affinity: true }],
  ["answer cache", { ...none, cache: true }],
  ["off-peak", { ...none, offPeak: true }],
  ["all three", { affinity: true, cache: true, offPeak: true }]
]

const report = Effect.gen(function*() {
  const calls = yield* day
  const results = yield* Effect.forEach(rows, ([, means]) => run(calls, means))
  const plain = BigDecimal.toNumberUnsafe(results[0]!.cost)
  const line = (cells: ReadonlyArray<string>) =>
    cells.map((cell, index) => index === 0 ? cell.padEnd(14) : cell.padStart(15)).join("")
  return [
    line(["", "calls upstream", "prompt cached", "cost, CNY", "saved"]),
    ...results.map(({ asked, cached, cost }, index) =>
      line([
        rows[index]![0],
        String(asked),
        `${(100 * cached).toFixed(1)} %`,
        BigDecimal.toNumberUnsafe(cost).toFixed(2),
        `${(100 * (1 - BigDecimal.toNumberUnsafe(cost) / plain)).toFixed(1)} %`
      ])
    ),
    ""
  ].join("\n")
})

it("a day costs less with affinity, the answer cache and the cheaper hours", async () => {
  const text = await Effect.runPromise(report)
  await expect(text).toMatchFileSnapshot("./savings.txt")
  assert.include(Fs.readFileSync(new URL("../../../../docs/prices.md", import.meta.url), "utf8"), text)
}, 120_000)
