import { ConcurrencyLimit } from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { glance, makeCalls, makeFull, rest } from "./support/queueing.ts"

const count = (log: ReadonlyArray<string>, tenant: string) => log.filter((id) => id.startsWith(tenant)).length

describe("ConcurrencyLimit", () => {
  describe("fair shares", () => {
    it.effect("a waiter whose tenant came to its cap meanwhile is passed by others", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 4, perTenant: 4, queue: 10 })
        const { call, log } = makeCalls(limit)
        yield* call("b1", { tenant: "b" })
        yield* call("c1", { tenant: "c" })
        yield* call("b3", { tenant: "b", weight: 3 }) // waits: only two slots are free
        yield* call("b2", { tenant: "b", priority: "high" }) // and now b has no room for it either
        yield* call("c2", { tenant: "c" })
        assert.deepStrictEqual(log, ["b1", "c1", "b2", "c2"])
      }))

    it.effect("a tenant that comes late waits its turn and not for all who came before", () =>
      Effect.gen(function*() {
        const { call, endAll, log } = yield* makeFull()
        for (const id of ["a1", "a2", "a3", "a4"]) yield* call(id, { tenant: "a" })
        yield* call("b1", { tenant: "b" })
        yield* call("b2", { tenant: "b" })
        yield* endAll
        assert.deepStrictEqual(log, ["first", "a1", "b1", "a2", "b2", "a3", "a4"])
      }))

    it.effect("those who name no tenant are like one more", () =>
      Effect.gen(function*() {
        const { call, endAll, log } = yield* makeFull()
        for (const id of ["a1", "a2", "a3"]) yield* call(id, { tenant: "a" })
        for (const id of ["-1", "-2", "-3"]) yield* call(id)
        yield* endAll
        assert.deepStrictEqual(log, ["first", "a1", "-1", "a2", "-2", "a3", "-3"])
      }))

    it.effect("a share is one of slots: a tenant of large calls has fewer of them", () =>
      Effect.gen(function*() {
        const { call, end, log } = yield* makeFull({ limit: 3 })
        for (let n = 0; n < 20; n++) yield* call("a", { tenant: "a", weight: 3 })
        for (let n = 0; n < 20; n++) yield* call("b", { tenant: "b" })
        while (log.length < 21) yield* end
        assert.approximately(3 * count(log, "a"), count(log, "b"), 4)
      }))

    it.effect("being idle saves nothing up", () =>
      Effect.gen(function*() {
        const { call, end, endAll, log } = yield* makeFull()
        for (let n = 0; n < 40; n++) yield* call("a", { tenant: "a" })
        yield* call("b", { tenant: "b" })
        for (let n = 0; n < 20; n++) yield* end
        const before = log.length
        for (let n = 0; n < 20; n++) yield* call("b", { tenant: "b" })
        for (let n = 0; n < 10; n++) yield* end
        assert.approximately(count(log.slice(before), "b"), 5, 1)
        yield* endAll
      }))

    it.effect("new tenants without end don't starve one who waits", () =>
      Effect.gen(function*() {
        const { call, end, log } = yield* makeFull()
        for (const id of ["a1", "a2", "a3"]) yield* call(id, { tenant: "a" })
        for (let n = 0; n < 10; n++) {
          yield* call(`n${n}`, { tenant: `new ${n}` })
          yield* end
        }
        assert.isTrue(log.includes("a3"), log.join())
      }))

    it.effect("a priority comes before a share", () =>
      Effect.gen(function*() {
        const { call, endAll, log } = yield* makeFull()
        yield* call("b", { tenant: "b" })
        for (const id of ["a1", "a2"]) yield* call(id, { tenant: "a", priority: "high" })
        yield* endAll
        assert.deepStrictEqual(log, ["first", "a1", "a2", "b"])
      }))

    it.effect("in a full queue a tenant takes the place of the newest of the one that waits most", () =>
      Effect.gen(function*() {
        const { call, log } = yield* makeFull({ queue: 4 })
        for (const id of ["a1", "a2", "a3", "a4"]) yield* call(id, { tenant: "a" })
        for (const id of ["b1", "b2", "b3"]) yield* call(id, { tenant: "b" })
        yield* Testing.settle
        assert.deepStrictEqual(log.toSorted(), ["QueueFull a3", "QueueFull a4", "QueueFull b3", "first"])
        yield* call("a5", { tenant: "a" })
        yield* Testing.settle
        assert.isTrue(log.includes("QueueFull a5"))
      }))

    it.effect("and not when that would only turn the tables", () =>
      Effect.gen(function*() {
        const { call, log } = yield* makeFull({ queue: 3 })
        for (const id of ["a1", "a2"]) yield* call(id, { tenant: "a" })
        for (const id of ["b1", "b2"]) yield* call(id, { tenant: "b" })
        yield* Testing.settle
        assert.deepStrictEqual(log, ["first", "QueueFull b2"])
      }))

    it.effect("forgets tenants that are gone", () =>
      Effect.gen(function*() {
        const { call, endAll, limit } = yield* makeFull({ queue: Infinity })
        for (let n = 0; n < 1_000; n++) yield* call(`${n}`, { tenant: `${n}` })
        assert.strictEqual((yield* limit.tenants).length, 1_000)
        yield* endAll
        assert.deepStrictEqual(yield* limit.tenants, [])
        assert.deepStrictEqual(yield* glance(limit), rest)
      }))
  })

  describe("cap per tenant", () => {
    it.effect("a tenant takes no more than its cap, and others take the rest", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 4, perTenant: 2, queue: 10 })
        const { call, end, log } = makeCalls(limit)
        for (const id of ["a1", "a2", "a3", "a4"]) yield* call(id, { tenant: "a" })
        assert.deepStrictEqual(log, ["a1", "a2"])
        yield* call("b1", { tenant: "b" })
        assert.deepStrictEqual(log, ["a1", "a2", "b1"])
        assert.deepStrictEqual(yield* limit.tenants, [
          { tenant: "a", running: 2, queued: 2 },
          { tenant: "b", running: 1, queued: 0 }
        ])
        yield* end
        assert.deepStrictEqual(log, ["a1", "a2", "b1", "a3"])
      }))

    it.effect("doesn't hold for those who name no tenant", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 4, perTenant: 1 })
        const { call, log } = makeCalls(limit)
        for (const id of ["1", "2", "3", "4"]) yield* call(id)
        assert.deepStrictEqual(log, ["1", "2", "3", "4"])
      }))

    it.effect("counts over all priorities", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 4, perTenant: 1, queue: 10 })
        const { call, end, log } = makeCalls(limit)
        yield* call("a1", { tenant: "a", priority: "low" })
        yield* call("a2", { tenant: "a" })
        yield* call("a3", { tenant: "a", priority: "high" })
        assert.deepStrictEqual(log, ["a1"])
        yield* end
        assert.deepStrictEqual(log, ["a1", "a3"])
        yield* end
        assert.deepStrictEqual(log, ["a1", "a3", "a2"])
      }))

    it.effect("says in words whose slots are taken", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 4, perTenant: 1, name: "reports" })
        const { call } = makeCalls(limit)
        yield* call("a1", { tenant: "acme" })
        const error = yield* Fiber.join(yield* call("a2", { tenant: "acme" })).pipe(Effect.flip)
        assert.strictEqual(
          error.message,
          "Concurrency limit \"reports\" is full for tenant \"acme\": 1 calls run and 0 wait"
        )
      }))

    it.effect("a heavier call than the cap is rejected, at once or after an update", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 4, perTenant: 3, queue: 10 })
        const { call, log } = makeCalls(limit)
        yield* call("a1", { tenant: "a", weight: 4 })
        yield* call("a2", { tenant: "a", weight: 3 })
        yield* call("a3", { tenant: "a", weight: 3 })
        yield* call("a4", { tenant: "a" })
        yield* limit.update({ perTenant: 2 })
        yield* Testing.settle
        assert.deepStrictEqual(log, ["TooHeavy a1", "a2", "TooHeavy a3"])
        assert.deepStrictEqual(yield* limit.tenants, [{ tenant: "a", running: 3, queued: 1 }])
      }))

    it.effect("can be raised and lifted while calls wait, and set while they run", () =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: 4, queue: 10 })
        const { call, end, log } = makeCalls(limit)
        yield* call("a1", { tenant: "a" })
        yield* call("a2", { tenant: "a" })
        yield* limit.update({ perTenant: 2 })
        yield* call("a3", { tenant: "a" })
        yield* call("a4", { tenant: "a" })
        yield* end
        assert.deepStrictEqual(log, ["a1", "a2", "a3"])
        yield* limit.update({ perTenant: Infinity })
        yield* Testing.settle
        assert.deepStrictEqual(log, ["a1", "a2", "a3", "a4"])
      }))
  })
})
