import { Forget, Ledger, Purges } from "@ballast/gateway"
import { type AnswerCache, AnswerStore } from "@ballast/router"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Queue } from "effect"
import { TestClock } from "effect/testing"
import { eventually, hello, layer, post, Running, send } from "./harness.ts"
import { describeDatabases, open, temporaryFolder } from "./support/databases.ts"

describeDatabases("Purges", (address) => {
  it.effect("are told to other processes, also after a failure of theirs, and to none that starts later", () =>
    Effect.gen(function*() {
      const url = yield* address
      const database = yield* open(url)
      const ledger = yield* Ledger.make({ database, folder: yield* temporaryFolder })
      const told = yield* Queue.unbounded<readonly [string, AnswerCache.Purge]>()
      let failing = true
      const process = (name: string) =>
        Effect.flatMap(open(url), (database) =>
          Purges.follow(database, (purge) =>
            Effect.suspend(() => {
              const result = failing ? Effect.fail(new AnswerStore.NotRemoved({ detail: "down" })) : Effect.void
              failing = false
              return Effect.andThen(Queue.offer(told, [name, purge]), result)
            })))
      yield* process("first")
      yield* Forget.client({ database, ledger }, "alice")
      yield* process("later")
      const next = Effect.andThen(TestClock.adjust("2 seconds"), Queue.take(told))
      assert.deepStrictEqual([yield* next, yield* next], [["first", { client: "alice" }], ["first", {
        client: "alice"
      }]])
      yield* Purges.tell(database, { model: "m", olderThan: "1 minute" })
      const both = [yield* next, yield* Queue.take(told)]
      assert.deepStrictEqual(both.map(([, purge]) => purge), Array(2).fill({ model: "m", olderThan: 60_000 }))
      assert.deepStrictEqual(both.map(([name]) => name).toSorted(), ["first", "later"])
    }))
})

const gateway = (database: string) =>
  layer({
    database,
    clientKeys: ["alice:key-a", "bob:key-b"],
    settings: {
      admin: { keys: { root: ["admin-key"] } },
      models: { "deepseek-flash": { targets: [{ provider: "simulator" }], cache: { timeToLive: "1h" } } }
    }
  })

it.live(
  "a purge or a deletion at one gateway reaches the memory of another with the same database",
  () =>
    Effect.gen(function*() {
      const file = `${yield* temporaryFolder}/ballast.db`
      const [here, there] = yield* Effect.all([
        Effect.provide(Running, yield* Layer.build(Layer.fresh(gateway(file)))),
        Effect.provide(Running, yield* Layer.build(Layer.fresh(gateway(file))))
      ])
      const cache = (key: string) =>
        Effect.map(
          post(`${there.url}/v1/chat/completions`, hello, { authorization: `Bearer ${key}` }),
          ({ headers }) => headers.get("x-ballast-cache")
        )
      const isDropped = (key: string) => eventually(Effect.map(cache(key), (state) => state === "miss"))
      const admin = { authorization: "Bearer admin-key" }
      yield* Effect.all([cache("key-a"), cache("key-b")])
      assert.strictEqual(yield* cache("key-a"), "hit")
      yield* send(`${here.url}/admin/v1/clients/alice/records`, { method: "DELETE", headers: admin })
      yield* isDropped("key-a")
      assert.strictEqual(yield* cache("key-b"), "hit")
      yield* post(`${here.url}/admin/v1/acts`, { do: "purge", client: "bob" }, admin)
      yield* isDropped("key-b")
    }).pipe(Effect.scoped),
  30_000
)
