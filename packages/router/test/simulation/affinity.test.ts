/**
 * Ten thousand calls of conversations over four accounts, each of which has a cache of prefixes of its own: what share of the tokens is
 * cached when an account is chosen by the conversation's beginning, and when it is chosen by weight. The report stands in `affinity.txt`.
 *
 *     npx vitest run packages/router/test/simulation -u
 */
import type { ChatRequest } from "@ballast/chat"
import { Choice, KeyPool } from "@ballast/router"
import { assert, expect, it } from "@effect/vitest"
import { Effect, Random, Redacted } from "effect"
import { answered } from "../support.ts"
import * as prefixCaches from "./prefixCaches.ts"

const calls = 10_000
const conversations = 500

type Messages = ChatRequest.ChatRequest["messages"]

const accountsOf = (count: number) =>
  Object.fromEntries(
    Array.from({ length: count }, (_, n) => [`account-${n + 1}`, { keys: [Redacted.make(`key-${n + 1}`)] as const }])
  )

/** Asks all accounts the same calls, and tells what was cached and where each conversation went last. */
const run = Effect.fnUntraced(
  function*(choice: Choice.Choice, accounts: number) {
    const caches = prefixCaches.make()
    const lastAt = new Map<string, string>()
    const load = new Map<string, number>()
    const pool = yield* KeyPool.make<never, never>({
      provider: "deepseek",
      accounts: accountsOf(accounts),
      choice,
      guard: (_, model) => Effect.succeed(model as never),
      model: (account) =>
        Effect.succeed({
          complete: ({ messages }: ChatRequest.ChatRequest) =>
            Effect.sync(() => {
              caches.ask(account, messages)
              lastAt.set(String(messages[1]?.content), account)
              load.set(account, (load.get(account) ?? 0) + 1)
              return answered(account)
            }),
          stream: () => assert.fail("not asked")
        })
    })
    const histories = new Map<number, Messages>()
    for (let n = 0; n < calls; n++) {
      const id = yield* Random.nextIntBetween(0, conversations - 1)
      const said = yield* Random.nextIntBetween(50, 500)
      // Twenty products, whose long instructions are the same in all of their conversations.
      const before: Messages = histories.get(id) ?? [{ role: "system", content: `instructions ${id % 20} 1500` }]
      const messages: Messages = [...before, { role: "user", content: `${id} says ${before.length} ${said}` }]
      histories.set(id, messages)
      yield* pool.complete({ model: "deepseek-flash", messages })
    }
    return { cached: caches.total.cached / caches.total.all, lastAt, load: [...load.values()].sort((a, b) => a - b) }
  },
  Random.withSeed("conversations"),
  Effect.scoped
)

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`

const compare = Effect.gen(function*() {
  const byPrefix = Choice.byKey(Choice.prefix)
  const affine = yield* run(byPrefix, 4)
  const weighted = yield* run(Choice.weighted, 4)
  const five = yield* run(byPrefix, 5)
  const moved = [...affine.lastAt].filter(([conversation, account]) => five.lastAt.get(conversation) !== account)
  const share = moved.length / affine.lastAt.size
  const report = [
    `calls                            ${calls}`,
    `conversations                    ${affine.lastAt.size}`,
    `cached, by prefix                ${percent(affine.cached)}`,
    `cached, by weight                ${percent(weighted.cached)}`,
    `calls of an account, by prefix   ${affine.load.join(", ")}`,
    `calls of an account, by weight   ${weighted.load.join(", ")}`,
    `moved by a fifth account         ${percent(share)}`,
    ""
  ].join("\n")
  return { report, share, movedTo: new Set(moved.map(([conversation]) => five.lastAt.get(conversation))) }
})

it("returns conversations to the account that has them cached; a fifth account moves at most a quarter", async () => {
  const { movedTo, report, share } = await Effect.runPromise(compare)
  assert.deepStrictEqual([...movedTo], ["account-5"])
  assert.isAtMost(share, 0.25)
  await expect(report).toMatchFileSnapshot("./affinity.txt")
}, 120_000)
