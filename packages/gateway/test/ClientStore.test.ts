import { ClientKeys, ClientStore, type Limits } from "@ballast/gateway"
import { assert, it } from "@effect/vitest"
import { Duration, Effect, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { describeDatabases, open } from "./support/databases.ts"

const day = Date.UTC(2026, 10, 28)

/** Whose key it is, by the store alone. */
const caller = (store: ClientStore.ClientStore, key: Redacted.Redacted, address?: string) =>
  ClientKeys.make({}, { more: store })(`Bearer ${Redacted.value(key)}`, () => address).pipe(
    Effect.match({ onFailure: (refused) => refused.case, onSuccess: ({ name }) => name })
  )

describeDatabases("ClientStore", (address) => {
  it.effect("makes clients whose keys are kept as hashes alone", () =>
    Effect.gen(function*() {
      const database = yield* open(yield* address)
      const store = yield* ClientStore.make(database)
      assert.strictEqual(store.state(), "none")
      const { client, key } = yield* store.create({
        name: "alice",
        owner: "Alice",
        labels: { team: "search" },
        models: ["deepseek-*"],
        addresses: ["10.0.0.0/8"],
        limits: { requestsPerMinute: 60, budget: { day: 2.5 } }
      }, "root")
      assert.deepStrictEqual(client.limits, { requestsPerMinute: 60, budget: { day: 2.5 } })
      assert.strictEqual(store.state(), "some")
      assert.match(Redacted.value(key), /^sk-ballast-[\w-]{43}$/)
      assert.strictEqual(yield* caller(store, key, "10.1.2.3"), "alice")
      assert.strictEqual(yield* caller(store, key, "11.1.2.3"), "AddressNotAllowed")
      assert.strictEqual(yield* caller(store, Redacted.make("sk-ballast-other"), "10.1.2.3"), "WrongClientKey")
      assert.deepStrictEqual(yield* store.list, [client])
      const kept = yield* database.use((sql) =>
        Effect.all([sql`SELECT * FROM ballast_clients`, sql`SELECT * FROM ballast_client_keys`])
      )
      const text = JSON.stringify(kept, (_, value) => typeof value === "bigint" ? Number(value) : value)
      assert.notInclude(text, Redacted.value(key))
      assert.include(text, ClientKeys.digest(Redacted.value(key)))
    }))

  it.effect("lets both keys work during a rotation", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(day)
      const store = yield* ClientStore.make(yield* open(yield* address))
      const { key: first } = yield* store.create({ name: "alice" }, "root")
      const { client, key: second } = yield* store.rotate("alice", Duration.hours(1), "root")
      assert.deepStrictEqual(client.keys.map(({ expiresAt }) => expiresAt).toSorted(), [day + 3_600_000, undefined])
      assert.deepStrictEqual([yield* caller(store, first), yield* caller(store, second)], ["alice", "alice"])
      yield* TestClock.setTime(day + 3_600_000)
      assert.deepStrictEqual([yield* caller(store, first), yield* caller(store, second)], ["ClientKeyExpired", "alice"])
      const { key: third } = yield* store.rotate("alice", Duration.zero, "root")
      assert.deepStrictEqual([yield* caller(store, second), yield* caller(store, third)], ["ClientKeyExpired", "alice"])
    }))

  it.effect("revokes at once, and a gateway that had clients stays closed", () =>
    Effect.gen(function*() {
      const store = yield* ClientStore.make(yield* open(yield* address))
      const { key } = yield* store.create({ name: "alice" }, "root")
      assert.isNumber((yield* store.revoke("alice", "root")).revokedAt)
      assert.strictEqual(yield* caller(store, key), "WrongClientKey")
      const unknown = yield* Effect.flip(store.revoke("alice", "root"))
      assert.match(unknown.message, /^There is no client alice .* There is none\.$/)
      const { key: again } = yield* store.create({ name: "alice" }, "root")
      assert.strictEqual(yield* caller(store, again), "alice")
      const conflict = yield* Effect.flip(store.create({ name: "alice" }, "root"))
      assert.include(conflict.message, "There is a client alice already.")
    }))

  it.effect("changes limits: what is left out stays, null ends one", () =>
    Effect.gen(function*() {
      const store = yield* ClientStore.make(yield* open(yield* address))
      const { key } = yield* store.create({
        name: "alice",
        limits: { requestsPerMinute: 60, budget: { day: 2, month: 50 } }
      }, "root")
      const change = (changes: Limits.Changes) =>
        Effect.map(store.limit("alice", changes, "root"), ({ limits }) => limits)
      assert.deepStrictEqual(yield* change({ tokensPerMinute: 1000, budget: { day: 3 } }), {
        requestsPerMinute: 60,
        tokensPerMinute: 1000,
        budget: { day: 3, month: 50 }
      })
      assert.deepStrictEqual(yield* change({ requestsPerMinute: null, budget: { day: null, month: null } }), {
        tokensPerMinute: 1000
      })
      assert.isUndefined(yield* change({ tokensPerMinute: null }))
      assert.strictEqual(yield* caller(store, key), "alice")
      yield* store.revoke("alice", "root")
      assert.match((yield* Effect.flip(store.limit("alice", {}, "root"))).message, /^There is no client alice /)
    }))

  it.effect("sees what another process changed within two seconds", () =>
    Effect.gen(function*() {
      const url = yield* address
      const here = yield* ClientStore.make(yield* open(url))
      const there = yield* ClientStore.make(yield* open(url))
      const { key } = yield* here.create({ name: "alice", expiresAt: day }, "root")
      // The look itself is real work of the other process.
      const seen = (wanted: string): Effect.Effect<void> =>
        Effect.flatMap(
          Effect.all([caller(there, key), TestClock.withLive(Effect.sleep("2 millis"))]),
          ([found]) => found === wanted ? Effect.void : seen(wanted)
        )
      yield* TestClock.adjust("2 seconds")
      yield* seen("alice")
      yield* here.revoke("alice", "root")
      yield* TestClock.adjust("2 seconds")
      yield* seen("WrongClientKey")
    }))
})
