import type { ChatError } from "@ballast/chat"
import { interruptEverywhere } from "@ballast/resilience/testing"
import { KeyPool } from "@ballast/router"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Redacted, Result, Stream } from "effect"
import { TestClock } from "effect/testing"
import { answered, bothWays, chunk, noBalance, overloaded, request, unauthorized } from "./support.ts"

/** A provider whose keys answer with their name, unless `broken` says otherwise. */
const provider = () => {
  const broken = new Map<string, ChatError.ChatError>()
  const asked: Array<string> = []
  const closed: Array<string> = []
  const probed: Array<string> = []
  const model = (_: string, secret: Redacted.Redacted) => {
    const key = Redacted.value(secret)
    const fails = Effect.suspend(() => {
      asked.push(key)
      const error = broken.get(key)
      return error === undefined ? Effect.void : Effect.fail(error)
    })
    return Effect.as(
      Effect.addFinalizer(() => Effect.sync(() => closed.push(key))),
      {
        complete: () => Effect.as(fails, answered(key)),
        stream: () => Stream.unwrap(Effect.as(fails, Stream.make(chunk(key), chunk("", "stop"))))
      }
    )
  }
  const probe = (_: string, secret: Redacted.Redacted) =>
    Effect.sync(() => {
      probed.push(Redacted.value(secret))
      return !broken.has(Redacted.value(secret))
    })
  return { asked, broken, closed, model, probe, probed }
}

const keys = (first: string, ...rest: ReadonlyArray<string>) =>
  [Redacted.make(first), ...rest.map((key) => Redacted.make(key))] as const

const pair = { main: { keys: keys("main-1", "main-2"), weight: 1 }, second: { keys: keys("second-1"), weight: 0 } }

const makePool = (service: ReturnType<typeof provider>, accounts: Record<string, KeyPool.Account> = pair) =>
  KeyPool.make({
    provider: "deepseek",
    accounts,
    model: service.model,
    guard: (_, model) => Effect.succeed(model),
    probe: service.probe
  })

const both = (key: string): [Result.Result<string>, Result.Result<string>] => [Result.succeed(key), Result.succeed(key)]

describe("KeyPool", () => {
  it.effect("retires a refused key for the next one of its account, unseen by the caller", () =>
    Effect.gen(function*() {
      const service = provider()
      const pool = yield* makePool(service)
      service.broken.set("main-1", unauthorized)
      assert.deepStrictEqual(yield* bothWays(pool), both("main-2"))
      assert.deepStrictEqual(service.asked, ["main-1", "main-2", "main-2"])
    }))

  it.effect("takes an account back by the keys that it has then, though the one that found it empty is refused", () =>
    Effect.gen(function*() {
      const service = provider()
      const second = { keys: keys("second-1"), weight: 1e-9 }
      const pool = yield* makePool(service, { main: { keys: keys("main-1", "main-2") }, second })
      const rest = Effect.gen(function*() {
        service.broken.set("main-1", noBalance)
        yield* pool.complete(request)
        assert.isDefined((yield* pool.inspect)[0]?.resting)
        service.broken.set("main-1", unauthorized)
      })
      const isBack = Effect.gen(function*() {
        yield* TestClock.adjust("30 seconds")
        assert.isUndefined((yield* pool.inspect)[0]?.resting)
      })
      yield* rest
      yield* isBack
      yield* rest
      yield* pool.update({ main: { keys: keys("main-2", "main-3") }, second })
      yield* isBack
    }))

  it.effect("probes again after a probe that is not answered", () =>
    Effect.gen(function*() {
      const service = provider()
      let hangs = true
      const pool = yield* makePool({
        ...service,
        probe: (account, key) => Effect.suspend(() => hangs ? Effect.never : service.probe(account, key))
      })
      service.broken.set("main-1", unauthorized)
      yield* pool.complete(request)
      service.broken.clear()
      const retired = Effect.map(pool.inspect, ([main]) => main?.keys[0])
      // Not answered within 10 s of 30 s, and tried again 60 s later.
      yield* TestClock.adjust("40 seconds")
      assert.strictEqual((yield* retired)?.nextProbe, 100_000)
      hangs = false
      yield* TestClock.adjust("60 seconds")
      assert.isUndefined(yield* retired)
      // An outage that is ended by hand while it is probed stays ended.
      hangs = true
      service.broken.set("main-1", unauthorized)
      yield* pool.complete(request)
      yield* TestClock.adjust("35 seconds")
      yield* pool.reset
      yield* TestClock.adjust("10 minutes")
      assert.isUndefined(yield* retired)
    }))

  it.effect("rests an account without money, and takes it back once a probe succeeds", () =>
    Effect.gen(function*() {
      const service = provider()
      const pool = yield* makePool(service, {
        main: { keys: keys("main-1", "main-2") },
        second: { keys: keys("second-1"), weight: 1e-9 }
      })
      for (const key of ["main-1", "main-2"]) service.broken.set(key, noBalance)
      assert.deepStrictEqual(yield* bothWays(pool), both("second-1"))
      const [resting] = yield* pool.inspect
      assert.strictEqual(resting?.resting?.reason, "InsufficientBalance")

      // 30 s and then 60 s later.
      yield* TestClock.adjust("89 seconds")
      assert.deepStrictEqual(service.probed, ["main-1", "main-2"])
      service.broken.clear()
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(service.probed, ["main-1", "main-2", "main-1"])
      assert.deepStrictEqual(yield* bothWays(pool), both("main-1"))
    }))

  it.effect("fails at once when nothing is left, and says what is out and why", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.UTC(2026, 10, 29, 12))
      const service = provider()
      const pool = yield* makePool(service, {
        main: { keys: keys("main-1", "main-2") },
        second: { keys: keys("second-1") }
      })
      for (const key of ["main-1", "main-2"]) service.broken.set(key, unauthorized)
      service.broken.set("second-1", noBalance)
      yield* Effect.ignore(bothWays(pool))
      const asked = service.asked.length
      const error = yield* Effect.flip(pool.complete(request))
      assert.strictEqual(service.asked.length, asked)
      assert.strictEqual(
        error.message,
        "The account's balance is used up: No account of deepseek can take a call: main: key 1 was refused (401) at " +
          "2026-11-29T12:00:00.000Z, key 2 was refused (401) at 2026-11-29T12:00:00.000Z; second has no balance (402) since " +
          "2026-11-29T12:00:00.000Z, next look in 30 s."
      )
      yield* pool.reset
      service.broken.clear()
      assert.isTrue((yield* bothWays(pool)).every(Result.isSuccess))
    }))

  it.effect("keeps accounts and keys after other failures", () =>
    Effect.gen(function*() {
      const service = provider()
      const pool = yield* makePool(service)
      service.broken.set("main-1", overloaded)
      service.broken.set("main-2", overloaded)
      assert.deepStrictEqual(yield* bothWays(pool), [Result.fail(overloaded), Result.fail(overloaded)])
      assert.deepStrictEqual((yield* pool.inspect).map(({ keys, resting }) => [keys, resting]), [
        [[undefined, undefined], undefined],
        [[undefined], undefined]
      ])
    }))

  it.effect("rotates keys without losing the calls that run", () =>
    Effect.gen(function*() {
      const service = provider()
      const slow = {
        ...service,
        model: (account: string, key: Redacted.Redacted) =>
          Effect.map(service.model(account, key), (model) => ({
            ...model,
            complete: () => Effect.delay(model.complete(), "1 minute")
          }))
      }
      const pool = yield* makePool(slow)
      const running = yield* Effect.forkChild(pool.complete(request), { startImmediately: true })
      yield* pool.update({ main: { keys: keys("main-3") } })
      const next = yield* Effect.forkChild(pool.complete(request), { startImmediately: true })
      assert.deepStrictEqual(service.closed, ["main-2", "second-1"])
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual([(yield* Fiber.join(running)).id, (yield* Fiber.join(next)).id], ["main-1", "main-3"])
      assert.deepStrictEqual(service.closed, ["main-2", "second-1", "main-1"])
    }))

  it.effect.each(["complete", "stream"] as const)(
    "closes a key that is taken out after its calls, wherever they were interrupted: %s",
    (way) =>
      interruptEverywhere({
        setup: Effect.gen(function*() {
          const service = provider()
          return { service, pool: yield* makePool(service, { main: { keys: keys("old") } }) }
        }),
        run: ({ pool }) => way === "complete" ? pool.complete(request) : Stream.runDrain(pool.stream(request)),
        check: ({ pool, service }) =>
          Effect.map(
            pool.update({ main: { keys: keys("new") } }),
            () => assert.deepStrictEqual(service.closed, ["old"])
          ),
        budgets: [3, 4, 5, 7]
      })
  )

  it.effect("goes on asking with an only key, whatever it is answered", () =>
    Effect.gen(function*() {
      const service = provider()
      const pool = yield* makePool(service, { main: { keys: keys("main-1") } })
      for (const error of [noBalance, unauthorized]) {
        service.broken.set("main-1", error)
        assert.deepStrictEqual(yield* bothWays(pool), [Result.fail(error), Result.fail(error)])
      }
      service.broken.clear()
      assert.deepStrictEqual(yield* bothWays(pool), both("main-1"))
    }))

  it.effect("shows no key in its state or errors", () =>
    Effect.gen(function*() {
      const service = provider()
      const pool = yield* makePool(service, { main: { keys: keys("sk-canary", "sk-canary-2") } })
      for (const key of ["sk-canary", "sk-canary-2"]) service.broken.set(key, unauthorized)
      yield* Effect.ignore(pool.complete(request))
      const error = yield* Effect.flip(pool.complete(request))
      assert.notInclude(JSON.stringify([error, error.message, yield* pool.inspect]), "canary")
    }))
})
