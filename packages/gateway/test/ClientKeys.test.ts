import { ClientKeys } from "@ballast/gateway"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Redacted } from "effect"

const make = (keys: ReadonlyArray<string>) =>
  ClientKeys.make(Object.fromEntries(
    Array.from(
      ClientKeys.byName(keys),
      ([name, keys]) => [name, { keys: keys.map((key) => Redacted.make(key)), labels: { of: name } }]
    )
  ))

const passes = (keys: ReadonlyArray<string>, authorization: string | undefined) =>
  Exit.isSuccess(Effect.runSyncExit(make(keys)(authorization)))

describe("ClientKeys", () => {
  it("lets everyone pass when there are none", () => {
    assert.isTrue(passes([], undefined))
    assert.isTrue(passes([], "Bearer anything"))
  })

  it.each(["Bearer one", "bearer two", "BEARER  two "])("passes %j", (authorization) => {
    assert.isTrue(passes(["one", "two"], authorization))
  })

  it.each([
    undefined,
    "",
    "one",
    "Basic one",
    "Bearer",
    "Bearer ",
    "Bearer on",
    "Bearer onee",
    "Bearer ONE",
    "Bearer one two"
  ])(
    "refuses %j",
    (authorization) => {
      assert.isFalse(passes(["one", "two"], authorization))
    }
  )

  it.each(
    [["alice:one", "Bearer one", "alice"], ["one", "Bearer one", "client-1"], [
      "a b:one",
      "Bearer a",
      undefined
    ]] as const
  )(
    "finds the client of %j by %j: %s",
    (key, authorization, name) => {
      const found = Effect.runSyncExit(make([key])(authorization))
      assert.strictEqual(Exit.isSuccess(found) ? found.value.name : undefined, name)
    }
  )

  it("knows several keys of one client", () => {
    const check = make(["alice:old", "bob:key", "alice:new"])
    const names = ["old", "key", "new"].map((key) => Effect.runSync(check(`Bearer ${key}`)).name)
    assert.deepStrictEqual(names, ["alice", "bob", "alice"])
    assert.deepStrictEqual(Effect.runSync(check("Bearer new")).labels, { of: "alice" })
    assert.isTrue(Exit.isFailure(Effect.runSyncExit(check("Bearer alice:old"))))
  })

  it("says nothing of the keys", () => {
    const error = Effect.runSync(Effect.flip(make(["secret-one"])("Bearer guess")))
    assert.notInclude(JSON.stringify(error), "secret-one")
    assert.notInclude(JSON.stringify(error), "guess")
  })
})
